"""ResNet-18 and ResNet-34 for small images: a 3x3 convolution of stride 1 as the stem, and no pooling after it."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from unmask.models.geometry import Shape, check

__all__ = ["Block", "resnet"]

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
"""Residual blocks in each of the four stages, by depth (He et al. 2016, Table 1)."""


def _convolution(before: int, after: int, kernel: int, stride: int) -> list[nn.Module]:
    """Make a convolution with batch norm, without a bias, which batch norm would subtract again."""
    return [nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(after)]


class Block(nn.Module):
    """Two 3x3 convolutions around which the input is added: relu(body(x) + shortcut(x)).

    The shortcut is the identity, or a 1x1 convolution where the number of channels or the size changes
    (He et al. 2016, eqs. 1 and 2).

    Example:
        >>> import torch
        >>> Block(4, 8, stride=2)(torch.zeros(2, 4, 6, 6)).shape
        torch.Size([2, 8, 3, 3])
    """

    def __init__(self, before: int, after: int, stride: int = 1) -> None:
        """Take ``before`` channels to ``after``, and every ``stride``-th pixel in each direction."""
        super().__init__()
        first, second = _convolution(before, after, 3, stride), _convolution(after, after, 3, 1)
        self.body = nn.Sequential(*first, nn.ReLU(), *second)
        self.stride = stride
        changes = stride > 1 or before != after
        self.shortcut = nn.Sequential(*_convolution(before, after, 1, 1)) if changes else nn.Identity()
        self.last = nn.ReLU()  # a module, not a function, so that it can be replaced like the others

    def forward(self, images: Tensor) -> Tensor:
        """Take (N, before, H, W) to (N, after, ceil(H / stride), ceil(W / stride)).

        Pixels are left out before the shortcut's convolution, not by its stride: oneDNN's backward pass of a strided
        1x1 convolution of fewer than 8 channels writes past its memory on processors with AVX2 (its issue 6035).
        """
        kept = images[:, :, :: self.stride, :: self.stride]
        result: Tensor = self.last(self.body(images) + self.shortcut(kept))
        return result


def resnet(*, depth: int = 18, inputs: Shape = (3, 32, 32), classes: int = 10, width: int = 64) -> nn.Sequential:
    """Make a ResNet to logits (N, classes).

    It has four stages of residual blocks, then the mean over pixels and a linear layer. The stages have 1, 2, 4 and 8
    times ``width`` channels, and each after the first halves the image, which may have any size. ``width=16`` suits a
    machine without a GPU.

    Raises:
        ValueError: ``depth`` is not 18 or 34, or another option is not possible.

    Example:
        >>> sum(parameter.numel() for parameter in resnet(depth=18).parameters())
        11173962
    """
    check(inputs, classes, width)
    if depth not in BLOCKS:
        raise ValueError(f"depth: expected one of {', '.join(map(str, BLOCKS))}, got {depth}")
    widths = [width * factor for factor in (1, 2, 4, 8)]
    layers = [*_convolution(inputs[0], width, 3, 1), nn.ReLU()]
    for (before, after), blocks in zip(pairwise([width, *widths]), BLOCKS[depth], strict=True):
        layers.append(Block(before, after, stride=1 if before == after else 2))
        layers += [Block(after, after) for _ in range(blocks - 1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], classes))
