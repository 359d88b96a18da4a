"""Measurements of a network: accuracy under each attack, loss against epsilon, and the effect of noise on gradients."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from unmask.attacks import FGSM, IFGSM, PGD, RFGSM
from unmask.data import Dataset
from unmask.files import write_atomically
from unmask.gradients import input_gradient
from unmask.losses import cross_entropy, log_odds
from unmask.numerics import Batches, derive_seed, fastest_layout, random_signs, undisturbed
from unmask.threats import Linf
from unmask_experiments.evaluation import correct_under
from unmask_experiments.vivek2019.config import Config

BATCH = 250
"""Images at a time: the activations of more of them do not fit in a processor's cache."""

Named = Iterator[tuple[str, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Count the correct images: clean, under the paper's attacks, and in the worst case over them and others.

    The paper's attacks maximise cross entropy and return the last iterate. The worst case is over all columns and, for
    the images that are correct in all of them, PGD with log-odds that returns its best point.

    Attributes:
        step_size: of PGD; ``steps`` of I-FGSM, which 0 leaves out, of PGD and of longer PGD, which goes on from the
            shorter's end.
    """

    epsilon: float
    step_size: float
    steps: tuple[int, int, int]
    seed: int = 0
    batches: Batches = field(default_factory=lambda: Batches(size=BATCH))

    def __call__(self, model: nn.Module, data: Dataset) -> dict[str, Any]:
        """Return the correct images and the mean cross entropy, by column."""
        names: list[str] = []

        def measure(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            columns = [(name, _logits(model, points)) for name, points in self.points(model, images, labels)]
            names[:] = [name for name, _ in columns]
            losses = [cross_entropy(logits.double(), labels) for _, logits in columns]
            correct = [logits.argmax(1) == labels for _, logits in columns]
            return torch.stack(correct, 1), torch.stack(losses, 1)

        correct, losses = self.batches(measure, data.images, data.labels)
        left = correct.all(1)
        worst = 0
        if left.any():
            pgd = PGD(epsilon=self.epsilon, steps=self.steps[1], loss=log_odds)
            rest = correct_under(model, [pgd], data.images[left], data.labels[left], batches=self.batches)
            worst = int(rest.sum())
        return {
            "images": len(data),
            "steps": list(self.steps),
            "standing": dict(zip(names, correct.sum(0).tolist(), strict=True)) | {"worst": worst},
            "loss": dict(zip(names, losses.mean(0).tolist(), strict=True)),
        }

    def points(self, model: nn.Module, images: Tensor, labels: Tensor) -> Named:
        """Yield the images of each column, with its name."""
        yield "clean", images
        yield "fgsm", FGSM(epsilon=self.epsilon, loss=cross_entropy)(model, images, labels)
        yield "fgsm log-odds", FGSM(epsilon=self.epsilon, loss=log_odds)(model, images, labels)
        if self.steps[0]:
            yield "ifgsm", IFGSM(epsilon=self.epsilon, steps=self.steps[0], loss=cross_entropy)(model, images, labels)
        ends = pgd_ends(
            model, images, labels, epsilon=self.epsilon, steps=self.steps[1:], size=self.step_size, seed=self.seed
        )
        yield from zip(("pgd", "longer pgd"), ends, strict=True)


def pgd_ends(
    model: nn.Module, images: Tensor, labels: Tensor, *, epsilon: float, steps: Sequence[int], size: float, seed: int
) -> list[Tensor]:
    """Return PGD's points after each of these rising numbers of steps: ``PGD(keep="last")`` for each, at one's cost."""
    threat, walked = Linf(epsilon=epsilon), {}
    with undisturbed(model, seed=seed):
        layout = fastest_layout(model, images)
        point = threat.random_start(images, seed=derive_seed(seed, "restart", 0))
        for step in range(1, max(steps) + 1):
            at = input_gradient(model, point, labels, loss=cross_entropy, layout=layout)
            point = threat.step(point, at.gradient, size=size, origin=images)
            walked[step] = point
    return [walked[step] for step in steps]


def in_parts(
    measure: Evaluation, model: nn.Module, data: Dataset, *, folder: Path, progress: Callable[[float], None], size: int
) -> dict[str, Any]:
    """Return the same evaluation, made ``size`` images at a time: each part is saved in a folder, for resuming.

    ``progress`` is called with the share that is done.
    """
    parts: list[dict[str, Any]] = []
    for start in range(0, len(data), size):
        path = folder / f"{start}.json"
        if not path.is_file():
            part = measure(model, data.take(np.arange(start, min(start + size, len(data)))))
            write_atomically(path, json.dumps(part).encode())
        parts.append(json.loads(path.read_text()))
        progress(min(start + size, len(data)) / len(data))
    return {
        "images": len(data),
        "steps": list(measure.steps),
        "standing": {name: sum(part["standing"][name] for part in parts) for name in parts[0]["standing"]},
        "loss": {
            name: math.fsum(part["loss"][name] * part["images"] for part in parts) / len(data)
            for name in parts[0]["loss"]
        },
    }


@dataclass(frozen=True, kw_only=True)
class LossCurves:
    """Mean loss and correct images against epsilon, under FGSM, R-FGSM and PGD, as in figures 1 to 4.

    PGD takes ``steps`` steps that grow with epsilon: of ``step_size`` at ``epsilon``.
    """

    epsilon: float
    epsilons: Sequence[float]
    noise: float
    steps: int
    step_size: float
    seed: int = 0
    batches: Batches = field(default_factory=lambda: Batches(size=BATCH))

    def __call__(self, model: nn.Module, data: Dataset) -> dict[str, Any]:
        """Return by attack the loss and the correct images for each epsilon; epsilon 0 comes first."""

        def measure(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            rows = [
                _logits(model, points) for attack in ATTACKS for points in self.points(attack, model, images, labels)
            ]
            losses = [cross_entropy(logits.double(), labels) for logits in rows]
            return torch.stack(losses, 1), torch.stack([logits.argmax(1) == labels for logits in rows], 1)

        columns = self.batches(measure, data.images, data.labels)
        losses, correct = (one.view(len(one), len(ATTACKS), -1) for one in columns)
        found = {
            attack: {"loss": losses[:, row].mean(0).tolist(), "standing": correct[:, row].sum(0).tolist()}
            for row, attack in enumerate(ATTACKS)
        }
        return {"images": len(data), "epsilons": [0.0, *self.epsilons], **found}

    def points(self, attack: str, model: nn.Module, images: Tensor, labels: Tensor) -> Iterator[Tensor]:
        """Yield the images of one attack, for epsilon 0 and each epsilon."""
        yield images
        largest = max(self.epsilons)
        if attack == "FGSM":
            fgsm = FGSM(largest, loss=cross_entropy)
            yield from fgsm.sweep(model, images, labels, epsilons=self.epsilons)
        elif attack == "R-FGSM":
            rfgsm = RFGSM(largest, alpha=self.noise, loss=cross_entropy, seed=self.seed)
            yield from rfgsm.sweep(model, images, labels, epsilons=self.epsilons)
        else:
            for one in self.epsilons:
                size = self.step_size * one / self.epsilon
                pgd = PGD(
                    epsilon=one, steps=self.steps, step_size=size, keep="last", loss=cross_entropy, seed=self.seed
                )
                yield pgd(model, images, labels)


ATTACKS = ("FGSM", "R-FGSM", "PGD")
"""Attacks of the curves, by their names in the figures."""


def alignment(
    model: nn.Module, data: Dataset, *, noise: float, epsilon: float, seed: int, batches: Batches
) -> dict[str, float]:
    """Return the mean cosine of the loss's gradients at an image and beside it; by section 4.2 masking makes it small.

    Beside it is ``"noise"``, R-FGSM's offset of this size, and ``"ball"``, a uniform point within epsilon. The gradient
    is that of log-odds, whose direction is cross entropy's and which does not round to 0.
    """

    def measure(images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        beside = Linf(epsilon=noise).step(images, random_signs(images, seed=seed), size=noise)
        points = (images, beside, Linf(epsilon=epsilon).random_start(images, seed=seed))
        with undisturbed(model, seed=seed):
            own, *others = (input_gradient(model, point, labels, loss=log_odds).gradient.flatten(1) for point in points)
        return tuple(functional.cosine_similarity(own.double(), other.double(), eps=1e-300) for other in others)

    near, far = batches(measure, data.images, data.labels)
    return {"noise": near.mean().item(), "ball": far.mean().item()}


def evaluation(config: Config, batches: Batches) -> Evaluation:
    """Return the evaluation of this run."""
    return Evaluation(
        epsilon=config.epsilon, step_size=config.step_size, steps=config.steps, seed=config.seed, batches=batches
    )


def _logits(model: nn.Module, images: Tensor) -> Tensor:
    with undisturbed(model), torch.no_grad():
        logits: Tensor = model(images)
    return logits
