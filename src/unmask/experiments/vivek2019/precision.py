"""Whether attacks made in bfloat16 are as strong as those made in float32, on a network that a training has kept."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unmask.attacks import FGSM
from unmask.attacks.trial import predict
from unmask.data import Dataset
from unmask.experiments.vivek2019.config import COMPARED, Config, trained
from unmask.experiments.vivek2019.evaluate import BATCH, pgd_ends
from unmask.experiments.vivek2019.train import device, first, images_of, kept_network, precision_of
from unmask.losses import cross_entropy
from unmask.numerics import Batches


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


def rounded_to_bfloat16(model: nn.Module) -> nn.Module:
    """A copy whose layers with weights take and return numbers rounded to bfloat16, and sum up in float32.

    That is what bfloat16's units do, in another order, and what their backward pass does too. A processor without them
    is twenty times as fast at this as at torch's own emulation.
    """

    def rounded(values: Tensor) -> Tensor:
        return values.bfloat16().to(values.dtype)

    copied = deepcopy(model)
    for layer in copied.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            for weights in layer.parameters():
                weights.data = rounded(weights.data)
            layer.register_forward_pre_hook(lambda layer, taken: rounded(taken[0]))
            layer.register_forward_hook(lambda layer, taken, returned: rounded(returned))
    return copied


def precision(config: Config, *, work: Path) -> dict[str, Any]:
    """Whether attacks made in bfloat16 are as strong as those made in float32; both are evaluated in float32.

    FGSM on all test images, PGD on the first of them.
    """
    test = images_of(config).test
    model = kept_network(trained(config), test, work)
    units = precision_of(config) == "bf16-mixed"
    coarser = InBfloat16(model) if units else rounded_to_bfloat16(model)
    epsilon, fgsm = config.epsilon, FGSM(epsilon=config.epsilon, loss=cross_entropy)
    pgd = partial(pgd_ends, epsilon=epsilon, steps=config.steps[1:], size=config.step_size, seed=config.seed)
    (one_step,) = _standing(model, coarser, lambda *at: [fgsm(*at)], test)
    shorter, longer = _standing(model, coarser, pgd, first(test, COMPARED))
    return {
        "data": config.shown_data,
        "bfloat16": "units" if units else "rounded",
        "attacks": {"fgsm": one_step, "pgd": shorter, "longer pgd": longer},
    }


def _standing(
    model: nn.Module, coarser: nn.Module, attack: Callable[..., list[Tensor]], data: Dataset
) -> list[dict[str, int]]:
    """How many images stand at each point of an attack that is made in float32, and in bfloat16, and in one alone."""

    def measure(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        made = (attack(one, images, labels) for one in (model, coarser))
        exact, coarse = (torch.stack([predict(model, x) == labels for x in points], 1) for points in made)
        return exact, coarse

    columns = Batches(size=BATCH, device=device())(measure, data.images, data.labels)
    return [
        {
            "images": len(data),
            "float32": int(exact.sum()),
            "bfloat16": int(coarse.sum()),
            "float32 only": int((exact & ~coarse).sum()),
            "bfloat16 only": int((coarse & ~exact).sum()),
        }
        for exact, coarse in zip(*(column.T for column in columns), strict=True)
    ]
