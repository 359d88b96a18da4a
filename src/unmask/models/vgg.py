"""VGG-11, VGG-16 and VGG-19 with batch norm, for small images: one linear layer after the convolutions."""

from __future__ import annotations

from torch import nn

from unmask.models.geometry import Shape, check, flattened

__all__ = ["vgg"]

CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Convolutions before each of the five poolings, by depth (Simonyan & Zisserman 2015, Table 1, columns A, D and E)."""


def vgg(*, depth: int = 11, inputs: Shape = (3, 32, 32), classes: int = 10, width: int = 64) -> nn.Sequential:
    """Make a VGG network to logits (N, classes).

    It has five groups of 3x3 convolutions, batch norm and ReLU, each pooled by 2, then the mean over pixels and a
    linear layer. The groups have 1, 2, 4, 8 and 8 times ``width`` channels. ``width=16`` suits a machine without a GPU.

    Raises:
        ValueError: ``depth`` is not 11, 16 or 19, another option is not possible, or images are smaller than 32x32.

    Example:
        >>> sum(parameter.numel() for parameter in vgg(depth=11).parameters())
        9231114
    """
    check(inputs, classes, width)
    if depth not in CONVOLUTIONS:
        raise ValueError(f"depth: expected one of {', '.join(map(str, CONVOLUTIONS))}, got {depth}")
    layers: list[nn.Module] = []
    before = inputs[0]
    for convolutions, factor in zip(CONVOLUTIONS[depth], (1, 2, 4, 8, 8), strict=True):
        after = width * factor
        for _ in range(convolutions):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
            before = after
        layers.append(nn.MaxPool2d(2))
    features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(*features, nn.Linear(flattened(f"vgg-{depth}", features, inputs), classes))
