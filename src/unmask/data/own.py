"""The user's own images: an ``.npz`` file, or a folder with one sub-folder per class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from unmask.data.dataset import DataError, Dataset, Split, cut, to_images

SUFFIXES = (".png", ".jpg", ".jpeg")
MOST_CLASSES = 100_000


def load(path: Path, split: Split, *, seed: int) -> Dataset:
    """Load an ``.npz`` file or a folder of images; ``split="all"`` is every image, in the order of the file or folder.

    Splits: a seeded permutation, not stratified, cuts them into 60 % train, 20 % validation and 20 % test.

    Raises:
        DataError: something in it cannot be used as it is; nothing is repaired.
    """
    return cut(_load_folder(path) if path.is_dir() else _load_npz(path), split, seed)


def _load_npz(path: Path) -> Dataset:
    """Load the arrays ``images`` and ``labels``, and if present ``classes``, the classes' names.

    Images are (N, H, W), (N, H, W, C) or (N, C, H, W) with C 1 or 3; uint8, which is divided by 255, or floats in
    [0, 1]. Labels are integers from 0. Without ``classes`` there are as many as the largest label says.
    """
    arrays = _read_npz(path)
    images, labels = arrays["images"], arrays["labels"]
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise DataError(f"{path}: images: expected uint8 in [0, 255] or floats in [0, 1], got {images.dtype}")
    if labels.dtype.kind not in "iu":
        raise DataError(f"{path}: labels: expected integers, got {labels.dtype}")
    return Dataset(
        name=str(path),
        images=to_images(_channels_first(path, images), 255 if images.dtype == np.uint8 else 1),
        labels=torch.from_numpy(labels.astype(np.int64)),
        classes=_class_names(path, labels, arrays.get("classes")),
    )


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:  # a pickle could run any code
            names = sorted(file)
            arrays = {name: file[name] for name in ("images", "labels", "classes") if name in file}
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except Exception as error:  # a damaged file can make the reader raise almost anything
        raise DataError(
            f"{path}: cannot be read as plain arrays ({error}); write it with numpy.savez(path, images=..., labels=...)"
        ) from error
    if not {"images", "labels"} <= arrays.keys():
        raise DataError(f"{path}: expected arrays named images and labels, got {', '.join(names) or 'none'}")
    return arrays


def _class_names(path: Path, labels: NDArray[Any], names: NDArray[Any] | None) -> tuple[str, ...]:
    if names is None:
        largest = int(labels.max(initial=0))
        if largest >= MOST_CLASSES:  # before a stray value becomes as many names
            raise DataError(f"{path}: labels: expected integers from 0 to {MOST_CLASSES - 1}, got {largest}")
        return tuple(map(str, range(largest + 1)))
    if names.ndim != 1 or names.dtype.kind != "U":
        raise DataError(f"{path}: classes: expected a row of strings, got {names.dtype} {names.shape}")
    return tuple(map(str, names))


def _channels_first(path: Path, images: NDArray[Any]) -> NDArray[Any]:
    """Return a view (N, C, H, W): the axis of length 1 or 3 holds the channels, if exactly one of the two can."""
    if images.ndim == 3:
        return images[:, None]
    first, last = (images.ndim == 4 and images.shape[axis] in (1, 3) for axis in (1, -1))
    if first == last:
        problem = "either axis could be the channels" if first else "no axis has 1 or 3 channels"
        raise DataError(
            f"{path}: images: expected (N, H, W), (N, H, W, C) or (N, C, H, W) with C 1 or 3, "
            f"got {images.shape}: {problem}"
        )
    return images if first else images.transpose(0, 3, 1, 2)


def _load_folder(path: Path) -> Dataset:
    """Load PNG and JPEG files, grey or RGB with 8 bits a channel, all of one size and mode.

    A label is its sub-folder's position among the names in alphabetical order, so ``10`` comes before ``2``. Hidden
    files and folders, and files beside the sub-folders, are passed over.
    """
    folders = [entry for entry in _visible(path) if entry.is_dir()]
    if not folders:
        raise DataError(f"{path}: expected one sub-folder per class, got none")
    images: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    for label, folder in enumerate(folders):
        files = _visible(folder)
        if not files:
            raise DataError(f"{folder}: expected PNG or JPEG files, got an empty folder")
        for file in files:
            pixels = _read_image(file)
            if images and pixels.shape != images[0].shape:
                raise DataError(f"{file}: expected every image to have the shape {images[0].shape}, got {pixels.shape}")
            images.append(pixels)
            labels.append(label)
    stacked = np.stack(images)
    return Dataset(
        name=str(path),
        images=to_images(stacked[:, None] if stacked.ndim == 3 else stacked.transpose(0, 3, 1, 2), 255),
        labels=torch.tensor(labels),
        classes=tuple(folder.name for folder in folders),
    )


def _visible(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _read_image(path: Path) -> NDArray[np.uint8]:
    """Return pixels (H, W) if grey, (H, W, 3) if RGB."""
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path}: expected only PNG or JPEG files among a class's images; move it elsewhere")
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            pixels, mode = np.asarray(image), image.mode
    except Exception as error:  # a damaged file can make the reader raise almost anything
        raise DataError(f"{path}: expected a PNG or JPEG image, got a file that cannot be read ({error})") from error
    if mode not in ("L", "RGB"):
        raise DataError(f"{path}: expected an image in mode L (8-bit grey) or RGB, got {mode}; convert it first")
    return pixels
