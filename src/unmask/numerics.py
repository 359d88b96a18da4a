"""Random numbers that belong to an example, models left as they were found, and work done batch by batch."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Model = Callable[[Tensor], Tensor]
"""Anything that takes images (N, C, H, W) in [0, 1] to logits (N, classes)."""

# Constants of the splitmix64 generator (Steele, Lea and Flood 2014), as signed 64-bit integers.
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX_2 = 0x94D049BB133111EB - 2**64


def derive_seed(seed: int, *parts: int | str) -> int:
    """A seed of its own for each purpose, from one seed and what it is for.

    Example:
        >>> derive_seed(0, "restart", 1) != derive_seed(0, "restart", 2)
        True
    """
    text = "/".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def random_uniform(images: Tensor, *, seed: int) -> Tensor:
    """Uniform numbers in [0, 1), one per pixel, in multiples of 2^-24: the same in float32 and float64.

    They are a function of the seed and of each image's own content, so an example meets the same numbers in any
    batch, in any order and on any device.

    Example:
        >>> images = torch.rand(5, 1, 2, 2)
        >>> together = random_uniform(images, seed=3)
        >>> torch.equal(together[2:3], random_uniform(images[2:3], seed=3))
        True
    """
    bits = _shift(_random_bits(images, seed), 40)
    return bits.to(torch.float32).mul_(2.0**-24).to(images.dtype).view_as(images)


def random_signs(images: Tensor, *, seed: int) -> Tensor:
    """-1 or +1 for each pixel, at even odds; otherwise as ``random_uniform``.

    Example:
        >>> random_signs(torch.rand(2, 1, 8, 8), seed=0).abs().unique()
        tensor([1.])
    """
    bits = _shift(_random_bits(images, seed), 63)
    return bits.to(images.dtype).mul_(2).sub_(1).view_as(images)


def random_keys(images: Tensor, *, seed: int) -> Tensor:
    """64 random bits per example, int64 (N, 1): a function of the seed and of the image's own content.

    Example:
        >>> random_keys(torch.rand(5, 1, 2, 2), seed=0).shape
        torch.Size([5, 1])
    """
    flat = images.detach().flatten(1).to(torch.float32) + 0.0  # + 0.0 makes -0.0 and 0.0 one number
    counter = torch.arange(1, flat.shape[1] + 1, device=images.device) * _GOLDEN
    position = _mix(counter + derive_seed(seed, "position"))
    return _mix(flat.view(torch.int32).to(torch.int64) ^ position).sum(1, keepdim=True)


def drawn(images: Tensor, count: int, *, seed: int) -> Tensor:
    """The numbers, rising, of ``count`` examples, or of all if there are fewer: int64 (M,).

    They are drawn by their content, so that neither order nor company matters.

    Example:
        >>> drawn(torch.rand(3, 1, 2, 2), 5, seed=0)
        tensor([0, 1, 2])
    """
    return random_keys(images, seed=seed).squeeze(1).argsort()[:count].sort().values


def random_words(keys: Tensor, count: int, *, after: int = 0) -> Tensor:
    """``count`` words of 64 random bits for each key, int64 (N, count): splitmix64 in counter mode.

    ``after`` is how many words of the key's stream come before them. Half of all words are below 0.

    Example:
        >>> keys = random_keys(torch.rand(5, 1, 2, 2), seed=0)
        >>> torch.equal(random_words(keys, 7)[:, 3:], random_words(keys, 4, after=3))
        True
    """
    return _mix(keys + torch.arange(after + 1, after + count + 1, device=keys.device) * _GOLDEN)


def random_below(words: Tensor, limit: int) -> Tensor:
    """Whole numbers from 0 to below ``limit``, which is at most 2^31, made from words of random bits.

    Example:
        >>> keys = random_keys(torch.rand(5, 1, 2, 2), seed=0)
        >>> int(random_below(random_words(keys, 1000), 6).max())
        5
    """
    return _shift(words, 32) * limit >> 32


def _random_bits(images: Tensor, seed: int) -> Tensor:
    """64 random bits per pixel, as int64 (N, pixels)."""
    return random_words(random_keys(images, seed=seed), math.prod(images.shape[1:]))


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _MIX_1
    x = (x ^ _shift(x, 27)) * _MIX_2
    return x ^ _shift(x, 31)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift; torch's own carries the sign along."""
    return torch.bitwise_and(x >> bits, 2 ** (64 - bits) - 1)


@contextmanager
def undisturbed(model: Model, *, seed: int = 0) -> Iterator[None]:
    """Work on a model and leave no trace: evaluation mode inside; afterwards modes and random state as before.

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
    """The global random state, the CPU's and every GPU's, is afterwards as it was.

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
    """Evaluation mode inside; afterwards each part's mode and each ``grad`` is as it was, whoever changed it meanwhile.

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
    """The memory format of images in which a model's convolutions run fastest.

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
    """The images in a memory format, without their history.

    Torch's own ``to`` leaves images of one channel as they are, since for them both formats are the same bytes; but
    a convolution goes by the strides.

    Example:
        >>> laid_out(torch.zeros(2, 1, 4, 4), torch.channels_last).stride()
        (16, 1, 4, 1)
    """
    return torch.empty_like(images, memory_format=layout).copy_(images.detach())


def seed_all(seed: int) -> None:
    """Start the global random state from a seed, on the CPU and on every GPU, as often as need be.

    Where there is no GPU, ``torch.manual_seed`` keeps a stack trace of every call for as long as the process runs.

    Example:
        >>> seed_all(3)
        >>> torch.initial_seed()
        3
    """
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(seed)


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
    """Whether it is torch's error for a full device, or its allocator's for full main memory.

    Example:
        >>> out_of_memory(torch.OutOfMemoryError("CUDA out of memory")), out_of_memory(RuntimeError("size mismatch"))
        (True, False)
    """
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def describe(value: Any) -> str:
    """A value in words for tables: functions by name, numbers short; the same in every process.

    Example:
        >>> describe(8 / 255), describe([len, object()])
        ('0.0313725', '[<built-in function len>, <object object>]')
    """
    if callable(value) and hasattr(value, "__name__"):
        return str(value.__name__).replace("_", " ")
    return f"{value:.6g}" if isinstance(value, float) else re.sub(r" at 0x[0-9a-fA-F]+", "", str(value))
