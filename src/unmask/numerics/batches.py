"""Work that is done batch by batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Batches", "out_of_memory"]


@dataclass(frozen=True)
class Batches:
    """Run a function of (images, labels) batch by batch on a device, halving the batch when memory runs out.

    It is a value: the size that a call was forced down to is that call's own, so that calls may be nested and shared.

    Attributes:
        size: the most examples that the function gets at a time.
        device: the device on which it gets them; by default they stay where they are.

    Raises:
        ValueError: the size is not positive.

    Example:
        >>> double = Batches(size=2)
        >>> double(lambda images, labels: images * 2, torch.arange(3.0), torch.zeros(3))
        (tensor([0., 2., 4.]),)
    """

    size: int = 128
    device: str | torch.device | None = None

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"batch size: expected a whole number above 0, got {self.size}")

    def __call__(
        self,
        function: Callable[[Tensor, Tensor], Tensor | tuple[Tensor, ...]],
        images: Tensor,
        labels: Tensor,
        *,
        progress: Callable[[int], None] | None = None,
    ) -> tuple[Tensor, ...]:
        """Apply ``function`` to all examples, in order, and return the joined rows on the CPU.

        Args:
            function: returns a tensor, or a tuple of tensors, with one row per example.
            images: (N, ...); ``labels`` (N,).
            progress: called with the number of examples that each batch has finished.

        Raises:
            RuntimeError: memory runs out for a single example.
        """
        rows: list[tuple[Tensor, ...]] = []
        size, done = self.size, 0
        while done < len(images) or not rows:
            part, truth = images[done : done + size], labels[done : done + size]
            try:
                result = function(part.to(self.device), truth.to(self.device))
            except RuntimeError as error:
                if not out_of_memory(error) or size == 1:
                    raise
                size //= 2
                continue
            result = result if isinstance(result, tuple) else (result,)
            rows.append(tuple(one.detach().cpu() for one in result))
            done += len(part)
            if progress:
                progress(len(part))
        return tuple(torch.cat(column) for column in zip(*rows, strict=True))


def out_of_memory(error: RuntimeError) -> bool:
    """Return True for torch's error of a full device, and for its allocator's of full main memory.

    Example:
        >>> out_of_memory(torch.OutOfMemoryError("CUDA out of memory")), out_of_memory(RuntimeError("size mismatch"))
        (True, False)
    """
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
