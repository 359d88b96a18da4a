"""DeepFool: the nearest decision boundary by linearising the logits again and again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor

from unmask.attacks.attack import FORWARD, BoundedAttack, check_counts
from unmask.attacks.best import as_images
from unmask.gradients import recordable
from unmask.numerics import Model, undisturbed
from unmask.threats import Epsilon, check_batch

_BEYOND = 1e-4
"""The length added to each step, so that rounding cannot hold it on the boundary."""


@dataclass(frozen=True)
class DeepFool(BoundedAttack):
    """Step to the nearest linearised boundary until the class changes (Moosavi-Dezfooli et al. 2016, algorithm 2).

    With ``f_k = z_k - z_y`` and ``w_k = grad_x f_k`` the nearest boundary is that of the k with the least
    ``|f_k| / |w_k|_q``; the step is ``|f_k| / |w_k|_2^2 w_k`` for ``norm=2`` and ``|f_k| / |w_k|_1 sign(w_k)`` for
    ``norm=inf``, each made 1e-4 longer so that rounding cannot hold it on the boundary. The sum of the steps is
    stretched by ``1 + overshoot``, cut to epsilon in every pixel and to [0, 1].
    It looks for the smallest change, not the strongest: an example stops where its class has changed.

    Attributes:
        epsilon: the bound per pixel; the default 1 leaves only [0, 1], as the paper does.
        steps: the largest number of steps.
        overshoot: the share by which the sum of the steps is stretched.
        norm: the norm in which the nearest boundary is looked for, 2 or ``math.inf``.
        candidates: the number of classes tried, those with the highest logits at the clean image.

    Raises:
        ValueError: a setting is out of range; on the call, images or labels of the wrong kind.

    Example:
        >>> model = lambda x: x.flatten(1)
        >>> attack = DeepFool(norm=math.inf)
        >>> attack(model, torch.tensor([0.6, 0.4]).view(1, 1, 1, 2), torch.tensor([0])).flatten()
        tensor([0.4979, 0.5021])
    """

    epsilon: Epsilon = Epsilon(1.0)
    _: KW_ONLY
    steps: int = 50
    overshoot: float = 0.02
    norm: float = 2
    candidates: int = 10

    def __post_init__(self) -> None:
        check_counts(steps=self.steps)
        if not self.candidates >= 2:
            raise ValueError(f"candidates: expected at least 2, got {self.candidates}")
        if not self.overshoot >= 0:
            raise ValueError(f"overshoot: expected a number from 0 up, got {self.overshoot}")
        if self.norm not in (2, math.inf):
            raise ValueError(f"norm: expected 2 or math.inf, got {self.norm}")

    @property
    def cost(self) -> float:
        """At most one point with gradients for each step, however many classes, and the prediction on the result."""
        return self.steps + FORWARD

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Tensor:
        """Return adversarial images, shaped as ``images``; an example that is misclassified already stays as it is."""
        check_batch(images, labels)
        return self.threat.project(self._search(model, images, labels), images.detach())

    def sweep(self, model: Model, images: Tensor, labels: Tensor, *, epsilons: Sequence[float]) -> Iterator[Tensor]:
        """Yield the result of one search, cut to each epsilon in turn."""
        check_batch(images, labels)
        found = self._search(model, images, labels)
        for threat in map(self.threat.scaled, epsilons):
            yield threat.project(found, images.detach())

    def _search(self, model: Model, images: Tensor, labels: Tensor) -> Tensor:
        """Return the images across the boundary, within [0, 1] alone."""
        with undisturbed(model), torch.inference_mode(False), torch.enable_grad():
            images, labels = recordable(images), recordable(labels)
            found, change = images.clone(), torch.zeros_like(images)
            rows = torch.arange(len(images), device=images.device)
            for step in range(self.steps):
                point = found[rows].requires_grad_()
                logits = model(point)
                if step == 0:
                    ranked = logits.detach().topk(min(self.candidates, logits.shape[1]), dim=1).indices
                remaining = logits.argmax(1) == labels[rows]
                if not remaining.any():
                    break
                move = _nearest_boundary(logits, point, labels[rows], ranked[rows], self.norm)
                rows, move = rows[remaining], move[remaining]
                change[rows] += move
                found[rows] = (images[rows] + (1 + self.overshoot) * change[rows]).clamp_(0, 1)
        return found


def _nearest_boundary(logits: Tensor, point: Tensor, labels: Tensor, candidates: Tensor, norm: float) -> Tensor:
    """Return the step (N, C, H, W) to the nearest linearised boundary between the label and a candidate class."""
    true = logits.gather(1, labels[:, None])
    nearest = torch.full((len(logits),), torch.inf, dtype=logits.dtype, device=logits.device)
    step = torch.zeros_like(point)
    for column in candidates.T:
        gap = (logits.gather(1, column[:, None]) - true).squeeze(1)
        if gap.requires_grad:
            (slope,) = torch.autograd.grad(
                gap.sum(), point, retain_graph=True, allow_unused=True, materialize_grads=True
            )
        else:
            slope = torch.zeros_like(point)
        flat = slope.flatten(1)
        size = (flat.abs().sum(1) if norm == math.inf else flat.norm(dim=1)).clamp_min(torch.finfo(flat.dtype).tiny)
        distance = gap.detach().abs() / size
        closer = (distance < nearest) & (column != labels)
        nearest = torch.where(closer, distance, nearest)
        direction = slope.sign() if norm == math.inf else slope / as_images(size)
        step = torch.where(as_images(closer), as_images(distance + _BEYOND) * direction, step)
    return step
