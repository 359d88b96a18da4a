"""The strongest point that an attack has seen of each example, and two one-liners that the attacks share."""

from __future__ import annotations

import torch
from torch import Tensor

ALL = slice(None)
"""The rows of every example."""


class Best:
    """The strongest point seen of each example: misclassified before classified correctly, then by loss.

    Attributes:
        images: those points; before any is offered, the images themselves.
        fallen: which of them are misclassified, bool (N,).
        loss: theirs, (N,).

    Example:
        >>> best = Best(torch.zeros(2, 1, 1, 1))
        >>> best.offer(torch.ones(2, 1, 1, 1), torch.tensor([False, True]), torch.tensor([0.5, 0.1]))
        >>> best.offer(torch.full((2, 1, 1, 1), 0.5), torch.tensor([False, False]), torch.tensor([0.7, 0.7]))
        >>> best.images.flatten()
        tensor([0.5000, 1.0000])
    """

    def __init__(self, images: Tensor) -> None:
        self.images = images.clone()
        self.fallen = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        self.loss = torch.full((len(images),), -torch.inf, dtype=images.dtype, device=images.device)

    def offer(self, points: Tensor, fallen: Tensor, loss: Tensor, rows: Tensor | slice = ALL) -> None:
        """Take the points that are stronger than what is held; ``rows`` says whose points they are."""
        held, already = self.loss[rows], self.fallen[rows]
        better = (fallen & ~already) | ((fallen == already) & (loss > held))
        self.images[rows] = torch.where(as_images(better), points, self.images[rows])
        self.loss[rows] = torch.where(better, loss.to(held.dtype), held)
        self.fallen[rows] = already | fallen

    def standing(self) -> Tensor:
        """The rows of the examples that are still classified correctly."""
        return (~self.fallen).nonzero().squeeze(1)


def misclassified(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether the highest logit is another class's, bool (N,).

    Example:
        >>> misclassified(torch.tensor([[0.1, 0.9]]), torch.tensor([0]))
        tensor([True])
    """
    return logits.argmax(1) != labels


def as_images(values: Tensor) -> Tensor:
    """One value per example, (N, 1, 1, 1), shaped to multiply images.

    Example:
        >>> as_images(torch.tensor([2.0, 3.0])).shape
        torch.Size([2, 1, 1, 1])
    """
    return values[:, None, None, None]
