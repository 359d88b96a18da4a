"""Fully connected networks, down to the linear model."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from torch import nn

from unmask.models.geometry import Shape, check

__all__ = ["linear", "mlp"]


def mlp(*, inputs: Shape = (1, 28, 28), classes: int = 10, widths: Sequence[int] = (600, 128)) -> nn.Sequential:
    """Make a perceptron: flatten, a linear layer and ReLU for each width, a linear layer to logits (N, classes).

    The default is the network of Yanagita & Yamamura 2018 (Table 1); ``widths=(200, 300)`` is that of Yue 2017.

    Raises:
        ValueError: ``inputs``, ``classes`` or a width is not possible.

    Example:
        >>> mlp(inputs=(1, 8, 8), widths=(32,))
        Sequential(
          (0): Flatten(start_dim=1, end_dim=-1)
          (1): Linear(in_features=64, out_features=32, bias=True)
          (2): ReLU()
          (3): Linear(in_features=32, out_features=10, bias=True)
        )
    """
    check(inputs, classes, *widths)
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise((prod(inputs), *widths)):
        layers += [nn.Linear(before, after), nn.ReLU()]
    last = widths[-1] if widths else prod(inputs)
    return nn.Sequential(*layers, nn.Linear(last, classes))


def linear(*, inputs: Shape = (1, 28, 28), classes: int = 10) -> nn.Sequential:
    """Make the linear model W x + b: its gradients cannot be masked, and its robust accuracy has a closed form.

    Raises:
        ValueError: ``inputs`` or ``classes`` is not possible.

    Example:
        >>> sum(parameter.numel() for parameter in linear(inputs=(1, 8, 8)).parameters())
        650
    """
    return mlp(inputs=inputs, classes=classes, widths=())
