"""MI-FGSM: iterative FGSM along a momentum of normalised gradients."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.attacks.attack import FORWARD, BoundedAttack, check_counts
from unmask.attacks.best import as_images
from unmask.gradients import input_gradient
from unmask.losses import Loss, cross_entropy
from unmask.numerics import Model, fastest_layout, undisturbed
from unmask.threats import check_batch


@dataclass(frozen=True, kw_only=True)
class MIFGSM(BoundedAttack):
    """Momentum iterative FGSM, whose images transfer well to other models (Dong et al. 2018, algorithm 1).

    ``g <- decay g + grad_x loss / |grad_x loss|_1``, then ``x <- project(x + alpha sign(g))`` with ``alpha = epsilon /
    steps``, from the image; the last point is kept. Where a gradient is 0 or NaN it adds nothing to ``g``.

    Attributes:
        steps: gradient steps.
        decay: the share of ``g`` that is kept at each step; 0 gives I-FGSM.

    Raises:
        ValueError: a setting is out of range; on the call, images or labels of the wrong kind.

    Example:
        >>> model = lambda x: x.flatten(1)
        >>> MIFGSM(0.25, steps=5)(model, torch.full((1, 1, 1, 2), 0.5), torch.tensor([0])).flatten()
        tensor([0.2500, 0.7500])
    """

    steps: int = 10
    decay: float = 1.0
    loss: Loss = cross_entropy

    def __post_init__(self) -> None:
        check_counts(steps=self.steps)
        if not self.decay >= 0:
            raise ValueError(f"decay: expected a number from 0 up, got {self.decay}")

    @property
    def cost(self) -> float:
        """One gradient for each step, and the prediction on the result."""
        return self.steps + FORWARD

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Tensor:
        """Return adversarial images, shaped as ``images``."""
        check_batch(images, labels)
        images, threat = images.detach(), self.threat
        point, momentum = images, torch.zeros_like(images)
        with undisturbed(model):
            layout = fastest_layout(model, images)
            for _ in range(self.steps):
                gradient = input_gradient(model, point, labels, loss=self.loss, layout=layout).gradient
                gradient = torch.nan_to_num(gradient)
                size = gradient.abs().flatten(1).sum(1).clamp_min(torch.finfo(gradient.dtype).tiny)
                momentum = self.decay * momentum + gradient / as_images(size)
                point = threat.step(point, momentum, size=threat.epsilon / self.steps, origin=images)
        return point
