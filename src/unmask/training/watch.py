"""A watch for masking during training: every so many updates, attacks of one step and of many on the same images."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from unmask.attacks import FGSM, PGD, RFGSM
from unmask.data.dataset import images_digest
from unmask.losses import cross_entropy, log_odds
from unmask.numerics import Batches, describe, undisturbed
from unmask.threats import Epsilon, check_batch


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The measurements of a network in training after some number of updates.

    Attributes:
        update: updates done so far.
        clean_accuracy: share of the images that are classified correctly; ``fgsm_accuracy`` and ``pgd_accuracy`` under
            attack.
        fgsm_loss: mean cross entropy under FGSM, in nats; ``pgd_loss`` under PGD.
        logit_distance: the mean over the images of ``|f(x_fgsm) - f(x_rfgsm)|_2``: the Euclidean norm of the logits'
            difference, not squared. Vivek, Baburaj and Babu (2019) plot it against the updates in figures 1 and 2; it
            grows as masking sets in, at once or, where half of the images are clean, some hundred updates later.
        masked: the reason for which masking is called here; empty where it is not.

    Example:
        >>> healthy = Reading(update=100, clean_accuracy=0.98, fgsm_accuracy=0.91, pgd_accuracy=0.88, fgsm_loss=0.3,
        ...                   pgd_loss=0.4, logit_distance=0.2)
        >>> bool(healthy.masked)
        False
    """

    update: int
    clean_accuracy: float
    fgsm_accuracy: float
    pgd_accuracy: float
    fgsm_loss: float
    pgd_loss: float
    logit_distance: float
    masked: str = ""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """The rule that calls masking: accuracy under PGD has fallen from its best, or is far below that under FGSM.

    It is meant for training against an attack within the watched epsilon from the first update on, and for some hundred
    images at least. Training as usual loses its accuracy under PGD without any masking, and so may a warm-up of
    epsilon. A network that has just begun to learn may show the gap for a while, also where it is trained with PGD: a
    run that was ended so within its first hundreds of updates is worth another with a larger ``gap``.

    Attributes:
        fall: from the best seen so far. Wong, Rice and Kolter (2020) stop where PGD's accuracy on a training batch has
            fallen by more than 0.2 since their last look; from the best, a fall in several steps counts as well.
        gap: accuracy under FGSM minus that under PGD. In tables 3 and 4 of Vivek, Baburaj and Babu (2019) networks
            trained with PGD or the logit distance lose 3 to 6 points between the two, networks that mask 27 to 99.
        share: the least accuracy under PGD, as a share of that under FGSM; 0 asks for nothing. Early in training the
            accuracy under FGSM is itself below the gap. The share counts once that accuracy is well above guessing, see
            ``above_chance``, and only where accuracy under PGD is not at its best: PGD training too is slower to gain
            accuracy under PGD than under FGSM.

    Raises:
        ValueError: a setting is out of range.

    Example:
        >>> reading = Reading(update=2000, clean_accuracy=0.99, fgsm_accuracy=0.95, pgd_accuracy=0.5, fgsm_loss=0.2,
        ...                   pgd_loss=9.0, logit_distance=300.0)
        >>> Rule()(reading, best=0.65)
        'accuracy is 95.0 % under FGSM and 50.0 % under PGD, a gap of more than 30 points'
        >>> Rule()(reading, best=0.75)
        'accuracy under PGD has fallen from 75.0 % to 50.0 %, by more than 20 points'
    """

    fall: float = 0.2
    gap: float = 0.3
    share: float = 0.5

    def __post_init__(self) -> None:
        if not (0 < self.fall <= 1 and 0 < self.gap <= 1):
            raise ValueError(f"fall and gap: expected numbers above 0 and up to 1, got {self.fall} and {self.gap}")
        if not 0 <= self.share < 1:
            raise ValueError(f"share: expected a number from 0 to below 1, got {self.share}")

    def __call__(self, reading: Reading, best: float, chance: float = 0.0) -> str:
        """Return the reason for which masking is called, or an empty text.

        Args:
            best: the highest accuracy under PGD of the readings before.
            chance: the accuracy of guessing.
        """
        if not _is_finite(reading):  # diverged, which is another matter
            return ""
        least = 1e-9  # shares of a few images differ by rounding
        if best - reading.pgd_accuracy > self.fall + least:
            return (
                f"accuracy under PGD has fallen from {100 * best:.1f} % to {100 * reading.pgd_accuracy:.1f} %, "
                f"by more than {100 * self.fall:g} points"
            )
        if reading.fgsm_accuracy - reading.pgd_accuracy > self.gap + least:
            return (
                f"accuracy is {100 * reading.fgsm_accuracy:.1f} % under FGSM and {100 * reading.pgd_accuracy:.1f} % "
                f"under PGD, a gap of more than {100 * self.gap:g} points"
            )
        rises = reading.pgd_accuracy > best + least
        few = reading.pgd_accuracy < self.share * reading.fgsm_accuracy - least
        if few and not rises and above_chance(reading.fgsm_accuracy, chance):
            return (
                f"accuracy under PGD is {100 * reading.pgd_accuracy:.1f} %, less than {100 * self.share:g} % of the "
                f"{100 * reading.fgsm_accuracy:.1f} % under FGSM"
            )
        return ""


