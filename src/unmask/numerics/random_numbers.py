"""Random numbers that are a function of a seed and of each image's own content."""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor

__all__ = [
    "derive_seed",
    "drawn",
    "random_below",
    "random_keys",
    "random_signs",
    "random_uniform",
    "random_words",
    "seed_all",
]

# Constants of the splitmix64 generator (Steele, Lea and Flood 2014), as signed 64-bit integers.
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX_2 = 0x94D049BB133111EB - 2**64


def derive_seed(seed: int, *parts: int | str) -> int:
    """Return a seed for one purpose, made of a seed and the words and numbers that name the purpose.

    Example:
        >>> derive_seed(0, "restart", 1) != derive_seed(0, "restart", 2)
        True
    """
    text = "/".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def random_uniform(images: Tensor, *, seed: int) -> Tensor:
    """Draw uniform numbers in [0, 1), one per pixel, in multiples of 2^-24: the same in float32 and float64.

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
    """Draw -1 or +1 for each pixel, at even odds; otherwise as ``random_uniform``.

    Example:
        >>> random_signs(torch.rand(2, 1, 8, 8), seed=0).abs().unique()
        tensor([1.])
    """
    bits = _shift(_random_bits(images, seed), 63)
    return bits.to(images.dtype).mul_(2).sub_(1).view_as(images)


def random_keys(images: Tensor, *, seed: int) -> Tensor:
    """Return 64 random bits per example, int64 (N, 1): a function of the seed and of the image's own content.

    Example:
        >>> random_keys(torch.rand(5, 1, 2, 2), seed=0).shape
        torch.Size([5, 1])
    """
    flat = images.detach().flatten(1).to(torch.float32) + 0.0  # + 0.0 makes -0.0 and 0.0 one number
    counter = torch.arange(1, flat.shape[1] + 1, device=images.device) * _GOLDEN
    position = _mix(counter + derive_seed(seed, "position"))
    return _mix(flat.view(torch.int32).to(torch.int64) ^ position).sum(1, keepdim=True)


def drawn(images: Tensor, count: int, *, seed: int) -> Tensor:
    """Draw ``count`` examples, or all if there are fewer; return their rows in rising order, int64 (M,).

    They are drawn by their content, so that neither their order nor the other examples matter.

    Example:
        >>> drawn(torch.rand(3, 1, 2, 2), 5, seed=0)
        tensor([0, 1, 2])
    """
    return random_keys(images, seed=seed).squeeze(1).argsort()[:count].sort().values


def random_words(keys: Tensor, count: int, *, after: int = 0) -> Tensor:
    """Return ``count`` words of 64 random bits for each key, int64 (N, count): splitmix64 in counter mode.

    ``after`` words of the key's stream are passed over first. Half of all words are below 0.

    Example:
        >>> keys = random_keys(torch.rand(5, 1, 2, 2), seed=0)
        >>> torch.equal(random_words(keys, 7)[:, 3:], random_words(keys, 4, after=3))
        True
    """
    return _mix(keys + torch.arange(after + 1, after + count + 1, device=keys.device) * _GOLDEN)


def random_below(words: Tensor, limit: int) -> Tensor:
    """Make numbers from 0 to below ``limit``, which is at most 2^31, of words of random bits.

    Example:
        >>> keys = random_keys(torch.rand(5, 1, 2, 2), seed=0)
        >>> int(random_below(random_words(keys, 1000), 6).max())
        5
    """
    return _shift(words, 32) * limit >> 32


def _random_bits(images: Tensor, seed: int) -> Tensor:
    """Return 64 random bits per pixel, as int64 (N, pixels)."""
    return random_words(random_keys(images, seed=seed), math.prod(images.shape[1:]))


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _MIX_1
    x = (x ^ _shift(x, 27)) * _MIX_2
    return x ^ _shift(x, 31)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Shift right without the sign, which torch's own shift carries along."""
    return torch.bitwise_and(x >> bits, 2 ** (64 - bits) - 1)


def seed_all(seed: int) -> None:
    """Set the global random state from a seed, on the CPU and on every GPU.

    Where there is no GPU, ``torch.manual_seed`` keeps a stack trace of every call for as long as the process runs.

    Example:
        >>> seed_all(3)
        >>> torch.initial_seed()
        3
    """
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(seed)
