"""The strongest point that an attack has seen of each example, and two helpers that the attacks share."""

from __future__ import annotations

import torch
from torch import Tensor

ALL = slice(None)
"""The rows of every example."""


class Best:
    """The strongest point seen of each example: misclassified before classified correctly, then by loss.

    Attributes:
        images: those points; before any is offered, the images themselves.
        fooled: True where they are misclassified, bool (N,).
        loss: their losses, (N,).

    Example:
        >>> best = Best(torch.zeros(2, 1, 1, 1))
        >>> best.offer(torch.ones(2, 1, 1, 1), torch.tensor([False, True]), torch.tensor([0.5, 0.1]))
        >>> best.offer(torch.full((2, 1, 1, 1), 0.5), torch.tensor([False, False]), torch.tensor([0.7, 0.7]))
        >>> best.images.flatten()
        tensor([0.5000, 1.0000])
    """

    def __init__(self, images: Tensor) -> None:
        self.images = images.clone()
        self.fooled = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        self.loss = torch.full((len(images),), -torch.inf, dtype=images.dtype, device=images.device)

    def offer(self, points: Tensor, fooled: Tensor, loss: Tensor, rows: Tensor | slice = ALL) -> None:
        """Keep the points that are stronger than those held; they belong to the examples ``rows``."""
        held, already = self.loss[rows], self.fooled[rows]
        better = (fooled & ~already) | ((fooled == already) & (loss > held))
        self.images[rows] = torch.where(as_images(better), points, self.images[rows])
        self.loss[rows] = torch.where(better, loss.to(held.dtype), held)
        self.fooled[rows] = already | fooled

    def remaining(self) -> Tensor:
        """Return the numbers of the examples that are still classified correctly."""
        return (~self.fooled).nonzero().squeeze(1)


def misclassified(logits: Tensor, labels: Tensor) -> Tensor:
    """Return True where the highest logit is another class's, bool (N,).

    Example:
        >>> misclassified(torch.tensor([[0.1, 0.9]]), torch.tensor([0]))
        tensor([True])
    """
    return logits.argmax(1) != labels


def as_images(values: Tensor) -> Tensor:
    """Return one value per example in a shape that multiplies images, (N, 1, 1, 1).

    Example:
        >>> as_images(torch.tensor([2.0, 3.0])).shape
        torch.Size([2, 1, 1, 1])
    """
    return values[:, None, None, None]
