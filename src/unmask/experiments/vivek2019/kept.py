"""Cheap looks at networks that trainings have kept: attacks from other networks, and attacks made in bfloat16."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unmask.attacks import FGSM, PGD, Attack
from unmask.attacks.trial import predict
from unmask.data import Dataset
from unmask.experiments.vivek2019.config import Config, source, trained
from unmask.experiments.vivek2019.evaluate import BATCH, standing
from unmask.experiments.vivek2019.train import device, first, images_of, kept_network
from unmask.losses import cross_entropy
from unmask.numerics import Batches


def transfer(config: Config, *, work: Path) -> dict[str, Any]:
    """How many images stand when FGSM is run on another network, normally trained, as in tables 5 and 6."""
    test = images_of(config).test
    target = kept_network(trained(config), test, work)
    batches = Batches(size=BATCH, device=device())
    fgsm = FGSM(epsilon=config.epsilon, loss=cross_entropy)
    found = {}
    for name in config.sources:
        other = kept_network(source(config, name), test, work)
        found[name] = standing(target, made_on(other, fgsm), test, batches)
    return {
        "data": config.shown_data,
        "images": len(test),
        "clean": standing(target, lambda _, x, y: x, test, batches),
        "own": standing(target, fgsm, test, batches),
        "from": found,
    }


def made_on(source: nn.Module, attack: Attack) -> Attack:
    """The attack made on another network than the one that it is tried on."""
    return lambda _, images, labels: attack(source, images, labels)


class InBfloat16(nn.Module):
    """A network whose passes are under bfloat16's autocast, as in training with ``"bf16-mixed"``; logits in float32."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K)."""
        with torch.autocast(images.device.type, torch.bfloat16):
            logits: Tensor = self.model(images)
        return logits.float()


def precision(config: Config, *, work: Path) -> dict[str, Any]:
    """Whether attacks made in bfloat16 are as strong as those made in float32; both are evaluated in float32."""
    images = images_of(config)
    model, few = kept_network(trained(config), images.test, work), first(images.test, config.sample_images)
    shared: Any = {"epsilon": config.epsilon, "loss": cross_entropy}
    last: Any = {"step_size": config.step_size, "keep": "last", "seed": config.seed, **shared}
    attacks = {
        "fgsm": FGSM(**shared),
        "pgd": PGD(steps=config.steps[1], **last),
        "longer pgd": PGD(steps=config.steps[2], **last),
    }
    return {
        "data": config.shown_data,
        "images": len(few),
        "attacks": {name: _compared(model, attack, few) for name, attack in attacks.items()},
    }


def _compared(model: nn.Module, attack: Any, data: Dataset) -> dict[str, int]:
    """Images standing under the attack made in each precision, and in one of them alone."""

    def measure(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        points = attack(model, images, labels), attack(InBfloat16(model), images, labels)
        exact, coarse = (predict(model, one) == labels for one in points)
        return exact, coarse

    exact, coarse = Batches(size=BATCH, device=device())(measure, data.images, data.labels)
    return {
        "float32": int(exact.sum()),
        "bfloat16": int(coarse.sum()),
        "float32 only": int((exact & ~coarse).sum()),
        "bfloat16 only": int((coarse & ~exact).sum()),
    }
