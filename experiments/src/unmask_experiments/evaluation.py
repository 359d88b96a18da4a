"""Images, and the correctness of a model's predictions under attacks, for all experiments."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from unmask import evaluate
from unmask.data import Dataset, permutation
from unmask.numerics import Batches, Model

Attack = Callable[[Model, Tensor, Tensor], Tensor]
"""An attack of `unmask`, or any function of a model, images and labels that returns images."""


def unchanged(model: Model, images: Tensor, labels: Tensor) -> Tensor:
    """Return the images as they are: the attack that measures clean accuracy.

    Example:
        >>> import torch
        >>> unchanged(None, torch.zeros(1, 1, 1, 1), torch.tensor([0])).flatten()
        tensor([0.])
    """
    return images


def correct_under(
    model: Model, attacks: Sequence[Attack], images: Tensor, labels: Tensor, *, batches: Batches
) -> Tensor:
    """Return the images that are classified correctly after all these attacks, bool (N,).

    Example:
        >>> import torch
        >>> images = torch.tensor([0.9, 0.1]).view(1, 1, 1, 2)
        >>> correct_under(nn.Flatten(), [unchanged], images, torch.tensor([0]), batches=Batches())
        tensor([True])
    """
    return evaluate(model, images, labels, attacks, batches=batches).correct


def count_correct(model: nn.Module, attack: Attack, data: Dataset, batches: Batches) -> int:
    """Return the number of images that are classified correctly under one attack."""
    return int(correct_under(model, [attack], data.images, data.labels, batches=batches).sum())


def shuffled(data: Dataset, count: int) -> Dataset:
    """Return the first ``count`` images, or all, in a random order that is always the same: a fair sample.

    Example:
        >>> from unmask.data import load
        >>> len(shuffled(load("digits", "test"), 10))
        10
    """
    return data.take(permutation(len(data), 0)[:count])
