"""Passes through a model that leave its modes, its gradients and the global random state as they were."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn

from unmask.numerics.random_numbers import derive_seed, seed_all

__all__ = ["Model", "evaluating", "fastest_layout", "laid_out", "random_state_kept", "undisturbed"]

Model = Callable[[Tensor], Tensor]
"""A callable from images (N, C, H, W) in [0, 1] to logits (N, classes)."""


@contextmanager
def undisturbed(model: Model, *, seed: int = 0) -> Iterator[None]:
    """Run passes through a model in evaluation mode; its modes and the random state are afterwards as before.

    Inside, the global random state starts from ``seed``, so that a model that draws random numbers gives the same
    result for the same seed, and an attack never learns the numbers its caller will draw next.

    Example:
        >>> model = nn.Dropout()
        >>> with undisturbed(model):
        ...     model.training
        False
        >>> model.training
        True
    """
    with random_state_kept(), evaluating(model):
        seed_all(derive_seed(seed, "model"))
        yield


def random_state_kept() -> AbstractContextManager[None]:
    """Put the global random state, the CPU's and every GPU's, back as it was.

    Example:
        >>> before = torch.initial_seed()
        >>> with random_state_kept():
        ...     seed_all(before + 1)
        >>> torch.initial_seed() == before
        True
    """
    return torch.random.fork_rng(devices=range(torch.cuda.device_count()) if torch.cuda.is_available() else [])


@contextmanager
def evaluating(model: Model) -> Iterator[None]:
    """Put a model into evaluation mode; each part's mode and each ``grad`` is afterwards as it was before.

    Inside, parameters have no ``grad``, so that a backward pass to the images adds to none that an optimizer waits for.

    Example:
        >>> model = nn.Linear(1, 1)
        >>> with evaluating(model):
        ...     model(torch.ones(1, 1)).sum().backward()
        >>> model.training, model.weight.grad
        (True, None)
    """
    if not isinstance(model, nn.Module):
        yield
        return
    modes = [(part, part.training) for part in model.modules()]
    grads = [(parameter, parameter.grad) for parameter in model.parameters()]
    _put("training", ((part, False) for part, _ in modes))
    _put("grad", ((parameter, None) for parameter, _ in grads))
    try:
        yield
    finally:
        _put("training", modes)
        _put("grad", grads)


def _put(name: str, values: Iterable[tuple[object, object]]) -> None:
    for owner, value in values:
        if getattr(owner, name) is not value:  # setting an attribute of a module takes a while
            setattr(owner, name, value)


def fastest_layout(model: Model, images: Tensor) -> torch.memory_format:
    """Return the memory format of images in which a model's convolutions run fastest.

    On a CPU in float32 that is channels last: in the usual one each convolution copies what it takes and what it
    returns into another order and back. A model that calls ``view`` on such images fails, so two of them are tried.
    Otherwise it is the one that the images have.

    Example:
        >>> fastest_layout(nn.Conv2d(3, 4, 3), torch.rand(2, 3, 8, 8))
        torch.channels_last
        >>> fastest_layout(nn.Flatten(), torch.rand(2, 3, 8, 8))
        torch.preserve_format
    """
    convolves = isinstance(model, nn.Module) and any(isinstance(part, nn.Conv2d) for part in model.modules())
    if not convolves or images.device.type != "cpu" or images.dtype != torch.float32:
        return torch.preserve_format
    try:
        with torch.no_grad():
            model(laid_out(images[:2], torch.channels_last))
    except RuntimeError:
        return torch.preserve_format
    return torch.channels_last


def laid_out(images: Tensor, layout: torch.memory_format) -> Tensor:
    """Copy images into a memory format, without their history.

    Torch's own ``to`` leaves images of one channel as they are, since for them both formats are the same bytes; but
    a convolution goes by the strides.

    Example:
        >>> laid_out(torch.zeros(2, 1, 4, 4), torch.channels_last).stride()
        (16, 1, 4, 1)
    """
    return torch.empty_like(images, memory_format=layout).copy_(images.detach())
