"""Attacks in many steps: PGD with restarts, keeping the best point seen or the last; and I-FGSM, its plain ancestor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from unmask.attacks.best import Best, misclassified
from unmask.gradients import input_gradient
from unmask.losses import Loss, log_odds
from unmask.numerics import Model, derive_seed, fastest_layout, laid_out, undisturbed
from unmask.threats import Linf, check_batch


@dataclass(frozen=True, kw_only=True)
class PGD:
    """Projected gradient descent: ``x <- project(x + step_size sign(grad_x loss))``, repeated (Madry et al. 2018).

    Attributes:
        step_size: how far a step goes, in pixel units; by default ``2.5 epsilon / steps``.
        restarts: how often it begins anew, from a random start of its own.
        start: ``"random"``, uniform in the ball, or ``"clean"``, the image itself.
        keep: ``"best"``, the strongest point seen: misclassified before classified correctly, then by loss; or
            ``"last"``, the final point (of the best restart), which spares the look at where the last step led.

    Raises:
        ValueError: a setting is out of range; on the call, images or labels of the wrong kind.

    Example:
        >>> model = lambda x: x.flatten(1)
        >>> attack = PGD(epsilon=0.25, steps=10)
        >>> attack(model, torch.full((1, 1, 1, 2), 0.5), torch.tensor([0])).flatten()
        tensor([0.2500, 0.7500])
    """

    epsilon: float
    steps: int = 40
    step_size: float | None = None
    restarts: int = 1
    start: Literal["random", "clean"] = "random"
    keep: Literal["best", "last"] = "best"
    loss: Loss = log_odds
    seed: int = 0

    def __post_init__(self) -> None:
        Linf(epsilon=self.epsilon)
        if self.steps < 1 or self.restarts < 1:
            raise ValueError(f"steps and restarts: expected at least 1, got {self.steps} and {self.restarts}")
        if self.step_size is not None and not self.step_size >= 0:
            raise ValueError(f"step_size: expected a number from 0 up, got {self.step_size}")
        if self.start not in ("random", "clean"):
            raise ValueError(f"start: expected 'random' or 'clean', got {self.start!r}")
        if self.keep not in ("best", "last"):
            raise ValueError(f"keep: expected 'best' or 'last', got {self.keep!r}")

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Tensor:
        """Adversarial images, shaped as ``images``."""
        check_batch(images, labels)
        images = images.detach()
        threat = Linf(epsilon=self.epsilon)
        size = 2.5 * self.epsilon / self.steps if self.step_size is None else self.step_size
        with undisturbed(model, seed=self.seed):
            layout = fastest_layout(model, images)
            best = Best(images)
            for restart in range(self.restarts):
                point = images
                if self.start == "random":
                    point = threat.random_start(images, seed=derive_seed(self.seed, "restart", restart))
                for _ in range(self.steps):
                    at = input_gradient(model, point, labels, loss=self.loss, layout=layout)
                    if self.keep == "best":
                        best.offer(point, misclassified(at.logits, labels), at.loss)
                    point = threat.step(point, at.gradient, size=size, origin=images)
                if self.keep == "last" and self.restarts == 1:
                    return point
                with torch.no_grad():
                    logits = model(laid_out(point, layout))
                    best.offer(point, misclassified(logits, labels), self.loss(logits, labels))
        return best.images

    @classmethod
    def sweep(
        cls,
        model: Model,
        images: Tensor,
        labels: Tensor,
        *,
        epsilons: Sequence[float],
        steps: int = 40,
        step_size: float | None = None,
        restarts: int = 1,
        start: Literal["random", "clean"] = "random",
        keep: Literal["best", "last"] = "best",
        loss: Loss = log_odds,
        seed: int = 0,
    ) -> Iterator[Tensor]:
        """Adversarial images for each epsilon in turn; one attack each."""
        settings = cls(
            epsilon=0, steps=steps, step_size=step_size, restarts=restarts, start=start, keep=keep, loss=loss, seed=seed
        )
        for epsilon in epsilons:
            yield replace(settings, epsilon=epsilon)(model, images, labels)


@dataclass(frozen=True, kw_only=True)
class IFGSM:
    """Iterative FGSM: ``steps`` steps of ``epsilon / steps`` from the image, keeping the last (Kurakin et al. 2017).

    Raises:
        ValueError: a setting is out of range; on the call, images or labels of the wrong kind.

    Example:
        >>> model = lambda x: x.flatten(1)
        >>> IFGSM(epsilon=0.25, steps=5)(model, torch.full((1, 1, 1, 2), 0.5), torch.tensor([0])).flatten()
        tensor([0.2500, 0.7500])
    """

    epsilon: float
    steps: int = 40
    loss: Loss = log_odds

    def __post_init__(self) -> None:
        self._as_pgd()

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Tensor:
        """Adversarial images, shaped as ``images``."""
        return self._as_pgd()(model, images, labels)

    def _as_pgd(self) -> PGD:
        size = self.epsilon / max(self.steps, 1)
        return PGD(epsilon=self.epsilon, steps=self.steps, step_size=size, start="clean", keep="last", loss=self.loss)

    @classmethod
    def sweep(
        cls,
        model: Model,
        images: Tensor,
        labels: Tensor,
        *,
        epsilons: Sequence[float],
        steps: int = 40,
        loss: Loss = log_odds,
    ) -> Iterator[Tensor]:
        """Adversarial images for each epsilon in turn; one attack each."""
        for epsilon in epsilons:
            yield cls(epsilon=epsilon, steps=steps, loss=loss)(model, images, labels)
