"""Wrappers that mask gradients on purpose: positive controls, whose truth is known.

Each wraps any callable from images (N, C, H, W) in [0, 1] to logits (N, classes). The first five decide as the wrapped
model does, so what fools the one fools the other: the wrapper adds no robustness, and all that an attack on it achieves
less than the same attack on the wrapped model is masking. The last two change the decision itself.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite, pi
from typing import Any

import torch
from torch import Tensor, nn

__all__ = [
    "InputNoise",
    "Quantised",
    "RandomSignBackward",
    "ScaledLogits",
    "ShiftedLogits",
    "SoftmaxOutput",
    "ZeroBackward",
]

Model = Callable[[Tensor], Tensor]


class ScaledLogits(nn.Module):
    """Logits times a factor: float32 cross entropy saturates (Carlini & Wagner 2017, section IX-B).

    Masked: where the true class's log-odds, times the factor, pass 16.6, softmax(z)_y rounds to 1 in float32 and the
    gradient's direction is wrong; past 104 the gradient is exactly zero.
    Truth: the decision is the wrapped model's. The log-odds loss has the exact direction at any factor.

    Raises:
        ValueError: ``factor`` is not a number above 0.

    Example:
        >>> ScaledLogits(nn.Flatten(), 300.0)(torch.tensor([[0.25, 0.5]]))
        tensor([[ 75., 150.]])
    """

    def __init__(self, model: Model, factor: float = 300.0) -> None:
        """Wrap ``model``."""
        super().__init__()
        if not (isfinite(factor) and factor > 0):
            raise ValueError(f"factor: expected a number above 0, got {factor}")
        self.model = model
        self.factor = factor

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes)."""
        return self.factor * self.model(images)


class SoftmaxOutput(nn.Module):
    """Probabilities where logits are expected: a loss then applies softmax twice.

    Masked: d p_i / d z_j = p_i (1[i = j] - p_j) vanishes where the model is sure, and cross entropy of values in [0, 1]
    is nearly flat; differences of the outputs, as in the margin, saturate too.
    Truth: the decision is the wrapped model's, up to ties that rounding makes. The logarithm gives the logits back,
    but for a constant, wherever p has not rounded to 0 or 1.

    Example:
        >>> SoftmaxOutput(nn.Flatten())(torch.tensor([[0.0, 0.0]]))
        tensor([[0.5000, 0.5000]])
    """

    def __init__(self, model: Model) -> None:
        """Wrap ``model``."""
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Probabilities (N, classes), each row with sum 1."""
        return torch.softmax(self.model(images), dim=1)


class ShiftedLogits(nn.Module):
    """Logits plus an offset: what is left of them is coarse.

    Masked: near 1e6 float32 has a step of 1/16, so the outputs are rounded to it: a small change of the image changes
    the loss by nothing or by a jump, which starves search and finite differences, and a softmax that does not subtract
    the maximum overflows. The gradient of one that does is right but for that rounding.
    Truth: the decision is the wrapped model's where its two highest logits lie more than a step apart, and always in
    float64, whose step is 1e-10.

    Raises:
        ValueError: ``offset`` is not finite.

    Example:
        >>> ShiftedLogits(nn.Flatten(), 1e6)(torch.tensor([[0.0, 0.03]])) - 1e6
        tensor([[0., 0.]])
    """

    def __init__(self, model: Model, offset: float = 1e6) -> None:
        """Wrap ``model``."""
        super().__init__()
        if not isfinite(offset):
            raise ValueError(f"offset: expected a finite number, got {offset}")
        self.model = model
        self.offset = offset

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes)."""
        return self.model(images) + self.offset


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
    """The images as they are, with ``gradient`` as their gradient."""
    result: Tensor = _Replaced.apply(images, gradient)  # type: ignore[no-untyped-call]
    return result


class ZeroBackward(nn.Module):
    """The same outputs, and a gradient with respect to the images that is zero everywhere.

    Masked: every gradient attack stands still, whatever its loss and precision. The parameters' gradients are right.
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
    """The same outputs, and a gradient with respect to the images of random signs (Athalye et al. 2018: shattered).

    Each sign is a function of the seed, the pixel's place and the pixel's value alone, and a small change of the value
    draws it anew: neither the model, the loss nor the rest of the batch has a part in it.

    Masked: gradient attacks walk at random. The parameters' gradients are right.
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
        """One of -1 and +1 for each pixel, in the images' shape."""
        generator = torch.Generator().manual_seed(self.seed)
        phase = 2 * pi * torch.rand(images.shape[1:], generator=generator, dtype=torch.float64)
        wave = torch.cos(self.frequency * images + phase.to(images))
        return torch.where(wave < 0, -1.0, 1.0).to(images)


class InputNoise(nn.Module):
    """Gaussian noise on the images, fresh at each call (Athalye et al. 2018: stochastic gradients).

    Masked: a single gradient, and a single outcome, is one draw. Noise comes from the global random state.
    Truth: accuracy is an expectation over the noise; the remedy is the mean of the gradient over draws, and the robust
    accuracy that of decisions taken over many. With ``sigma=0`` it is the wrapped model.

    Raises:
        ValueError: ``sigma`` is not a number of at least 0.

    Example:
        >>> model = InputNoise(nn.Flatten(), sigma=0.1)
        >>> torch.equal(model(torch.zeros(1, 2)), model(torch.zeros(1, 2)))
        False
    """

    def __init__(self, model: Model, sigma: float = 0.1) -> None:
        """Wrap ``model``; ``sigma`` is the noise's standard deviation, pixels being in [0, 1]."""
        super().__init__()
        if not (isfinite(sigma) and sigma >= 0):
            raise ValueError(f"sigma: expected a number of at least 0, got {sigma}")
        self.model = model
        self.sigma = sigma

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes)."""
        return self.model(images + self.sigma * torch.randn_like(images))


class Quantised(nn.Module):
    """Images rounded to equally spaced levels: round(x (levels - 1)) / (levels - 1), whose derivative is zero.

    Masked: the gradient is zero everywhere, though the outputs do change with the images.
    Truth: the decision is the wrapped model's on the rounded image. A change smaller than half a step can be undone by
    the rounding, and that is real; the rest is attacked by passing the gradient straight through.

    Raises:
        ValueError: ``levels`` is not a whole number of at least 2.

    Example:
        >>> Quantised(nn.Flatten(), levels=3)(torch.tensor([[0.2, 0.3, 0.9]]))
        tensor([[0.0000, 0.5000, 1.0000]])
    """

    def __init__(self, model: Model, levels: int = 16) -> None:
        """Wrap ``model``."""
        super().__init__()
        if not isinstance(levels, int) or levels < 2:
            raise ValueError(f"levels: expected a whole number of at least 2, got {levels}")
        self.model = model
        self.levels = levels

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes)."""
        steps = self.levels - 1
        return self.model(torch.round(images * steps) / steps)
