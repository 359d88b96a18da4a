"""The gradient of a loss with respect to the images: the one thing every gradient attack and most probes need."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from unmask.losses import Loss, log_odds
from unmask.numerics import Model, laid_out


class NoGradientError(ValueError):
    """A gradient was asked of a model that has none to give.

    Example:
        >>> issubclass(NoGradientError, ValueError)
        True
    """


class At(NamedTuple):
    """What a model says at a point: ``gradient`` (N, C, H, W), ``loss`` (N,), ``logits`` (N, K)."""

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
    """``grad_x sum_i loss(model(x)_i, y_i)``: each example's own gradient, whatever the batch size.

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


def recordable(tensor: Tensor) -> Tensor:
    """The tensor without its history, copied if it was made in inference mode, which autograd refuses to record.

    Example:
        >>> with torch.inference_mode():
        ...     made = torch.zeros(1)
        >>> made.is_inference(), recordable(made).is_inference()
        (True, False)
    """
    return tensor.clone() if tensor.is_inference() else tensor.detach()
