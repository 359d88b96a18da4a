"""A data set in memory, the checks that every source passes, and the cutting of one into parts."""

from __future__ import annotations

import hashlib
import importlib
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self, get_args

import numpy as np
import torch
from numpy.typing import NDArray

Split = Literal["train", "validation", "train+validation", "test", "all"]
"""The part of a data set that is wanted."""


class DataError(ValueError):
    """Data that cannot be used as they are: the message names the file, what was expected and what was found.

    Example:
        >>> issubclass(DataError, ValueError)
        True
    """


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Labelled images, checked when they are put together.

    Attributes:
        name: what to call it in reports and errors.
        images: float32 (N, C, H, W) in [0, 1].
        labels: int64 (N,), each an index into ``classes``.
        classes: the name of each class.

    Raises:
        DataError: there are no images; shapes, dtypes or counts do not fit; a pixel is outside [0, 1], NaN or
            infinite; a label is no index into ``classes``.

    Example:
        >>> data = Dataset(name="two", images=torch.zeros(2, 1, 4, 4), labels=torch.tensor([0, 1]), classes=("a", "b"))
        >>> len(data), len(data.sample(1, seed=0))
        (2, 1)
    """

    name: str
    images: torch.Tensor = field(repr=False)
    labels: torch.Tensor = field(repr=False)
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse data that an attack or an audit would silently get wrong."""
        images, labels = self.images, self.labels
        if images.ndim != 4 or images.dtype != torch.float32:
            self._refuse("images", "float32 (N, C, H, W)", f"{images.dtype} {tuple(images.shape)}")
        if labels.ndim != 1 or labels.dtype != torch.int64:
            self._refuse("labels", "int64 (N,)", f"{labels.dtype} {tuple(labels.shape)}")
        if len(labels) != len(images):
            self._refuse("labels", f"one per image ({len(images)})", str(len(labels)))
        if images.numel() == 0:
            self._refuse("images", "at least one", f"an empty set {tuple(images.shape)}")
        low, high = (bound.item() for bound in images.aminmax())  # a NaN anywhere makes both NaN
        if not (np.isfinite(low) and np.isfinite(high)):
            self._refuse("images", "finite pixels", "NaN or infinity")
        if low < 0 or high > 1:
            self._refuse("images", "pixels in [0, 1]", f"[{low:g}, {high:g}]")
        first, last = (int(bound) for bound in labels.aminmax())
        if first < 0 or last >= len(self.classes):
            worst = first if first < 0 else last
            self._refuse("labels", f"integers from 0 to {len(self.classes) - 1}", str(worst))

    def _refuse(self, part: str, expected: str, found: str) -> None:
        raise DataError(f"{self.name}: {part}: expected {expected}, got {found}")

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def in_words(self) -> str:
        """Return its name, the number of images, and the SHA-256 of pixels and labels.

        Example:
            >>> Dataset(name="one", images=torch.zeros(1, 1, 2, 2), labels=torch.tensor([0]), classes=("a",)).in_words()
            'one, 1 images, SHA-256 fdaa17d517b597c8'
        """
        return f"{self.name}, {len(self)} images, SHA-256 {images_digest(self.images, self.labels)[:16]}"

    def take(self, indices: NDArray[np.int64]) -> Self:
        """Return the images at these positions, in this order."""
        index = torch.from_numpy(indices)
        return replace(self, images=self.images[index], labels=self.labels[index])

    def sample(self, n: int, seed: int) -> Self:
        """Draw ``n`` images without replacement, or return the whole set if it has no more than that.

        With one seed, a smaller sample is the beginning of a larger one.

        Raises:
            DataError: ``n`` is less than one.
        """
        if n < 1:
            raise DataError(f"n: expected at least 1 image to sample, got {n}")
        return self if n >= len(self) else self.take(permutation(len(self), seed)[:n])


def to_images(pixels: NDArray[Any], largest: float) -> torch.Tensor:
    """Return pixels from 0 to ``largest`` as a float32 tensor from 0 to 1, in one copy."""
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, which Dataset refuses
        return torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32)).div_(largest)


def images_digest(images: torch.Tensor, labels: torch.Tensor) -> str:
    """Return the SHA-256 of images (as float32) and labels in their order: equal for audits of the same images.

    Example:
        >>> images, labels = torch.rand(2, 1, 4, 4), torch.tensor([0, 1])
        >>> same, other = images_digest(images.clone(), labels), images_digest(images.flip(0), labels.flip(0))
        >>> images_digest(images, labels) == same, same == other
        (True, False)
    """
    seen = hashlib.sha256(str(tuple(images.shape)).encode())
    for tensor in (images.float(), labels):
        seen.update(tensor.detach().cpu().contiguous().numpy().data)
    return seen.hexdigest()


def permutation(count: int, seed: int) -> NDArray[np.int64]:
    """Return a random order of the numbers from 0 to below ``count``, int64; the same on every machine.

    Raises:
        DataError: the seed is no integer from 0 to 2**32 - 1.

    Example:
        >>> permutation(5, seed=0)
        array([2, 0, 1, 3, 4])
    """
    if not 0 <= seed < 2**32:
        raise DataError(f"seed: expected an integer from 0 to 2**32 - 1, got {seed}")
    # numpy guarantees this old generator's stream for ever, which it does not for default_rng
    return np.random.RandomState(seed).permutation(count)


def needed(module: str, use: str) -> Any:
    """Import a module of the extra ``data``.

    Raises:
        DataError: it is not installed; the message begins with ``use`` and names the extra.

    Example:
        >>> needed("there_is_none", "digits: the data set")
        Traceback (most recent call last):
            ...
        unmask.data.dataset.DataError: digits: the data set needs there_is_none: pip install 'unmask[data]'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = {"sklearn": "scikit-learn"}.get(name := module.partition(".")[0], name)
        raise DataError(f"{use} needs {package}: pip install 'unmask[data]'") from error


def check_split(split: str) -> None:
    """Refuse a split that there is not.

    Raises:
        DataError: there is no such split.
    """
    if split not in get_args(Split):
        raise DataError(f"split: expected one of {', '.join(get_args(Split))}, got {split!r}")


def training_part(name: str, split: Split, count: int, *, validation: int, seed: int) -> NDArray[np.int64]:
    """Return positions within an official training set of ``count``, of which ``validation`` are held out.

    Raises:
        DataError: the split is ``"all"``, which would mix the official training and test sets.
    """
    if split == "all":
        raise DataError(f"split: {name} keeps its test set apart; expected train+validation or test, got 'all'")
    order = permutation(count, seed)
    return {"train": order[validation:], "validation": order[:validation], "train+validation": order}[split]


def cut(data: Dataset, split: Split, seed: int) -> Dataset:
    """Cut a set that has no official parts into 60 % train, 20 % validation and 20 % test; return one, or all.

    Raises:
        DataError: the set is so small that this part of it is empty.
    """
    if split == "all":
        return data
    count = len(data)
    order, train, validation = permutation(count, seed), round(0.6 * count), round(0.8 * count)
    bounds = {"train": (0, train), "validation": (train, validation), "train+validation": (0, validation)}
    start, stop = bounds.get(split, (validation, count))
    if start == stop:
        raise DataError(f"{data.name}: split: expected images in {split!r}, got none out of {count}; use 'all'")
    return data.take(order[start:stop])
