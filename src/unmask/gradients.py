"""Gradients of a loss with respect to the images, which gradient attacks and most probes need."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from unmask.losses import Loss, log_odds
from unmask.numerics import Model, laid_out, undisturbed

__all__ = [
    "At",
    "Detached",
    "NoGradientError",
    "Slopes",
    "directional_derivatives",
    "input_gradient",
    "recordable",
]


class NoGradientError(ValueError):
    """A gradient was asked for and the model has none.

    Example:
        >>> issubclass(NoGradientError, ValueError)
        True
    """


class Detached(nn.Module):
    """A wrapper of a model whose backward pass fails: its gradient is zero, as of what autograd cannot reach.

    Example:
        >>> stepped = lambda x: x.flatten(1) // 1
        >>> input_gradient(Detached(stepped), torch.ones(1, 1, 1, 2), torch.tensor([0])).gradient.flatten()
        tensor([0., 0.])
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Return the model's logits, without a graph."""
        with torch.no_grad():
            return self.model(images)


class At(NamedTuple):
    """The values of a model at some images: ``gradient`` (N, C, H, W), ``loss`` (N,), ``logits`` (N, K).

    Example:
        >>> input_gradient(lambda x: x.flatten(1), torch.zeros(1, 1, 1, 2), torch.tensor([0])).loss
        tensor([0.])
    """

    gradient: Tensor
    loss: Tensor
    logits: Tensor


def input_gradient(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    loss: Loss = log_odds,
    layout: torch.memory_format = torch.preserve_format,
) -> At:
    """Compute ``grad_x sum_i loss(model(x)_i, y_i)``: each example's own gradient, whatever the batch size.

    Only the input's gradient is computed; parameters and their ``.grad`` are left alone. Where no path leads from
    the images to the loss, the gradient is zero. ``layout`` is the memory format in which the model gets the images.

    Example:
        >>> at = input_gradient(lambda x: x.flatten(1), torch.zeros(1, 1, 1, 2), torch.tensor([0]))
        >>> at.gradient.flatten()
        tensor([-1.,  1.])
    """
    with torch.inference_mode(False), torch.enable_grad():
        point = laid_out(images, layout).requires_grad_()
        logits = model(point)
        losses = loss(logits, recordable(labels))
        if losses.requires_grad:
            (gradient,) = torch.autograd.grad(losses.sum(), point, allow_unused=True, materialize_grads=True)
        else:
            gradient = torch.zeros_like(point)
    return At(gradient.detach(), losses.detach(), logits.detach())


class Slopes(NamedTuple):
    """The slopes of a loss, float64 (D, N): ``measured`` by differences, ``promised`` by the gradient.

    Example:
        >>> Slopes(measured=torch.zeros(1, 1), promised=torch.ones(1, 1)).promised
        tensor([[1.]])
    """

    measured: Tensor
    promised: Tensor


def directional_derivatives(
    model: Model,
    images: Tensor,
    labels: Tensor,
    directions: Tensor,
    *,
    step: float = 1e-3,
    loss: Loss = log_odds,
    seed: int = 0,
) -> Slopes:
    """Measure the slopes of a loss along directions, by central differences and by the gradient.

    ``(loss(x+) - loss(x-)) / (2 step)`` and ``gradient . (x+ - x-) / (2 step)``, where ``x+`` and ``x-`` are ``x + step
    direction`` and ``x - step direction``, rounded and cut to [0, 1]: both are about the same two points, so that on a
    linear model they agree up to rounding, also where an image touches 0 or 1. Differences and products are taken in
    float64, and so is the loss of ``x+`` and ``x-``; the gradient is the one that attacks get. All passes draw the same
    random numbers.

    Args:
        directions: (D, N, C, H, W); D directions for each image.
        step: in pixel units, for directions of entries about 1. Rounding of the logits by r makes an error of r / step.

    Raises:
        ValueError: the step is not in (0, 1], or the directions do not fit the images.

    Example:
        >>> images, labels = torch.tensor([0.5, 1.0]).view(1, 1, 1, 2), torch.tensor([0])
        >>> model = lambda x: 4 * x.flatten(1).round()
        >>> directional_derivatives(model, images, labels, -torch.ones(1, 1, 1, 1, 2), step=0.25)
        Slopes(measured=tensor([[8.]], dtype=torch.float64), promised=tensor([[0.]], dtype=torch.float64))
    """
    if not 0 < step <= 1:
        raise ValueError(f"step: expected a number above 0 and up to 1, got {step}")
    if directions.shape[1:] != images.shape:
        wanted = tuple(images.shape)
        raise ValueError(f"directions: expected (D, N, C, H, W), of {wanted} each, got {tuple(directions.shape)}")

    def losses(points: Tensor) -> Tensor:
        with undisturbed(model, seed=seed), torch.no_grad():
            return loss(model(points).double(), labels)

    with undisturbed(model, seed=seed):
        gradient = input_gradient(model, images, labels, loss=loss).gradient.double()
    measured, promised = [], []
    for direction in directions.detach().to(images):
        ahead, behind = ((images.detach() + side * step * direction).clamp_(0, 1) for side in (1, -1))
        measured.append((losses(ahead) - losses(behind)) / (2 * step))
        moved = ahead.double() - behind.double()
        promised.append((gradient * moved).flatten(1).sum(1) / (2 * step))
    return Slopes(torch.stack(measured), torch.stack(promised))


def recordable(tensor: Tensor) -> Tensor:
    """Return the tensor without its history; copy it if it was made in inference mode, which autograd refuses.

    Example:
        >>> with torch.inference_mode():
        ...     made = torch.zeros(1)
        >>> made.is_inference(), recordable(made).is_inference()
        (True, False)
    """
    return tensor.clone() if tensor.is_inference() else tensor.detach()
