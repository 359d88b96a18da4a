"""Attacks in many steps: PGD with restarts, which keeps the best point seen or the last; and I-FGSM before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from unmask.attacks.attack import FORWARD, BoundedAttack, check_counts
from unmask.attacks.best import Best, misclassified
from unmask.gradients import input_gradient
from unmask.losses import Loss, cross_entropy
from unmask.numerics import Model, derive_seed, fastest_layout, laid_out, undisturbed
from unmask.threats import check_batch


@dataclass(frozen=True, kw_only=True)
class PGD(BoundedAttack):
    """Projected gradient descent: ``x <- project(x + step_size sign(grad_x loss))``, repeated (Madry et al. 2018).

    Attributes:
        steps: gradient steps of each restart.
        step_size: the size of a step, in pixel units; by default ``2.5 epsilon / steps``.
        restarts: runs, each from a random start of its own.
        start: ``"random"``, uniform in the ball, or ``"clean"``, the image itself.
        keep: ``"best"``, the strongest point seen: misclassified before classified correctly, then by loss; or
            ``"last"``, the final point (of the best restart), which saves the forward pass at the end of a single run.

    Raises:
        ValueError: a setting is out of range; on the call, images or labels of the wrong kind.

    Example:
        >>> model = lambda x: x.flatten(1)
        >>> attack = PGD(0.25, steps=10)
        >>> attack(model, torch.full((1, 1, 1, 2), 0.5), torch.tensor([0])).flatten()
        tensor([0.2500, 0.7500])
    """

    steps: int = 40
    step_size: float | None = None
    restarts: int = 1
    start: Literal["random", "clean"] = "random"
    keep: Literal["best", "last"] = "best"
    loss: Loss = cross_entropy
    seed: int = 0

    def __post_init__(self) -> None:
        check_counts(steps=self.steps, restarts=self.restarts)
        if self.step_size is not None and not self.step_size >= 0:
            raise ValueError(f"step_size: expected a number from 0 up, got {self.step_size}")
        if self.start not in ("random", "clean"):
            raise ValueError(f"start: expected 'random' or 'clean', got {self.start!r}")
        if self.keep not in ("best", "last"):
            raise ValueError(f"keep: expected 'best' or 'last', got {self.keep!r}")

    @property
    def cost(self) -> float:
        """One gradient for each step of each restart, and the prediction on the result."""
        return self.steps * self.restarts + FORWARD

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Tensor:
        """Return adversarial images, shaped as ``images``."""
        check_batch(images, labels)
        images, threat = images.detach(), self.threat
        size = 2.5 * threat.epsilon / self.steps if self.step_size is None else self.step_size
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


@dataclass(frozen=True, kw_only=True)
class IFGSM(BoundedAttack):
    """Iterative FGSM: ``steps`` steps of ``epsilon / steps`` from the image, keeping the last (Kurakin et al. 2017).

    Raises:
        ValueError: a setting is out of range; on the call, images or labels of the wrong kind.

    Example:
        >>> model = lambda x: x.flatten(1)
        >>> IFGSM(0.25, steps=5)(model, torch.full((1, 1, 1, 2), 0.5), torch.tensor([0])).flatten()
        tensor([0.2500, 0.7500])
    """

    steps: int = 40
    loss: Loss = cross_entropy

    def __post_init__(self) -> None:
        check_counts(steps=self.steps)

    @property
    def cost(self) -> float:
        """One gradient for each step, and the prediction on the result."""
        return self.steps + FORWARD

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Tensor:
        """Return adversarial images, shaped as ``images``."""
        check_batch(images, labels)
        images, threat = images.detach(), self.threat
        point = images
        with undisturbed(model):
            layout = fastest_layout(model, images)
            for _ in range(self.steps):
                gradient = input_gradient(model, point, labels, loss=self.loss, layout=layout).gradient
                point = threat.step(point, gradient, size=threat.epsilon / self.steps, origin=images)
        return point
