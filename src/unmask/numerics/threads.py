"""The number of threads for the network at hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from unmask.numerics.state import Model, undisturbed

__all__ = ["threads_for"]

SHARED = 5e8
"""Floating-point operations of a forward pass over a batch, from which on it is shared between threads.

Below, the threads wait for each other longer than they work: on two cores a second one saves next to nothing, and where
other processes are busy it multiplies the time, since OpenMP's threads spin while they wait.
"""


@contextmanager
def threads_for(model: Model, images: Tensor, *, batch_size: int = 128) -> Iterator[int]:
    """Let torch work with one thread inside, where a pass through the model is small; afterwards as before.

    The choice depends on the model and on the images' shape alone, so that it is the same on every machine.

    Args:
        images: at least one, as the model takes them; the first is passed through it.
        batch_size: the number of images in a pass.

    Yields:
        The number of threads.

    Example:
        >>> before = torch.get_num_threads()
        >>> with threads_for(torch.nn.Flatten(), torch.zeros(1, 1, 8, 8)) as threads:
        ...     threads, torch.get_num_threads()
        (1, 1)
        >>> torch.get_num_threads() == before
        True
    """
    before = torch.get_num_threads()
    if before > 1 and operations(model, images[:1]) * batch_size < SHARED:
        torch.set_num_threads(1)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def operations(model: Model, images: Tensor) -> int:
    """Return the floating-point operations of a forward pass: those of matrix products and convolutions.

    Example:
        >>> operations(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)), torch.zeros(1, 1, 8, 8))
        1280
    """
    with undisturbed(model), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(images)
    return int(counter.get_total_flops())