def above_chance(accuracy: float, chance: float) -> bool:
    """Return True for an accuracy of more than twice that of guessing, or more than halfway from there to 1.

    Example:
        >>> above_chance(0.11, chance=0.1), above_chance(0.75, chance=0.4)
        (False, True)
    """
    return accuracy > chance + min(chance, (1 - chance) / 2)


@dataclass(eq=False)
class Watch:
    """Measure a network in training every so many updates, on the same images with the same noise.

    A reading takes ``steps + 2`` gradients of each image. The model's mode, its gradients and the global random state
    stay as they were. The weights of the last healthy reading are kept in memory; an optimizer's state is not. The
    attacks maximise the log-odds, which do not saturate.

    Attributes:
        epsilon: the bound of all three attacks; a number in [0, 1] or text such as ``"8/255"``.
        images: float (N, C, H, W) in [0, 1], some of those that are trained on; ``labels`` int64 (N,).
        every: a reading is made by the first call, and after each so many updates.
        steps: of PGD, from a random start, each of ``2.5 epsilon / steps``; the strongest point seen counts.
        alpha: R-FGSM's random offset, from which it steps on by ``epsilon - alpha`` (the paper's equations 2 and 3).
            The paper does not state it; by default it is as ``LogitDistance`` has it, a thirtieth of epsilon.
        rule: calls masking; None leaves it to the reader.
        batches: the batch size and the device of the measurements.
        readings: all that were made, oldest first.

    Raises:
        ValueError: a setting is out of range, or images or labels are of the wrong kind.

    Example:
        >>> from unmask.models import build
        >>> model = build("linear", inputs=(1, 2, 2), classes=2)
        >>> images, labels = torch.rand(8, 1, 2, 2), torch.arange(8) % 2
        >>> watch = Watch(0.3, images=images, labels=labels, every=100)
        >>> for update in range(1, 301):
        ...     if watch(model, update).masked:
        ...         watch.restore(model)
        ...         break
        >>> [reading.update for reading in watch.readings]
        [1, 100, 200, 300]
    """

    epsilon: Epsilon = Epsilon()
    _: KW_ONLY
    images: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)
    every: int = 100
    steps: int = 10
    alpha: float | None = None
    rule: Rule | None = field(default_factory=Rule)
    seed: int = 0
    batches: Batches = field(default_factory=lambda: Batches(size=500), repr=False)
    readings: list[Reading] = field(default_factory=list, init=False, repr=False)
    _weights: dict[str, Any] = field(default_factory=dict, init=False, repr=False)
    _restored: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        check_batch(self.images, self.labels)
        if self.every < 1 or not len(self.images):
            raise ValueError(f"every and images: expected at least 1 of each, got {self.every} and {len(self.images)}")
        self._attacks = (
            FGSM(epsilon=self.epsilon, loss=log_odds),
            RFGSM(epsilon=self.epsilon, alpha=self._alpha, loss=log_odds, seed=self.seed),
            PGD(epsilon=self.epsilon, steps=self.steps, loss=log_odds, seed=self.seed),
        )

    def __call__(self, model: nn.Module, update: int, *, now: bool = False) -> Reading:
        """Return the reading that holds: the latest, or, since ``restore``, the healthy one that it went back to.

        Args:
            update: how many are done. A new reading is made if another multiple of ``every`` has been reached or
                passed since the last one; it need not be called after each update.
            now: make one even if none is due.
        """
        if now or self.is_due(update):
            if not isinstance(model, nn.Module):
                raise ValueError(f"model: expected a torch module to watch, got {type(model).__name__}")
            self._restored = False
            self.readings.append(self._judged(self._measured(model, update)))
            if self.healthy is self.readings[-1]:
                self._weights = copy.deepcopy(model.state_dict())
        return self.healthy if self._restored and self.healthy else self.readings[-1]

    def is_due(self, update: int) -> bool:
        """Return True if a call after so many updates makes a new reading."""
        return not self.readings or update // self.every != self.readings[-1].update // self.every

    @property
    def chance(self) -> float:
        """The accuracy of guessing on its images: the share of the commonest class."""
        return float(self.labels.bincount().max()) / len(self.labels)

    @property
    def _alpha(self) -> float:
        return self.epsilon / 30 if self.alpha is None else self.alpha

    @property
    def masked(self) -> str:
        """The reason for which masking was called at the last reading; empty if it was not."""
        return self.readings[-1].masked if self.readings else ""

    @property
    def healthy(self) -> Reading | None:
        """The last reading at which masking was not called; one of a network that has diverged does not count."""
        return next((one for one in reversed(self.readings) if not one.masked and _is_finite(one)), None)

    def restore(self, model: nn.Module) -> int:
        """Put back the weights of the last healthy reading; return its update. That reading then holds till the next.

        Where masking sets in before anything else is learned, that is the first reading, of an untrained network.

        Raises:
            ValueError: there is none.
        """
        if not self.healthy:
            raise ValueError("watch: expected a healthy reading to return to, got none; begin from other weights")
        model.load_state_dict(self._weights)
        self._restored = True
        return self.healthy.update

    def state_dict(self) -> dict[str, Tensor]:
        """Return its readings and the kept weights, as tensors for a checkpoint."""
        rows = [[getattr(reading, name) for name in _NUMBERS] for reading in self.readings]
        weights = {f"healthy.{name}": value for name, value in self._weights.items()}
        return {"readings": torch.tensor(rows, dtype=torch.float64), **weights}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Put back the readings and the weights of a watch with the same settings."""
        self.readings = []
        for update, *values in state["readings"].tolist():
            self.readings.append(self._judged(_reading(int(update), values)))
        self._weights = {name[8:]: value for name, value in state.items() if name.startswith("healthy.")}

    @property
    def settings(self) -> str:
        """In words, all that must agree for a resumed run to be watched as before."""
        images = images_digest(self.images, self.labels)[:16]
        return (
            f"every {self.every} at epsilon {self.epsilon:g}, {self.steps} steps, alpha {self._alpha:g}, "
            f"seed {self.seed}, {len(self.images)} images (SHA-256 {images}), {describe(self.rule)}"
        )

    def _judged(self, reading: Reading) -> Reading:
        best = max((one.pgd_accuracy for one in self.readings), default=0.0)
        return replace(reading, masked=self.rule(reading, best, self.chance) if self.rule else "")

    def _measured(self, model: nn.Module, update: int) -> Reading:
        columns = self.batches(lambda x, y: self._values(model, x, y), self.images, self.labels)
        return _reading(update, [float(column.double().mean()) for column in columns])

    def _values(self, model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """Return one value per image (N,) for each number of a reading but the first."""
        where = next((one for one in model.parameters() if one.is_floating_point()), images)
        images, labels = images.to(where), labels.to(where.device)
        points = [images, *(attack(model, images, labels) for attack in self._attacks)]
        with undisturbed(model, seed=self.seed), torch.no_grad():
            clean, fgsm, rfgsm, pgd = map(model, points)
        correct = (logits.argmax(1) == labels for logits in (clean, fgsm, pgd))
        losses = (cross_entropy(logits, labels) for logits in (fgsm, pgd))
        return *correct, *losses, (fgsm - rfgsm).norm(dim=1)


_NUMBERS = tuple(name for name in Reading.__dataclass_fields__ if name != "masked")


def _reading(update: int, values: Sequence[float]) -> Reading:
    named: dict[str, Any] = dict(zip(_NUMBERS, (update, *values), strict=True))
    return Reading(**named)


def _is_finite(reading: Reading) -> bool:
    return math.isfinite(reading.fgsm_loss) and math.isfinite(reading.pgd_loss)
