"""Functions of the logits that change losses, scores and gradients, and not the decision."""

from __future__ import annotations

from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from unmask.numerics import Model

__all__ = ["ScaledLogits", "ShiftedLogits", "SoftmaxOutput", "SquashedLogits", "deciding_as"]


class _Held(torch.autograd.Function):
    """Values in place of the outputs; the gradient goes to the outputs as it is."""

    @staticmethod
    def forward(ctx: Any, outputs: Tensor, values: Tensor) -> Tensor:
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def deciding_as(logits: Tensor, outputs: Tensor) -> Tensor:
    """Return the outputs (N, K), with the class of the highest logit (N, K) alone at the top.

    An increasing function keeps the order of real numbers, not of rounded ones: times 300, one in ten pairs of float32
    neighbours becomes a tie, and near its bound a bounded function ties nearly all. Such an output is lowered to one
    step of the precision below the winner's; no other changes, and no gradient does. Of logits that tie, the first
    wins, as in ``argmax``.

    Example:
        >>> logits = torch.tensor([[20.0, 30.0, -1.0]])
        >>> deciding_as(logits, logits.tanh()) - 1
        tensor([[-5.9605e-08,  0.0000e+00, -1.7616e+00]])
    """
    winner, values = logits.argmax(1, keepdim=True), outputs.detach()
    top = values.gather(1, winner)
    below = torch.nextafter(top, torch.full_like(top, -torch.inf))
    held: Tensor = _Held.apply(outputs, values.minimum(below).scatter(1, winner, top))  # type: ignore[no-untyped-call]
    return held


class ScaledLogits(nn.Module):
    """Logits times a factor: float32 cross entropy saturates (Carlini & Wagner 2017, section IX-B).

    Masked: where the true class's log-odds, times the factor, pass 16.6, softmax(z)_y rounds to 1 in float32 and the
    gradient's direction is wrong; past 104 the gradient is exactly zero. With a factor below 1 nothing is masked: the
    numbers keep their relative precision. The softmax is flat then, so that losses made of it head for a mixture of all
    rivals.
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
        self.model = model
        self.factor = _above_zero(factor)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes)."""
        logits = self.model(images)
        return deciding_as(logits, self.factor * logits)


class SquashedLogits(nn.Module):
    """Logits through ``tanh(factor z)``: a strictly increasing function, the same for each, bounded by -1 and 1.

    Masked: the derivative, factor (1 - tanh^2), is exactly zero in float32 once |factor z| passes 9.1 (in float64,
    19.1), and before that it gives logits near 0 all the weight. No loss brings it back, and a search by scores finds
    all scores equal.
    Truth: the decision is the wrapped model's, which rounding would not ensure: ``deciding_as`` does. Transfer from the
    wrapped model, or an attack that asks for decisions alone, shows its robustness.

    Raises:
        ValueError: ``factor`` is not a number above 0.

    Example:
        >>> SquashedLogits(nn.Flatten(), 1.0)(torch.tensor([[0.25, 0.5]]))
        tensor([[0.2449, 0.4621]])
    """

    def __init__(self, model: Model, factor: float = 10.0) -> None:
        """Wrap ``model``."""
        super().__init__()
        self.model = model
        self.factor = _above_zero(factor)

    def forward(self, images: Tensor) -> Tensor:
        """Scores (N, classes) from -1 to 1; a rival of a winner at -1 lies one step lower."""
        logits = self.model(images)
        return deciding_as(logits, torch.tanh(self.factor * logits))


class SoftmaxOutput(nn.Module):
    """Probabilities where logits are expected: a loss then applies softmax twice.

    Masked: d p_i / d z_j = p_i (1[i = j] - p_j) vanishes where the model is sure, and cross entropy of values in [0, 1]
    is nearly flat; differences of the outputs, as in the margin, saturate too.
    Truth: the decision is the wrapped model's. The logarithm gives the logits back, but for a constant, wherever p has
    not rounded to 0 or 1.

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
        logits = self.model(images)
        return deciding_as(logits, torch.softmax(logits, dim=1))


class ShiftedLogits(nn.Module):
    """Logits plus an offset, which rounds them.

    Masked: near 1e6 float32 has a step of 1/16, so the outputs are rounded to it: a small change of the image changes
    the loss by nothing or by a jump, which defeats search and finite differences, and a softmax that does not subtract
    the maximum overflows. The gradient of one that does is right but for that rounding.
    Truth: between two readings of the wrapped model. Where its highest logit leads by more than a step the decision is
    its own; elsewhere the first of the classes within a step may win. So no image is robust here that the wrapped model
    gets wrong by more than a step, and every one is that it gets right by more than a step in all of the ball. In
    float64, whose step is 1e-10, the two agree.

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


def _above_zero(factor: float) -> float:
    if not (isfinite(factor) and factor > 0):
        raise ValueError(f"factor: expected a number above 0, got {factor}")
    return factor
