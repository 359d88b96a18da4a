"""Checks of image shapes and layer widths, and the number of values that reach the first dense layer."""

from __future__ import annotations

from bisect import bisect_left
from numbers import Integral

import torch
from torch import nn
from torch.func import functional_call

__all__ = ["Shape", "check", "flattened"]

Shape = tuple[int, int, int]
"""Channels, height and width of one image."""


def check(inputs: Shape, classes: int, *widths: int) -> None:
    """Refuse shapes, numbers of classes and layer widths that no network can have.

    Raises:
        ValueError: ``inputs`` is not three positive whole numbers, ``classes`` is below 2, or a width is below 1.

    Example:
        >>> check((1, 28, 28), 10, 600, 128)
    """
    if len(inputs) != 3 or not all(isinstance(length, Integral) and length > 0 for length in inputs):
        raise ValueError(f"inputs: expected three whole numbers above 0 (channels, height, width), got {inputs}")
    if not isinstance(classes, Integral) or classes < 2:
        raise ValueError(f"classes: expected a whole number of at least 2, got {classes}")
    for width in widths:
        if not isinstance(width, Integral) or width < 1:
            raise ValueError(f"width: expected a whole number of at least 1, got {width}")


def flattened(name: str, features: nn.Module, inputs: Shape) -> int:
    """Return the number of values per image that ``features`` leaves, from a dry run on tensors without storage.

    Args:
        name: the network's name, for the message.
        features: the layers, which take images (N, C, H, W).
        inputs: channels, height and width of one image.

    Raises:
        ValueError: nothing is left of images this small.

    Example:
        >>> flattened("pooled", nn.MaxPool2d(2), (3, 8, 8))
        48
    """
    tensors = {key: value.to("meta") for key, value in features.state_dict().items()}

    def values(channels: int, height: int, width: int) -> int:
        images = torch.empty(2, channels, height, width, device="meta")  # batch norm refuses a single value
        try:
            return int(functional_call(features, tensors, images).numel()) // 2
        except RuntimeError:  # torch's answer to a window that is larger than what it slides over
            return 0

    found = values(*inputs)
    if not found:
        sides = range(1, 1025)  # in order of whether they fit, so that halving finds the first that does
        smallest = sides[bisect_left(sides, True, key=lambda side: values(inputs[0], side, side) > 0)]
        raise ValueError(
            f"inputs: expected images of at least {smallest}x{smallest} for {name}, got {inputs[1]}x{inputs[2]}"
        )
    return found
