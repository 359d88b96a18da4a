"""The measurement of a network at one moment of its training: errors, margins, regimes, and attacks on it."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from unmask.attacks import FRSM, PGD, DeepFool, predict
from unmask.data import Dataset
from unmask.gradients import At, input_gradient
from unmask.losses import cross_entropy, log_odds
from unmask.numerics import Batches, random_signs, undisturbed
from unmask_experiments.evaluation import correct_under
from unmask_experiments.sweeps import finite

WRONG_DIRECTION, ALL_ZERO = 16.6, 103.97
"""Log-odds from which on float32 cross entropy's gradient has the wrong direction, and is 0 throughout."""

QUANTILES = tuple(step / 40 for step in range(41))
"""Shares of the images at which the log-odds are recorded."""

REGIMES = ("sound", "wrong direction", "all zero")
"""Cross entropy's gradient: right; without the true class's part, because its probability rounds to 1; or all 0."""


@dataclass(frozen=True, kw_only=True)
class NetworkMeasurement:
    """Measure a network: called with it, returns counts and values that JSON can hold.

    Every count under attack is of images that are still classified correctly, split by ``REGIMES``.
    The test images should be in random order: the slow attacks take the first.

    Attributes:
        epsilon: the paper's own, at which every attack is run.
        epsilons: those for FGSM as the paper did it (cross entropy in the network's own precision, clipped).
        repairs: those for the variants: the other precision, log-odds, unclipped, random signs where the gradient is 0.
        test, train: the images to measure on; ``train`` may be a part of the training images.
        slow_images: number of test images, the first, under PGD; DeepFool gets half of them.
        scales: factors on the logits, at which FGSM is run again: they move the margin and nothing else.
        surrogate: another network, whose FGSM images (log-odds loss) are transferred.
    """

    epsilon: float
    epsilons: Sequence[float]
    repairs: Sequence[float]
    test: Dataset
    train: Dataset
    slow_images: int
    scales: Sequence[float] = ()
    surrogate: nn.Module | None = None
    batches: Batches = field(default_factory=lambda: Batches(size=128))

    def __call__(self, model: nn.Module, *, thorough: bool = False) -> dict[str, Any]:
        """Return all measurements; ``thorough`` runs the variants at every epsilon."""
        repairs = self.epsilons if thorough else self.repairs
        with undisturbed(model):
            table = self._signs(model, repairs)
            regime = table.pop("regime")
            found: dict[str, Any] = {
                "test": margin_summary(table["log_odds"], table.pop("correct")),
                "train": self._train(model),
                "regimes": torch.bincount(regime, minlength=len(REGIMES)).tolist(),
                "recast_regimes": torch.bincount(table.pop("recast_regime"), minlength=len(REGIMES)).tolist(),
                "zero_components": table.pop("zeros").double().mean().item(),
                "zero_components_log_odds": table.pop("zeros_exact").double().mean().item(),
                "sign_agreement": _mean_by_regime(regime, table.pop("agreement")),
            }
            del table["log_odds"]
            found["scaled"] = {
                f"{scale:g}": dict(zip(("standing", "saturated", "vanished"), counts, strict=True))
                for scale in self.scales
                for counts in [table.pop(f"scale {scale:g}").sum(0).tolist()]
            }
            found["attacks"] = {
                name: {
                    "epsilons": list(self.epsilons if rows.shape[1] == len(self.epsilons) else repairs),
                    "standing": _by_regime(regime, rows),
                }
                for name, rows in table.items()
            }
            found["slow"] = self._slow(model, table, regime)
        cleaned: dict[str, Any] = finite(found)
        return cleaned

    def _signs(self, model: nn.Module, repairs: Sequence[float]) -> dict[str, Tensor]:
        """Run one-step attacks on all test images: names to columns, one row per image."""
        own = next(model.parameters()).dtype
        other = copy.deepcopy(model).to(torch.float32 if own == torch.float64 else torch.float64)
        names: list[str] = []

        def measure(images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
            images = images.to(own)
            with undisturbed(other):
                recast = input_gradient(other, images.to(next(other.parameters()).dtype), labels, loss=cross_entropy)
            coarse = input_gradient(model, images, labels, loss=cross_entropy)
            exact = input_gradient(model, images, labels, loss=log_odds)
            columns = _state(coarse, exact, labels) | {"recast_regime": _regime(recast, labels)}
            sign = coarse.gradient.sign()
            noisy = torch.where(sign == 0, random_signs(images, seed=1), sign)
            attack = _Along(model, images, labels)
            columns |= {
                "as published": attack(sign, self.epsilons),
                "recast": attack(recast.gradient.sign().to(own), repairs),
                "log-odds": attack(exact.gradient.sign(), repairs),
                "unclipped": attack(sign, repairs, clip=False),
                "random at zeros": attack(noisy, repairs),
                "random": attack(random_signs(images, seed=2), repairs),
            }
            for scale in self.scales:
                columns[f"scale {scale:g}"] = self._scaled(attack, scale)
            if self.surrogate is not None:
                with undisturbed(self.surrogate):
                    borrowed = (
                        input_gradient(self.surrogate, images.float(), labels, loss=log_odds).gradient.sign().to(own)
                    )
                columns["transfer"] = attack(borrowed, repairs)
            names[:] = list(columns)
            return tuple(columns.values())

        columns = self.batches(measure, self.test.images, self.test.labels)
        return dict(zip(names, columns, strict=True))

    def _scaled(self, attack: _Along, scale: float) -> Tensor:
        """Return for scaled logits: correct at the paper's epsilon; p_y rounds to 1; the gradient is 0 throughout."""

        def loss(logits: Tensor, labels: Tensor) -> Tensor:
            return cross_entropy(scale * logits, labels)

        at = input_gradient(attack.model, attack.images, attack.labels, loss=loss)
        standing = attack(at.gradient.sign(), [self.epsilon])[:, 0]
        sure = (scale * at.logits).softmax(1).gather(1, attack.labels[:, None]).squeeze(1) == 1
        return torch.stack([standing, sure, (at.gradient == 0).flatten(1).all(1)], dim=1)

    def _train(self, model: nn.Module) -> dict[str, Any]:
        """Measure errors, margins, and the random sign method on the training images."""
        own = next(model.parameters()).dtype

        def measure(images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
            images = images.to(own)
            with torch.no_grad():
                logits = model(images)
            points = FRSM(max(self.epsilons)).sweep(None, images, labels, epsilons=self.epsilons)
            standing = torch.stack([predict(model, point) == labels for point in points], dim=1)
            return -log_odds(logits.double(), labels), logits.argmax(1) == labels, standing

        lead, correct, standing = self.batches(measure, self.train.images, self.train.labels)
        return margin_summary(lead, correct) | {
            "epsilons": list(self.epsilons),
            "random_standing": standing.sum(0).tolist(),
        }

    def _slow(self, model: nn.Module, table: dict[str, Tensor], regime: Tensor) -> dict[str, Any]:
        """Run PGD, DeepFool, and the worst case per image, at the paper's epsilon on the first test images."""
        count = min(self.slow_images, len(self.test))
        images, labels = self.test.images[:count].to(next(model.parameters()).dtype), self.test.labels[:count]
        columns = {}
        for name, loss in (("PGD log-odds", log_odds), ("PGD cross entropy", cross_entropy)):
            attack = PGD(epsilon=self.epsilon, steps=40, loss=loss)
            columns[name] = correct_under(model, [attack], images, labels, batches=self.batches)
        for name, rows in table.items():
            place = list(self.epsilons if rows.shape[1] == len(self.epsilons) else self.repairs).index(self.epsilon)
            columns[f"FGSM {name}"] = rows[:count, place]
        columns["worst case"] = torch.stack(list(columns.values())).all(0)
        return {
            "images": count,
            "epsilon": self.epsilon,
            "standing": {name: _by_regime(regime[:count], rows[:, None])[0] for name, rows in columns.items()},
            "deepfool": _deepfool(model, images[: count // 2], labels[: count // 2]),
        }


@dataclass(frozen=True)
class _Along:
    """The images still classified correctly after a step of each epsilon along a direction of signs."""

    model: nn.Module
    images: Tensor
    labels: Tensor

    def __call__(self, direction: Tensor, epsilons: Sequence[float], *, clip: bool = True) -> Tensor:
        standing = []
        for epsilon in epsilons:
            moved = torch.add(self.images, direction, alpha=epsilon)
            with torch.no_grad():
                standing.append(self.model(moved.clamp_(0, 1) if clip else moved).argmax(1) == self.labels)
        return torch.stack(standing, dim=1)


def _state(coarse: At, exact: At, labels: Tensor) -> dict[str, Tensor]:
    """Return margin, regime, zero components, and the share of pixels where the two losses' gradients agree in sign."""
    used, wanted = coarse.gradient.flatten(1), exact.gradient.flatten(1)
    counted = wanted != 0
    agree = ((used.sign() == wanted.sign()) & counted).sum(1)
    return {
        "log_odds": -log_odds(coarse.logits.double(), labels),
        "correct": coarse.logits.argmax(1) == labels,
        "regime": _regime(coarse, labels),
        "zeros": (used == 0).sum(1),
        "zeros_exact": (~counted).sum(1),
        "agreement": torch.where(counted.any(1), agree / counted.sum(1).clamp_min(1), 1.0),
    }


def _regime(at: At, labels: Tensor) -> Tensor:
    """Return the index into ``REGIMES`` of each image, from the gradient of cross entropy there."""
    sure = at.logits.softmax(1).gather(1, labels[:, None]).squeeze(1) == 1
    return torch.where((at.gradient == 0).flatten(1).all(1), 2, sure.long())


def margin_summary(lead: Tensor, correct: Tensor) -> dict[str, Any]:
    """Return images, errors, mean cross entropy (in float64), and quantiles of the log-odds for the true class.

    Example:
        >>> margin_summary(torch.tensor([2.0, -1.0]), torch.tensor([True, False]))["errors"]
        1
    """
    lead = lead.double()
    return {
        "images": len(lead),
        "errors": int((~correct).sum()),
        "loss": torch.nn.functional.softplus(-lead).mean().item(),
        "saturated": int((lead >= WRONG_DIRECTION).sum()),
        "vanished": int((lead >= ALL_ZERO).sum()),
        "log_odds": [round(value, 3) for value in lead.quantile(torch.tensor(QUANTILES).double()).tolist()],
    }


def _by_regime(regime: Tensor, correct: Tensor) -> list[list[int]]:
    """Count the correct images, for each column and regime."""
    return [[int(column[regime == kind].sum()) for kind in range(len(REGIMES))] for column in correct.T]


def _mean_by_regime(regime: Tensor, values: Tensor) -> list[float | None]:
    return [values[regime == kind].double().mean().item() if (regime == kind).any() else None for kind in range(3)]


def _deepfool(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Any]:
    """Return DeepFool's errors, and the size of the change on images that it had to change and did."""
    found = DeepFool()(model, images, labels)
    fooled = predict(model, found) != labels
    changed = fooled & (predict(model, images) == labels)
    change, before = (found - images).flatten(1)[changed].double(), images.flatten(1)[changed].double()
    sizes = {
        "relative": (change.norm(dim=1) / before.norm(dim=1)).mean().item(),
        "l2": change.norm(dim=1).mean().item(),
        "linf": change.abs().amax(1).mean().item() if len(change) else math.nan,
    }
    return {"images": len(images), "errors": int(fooled.sum()), "changed": int(changed.sum()), **sizes}
