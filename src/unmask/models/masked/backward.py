"""Gradients replaced on the way back: the outputs are the wrapped model's, bit for bit."""

from __future__ import annotations

from math import pi
from typing import Any

import torch
from torch import Tensor, nn

from unmask.numerics import Model

__all__ = ["RandomSignBackward", "ZeroBackward"]


class _Replaced(torch.autograd.Function):
    """The identity, whose gradient is a given tensor whatever comes back from above."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return images.view_as(images)

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor, None]:
        return ctx.saved_tensors[0], None


def _replaced(images: Tensor, gradient: Tensor) -> Tensor:
    """Return the images as they are, with ``gradient`` as their gradient."""
    result: Tensor = _Replaced.apply(images, gradient)  # type: ignore[no-untyped-call]
    return result


class ZeroBackward(nn.Module):
    """The wrapped model's outputs with a gradient with respect to the images that is zero everywhere.

    Masked: no gradient attack moves, whatever its loss and precision. The parameters' gradients are right.
    Truth: the outputs are the wrapped model's. Transfer from it, or a query attack, shows its robustness.

    Example:
        >>> images = torch.tensor([[0.25, 0.5]], requires_grad=True)
        >>> ZeroBackward(nn.Flatten())(images).sum().backward()
        >>> images.grad
        tensor([[0., 0.]])
    """

    def __init__(self, model: Model) -> None:
        """Wrap ``model``."""
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes)."""
        return self.model(_replaced(images, torch.zeros_like(images)))


class RandomSignBackward(nn.Module):
    """The wrapped model's outputs with a gradient of random signs (Athalye et al. 2018: shattered gradients).

    Each sign is a function of the seed, the pixel's place and the pixel's value alone, and a small change of the value
    draws it anew: neither the model, the loss nor the rest of the batch changes it.

    Masked: gradient attacks move at random. The parameters' gradients are right.
    Truth: the outputs are the wrapped model's. Transfer from it, or a query attack, shows its robustness.

    Example:
        >>> images = torch.tensor([[0.25, 0.5]], requires_grad=True)
        >>> RandomSignBackward(nn.Flatten(), seed=0)(images).sum().backward()
        >>> images.grad.abs()
        tensor([[1., 1.]])
    """

    frequency = 12345.678  # radians per unit: a step of 1/255 turns the phase by almost eight rounds

    def __init__(self, model: Model, seed: int = 0) -> None:
        """Wrap ``model``."""
        super().__init__()
        self.model = model
        self.seed = seed

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes)."""
        return self.model(_replaced(images, self._signs(images.detach())))

    def _signs(self, images: Tensor) -> Tensor:
        """Return -1 or +1 for each pixel, in the images' shape."""
        generator = torch.Generator().manual_seed(self.seed)
        phase = 2 * pi * torch.rand(images.shape[1:], generator=generator, dtype=torch.float64)
        wave = torch.cos(self.frequency * images + phase.to(images))
        return torch.where(wave < 0, -1.0, 1.0).to(images)
