"""A model wrapped for other libraries: what they do to it does not reach the model itself."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unmask.numerics import Model, derive_seed, undisturbed

__all__ = ["WrappedModel", "isolated"]


class WrappedModel(nn.Module):
    """A module without parts, which asks the model and passes on the gradient of the images alone.

    Other libraries want a module, on a device, and switch its mode, clear its gradients or run a backward pass through
    its parameters. None of that reaches the model: it is not among the module's parts, and the gradient stops at the
    images.

    Example:
        >>> images = torch.tensor([0.6, 0.4]).view(1, 1, 1, 2).requires_grad_()
        >>> layer = nn.Linear(2, 2)
        >>> WrappedModel(nn.Sequential(nn.Flatten(), layer), images)(images).sum().backward()
        >>> images.grad.shape, layer.weight.grad
        (torch.Size([1, 1, 1, 2]), None)
    """

    def __init__(self, model: Model, images: Tensor) -> None:
        super().__init__()
        self.ask = [model]  # in a list, where torch does not look for parts
        self.dtype = images.dtype
        self.device_of = nn.Parameter(torch.zeros(0, device=images.device), requires_grad=False)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, K)."""
        images = images.to(self.dtype)
        if images.requires_grad and torch.is_grad_enabled():
            logits: Tensor = _ToImagesOnly.apply(images, self.ask[0])  # type: ignore[no-untyped-call]
            return logits
        with torch.no_grad():
            return self.ask[0](images)


class _ToImagesOnly(torch.autograd.Function):
    """The model forwards; backwards, the gradient of the images and none of the parameters."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, model: Model) -> Tensor:
        with torch.enable_grad():
            ctx.point = images.detach().requires_grad_()
            logits = ctx.logits = model(ctx.point)
        return logits.detach()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        if not ctx.logits.requires_grad:
            return torch.zeros_like(ctx.point), None
        (found,) = torch.autograd.grad(
            ctx.logits, ctx.point, gradient, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        return found, None


@contextmanager
def isolated(model: Model, *, seed: int) -> Iterator[None]:
    """Work as in ``numerics.undisturbed``, with the random states of numpy and Python seeded and restored too.

    Example:
        >>> state = random.getstate()
        >>> with isolated(nn.Flatten(), seed=0):
        ...     _ = random.random()
        >>> random.getstate() == state
        True
    """
    python, legacy = random.getstate(), np.random.get_state()
    with undisturbed(model, seed=seed):
        random.seed(derive_seed(seed, "python"))
        np.random.seed(derive_seed(seed, "numpy") % 2**32)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(legacy)
