"""Labelled images to train on and to audit with: four built-in data sets, and the user's own.

| file       | content                                                                           |
|------------|-----------------------------------------------------------------------------------|
| dataset.py | `Dataset` and the checks that every source passes, the splits, `DataError`        |
| fetch.py   | the search for files, and their download                                          |
| digits.py  | 1,797 handwritten digits, 8 x 8, that come with scikit-learn: needs no download   |
| mnist.py   | MNIST and Fashion-MNIST, 28 x 28 grey, 60,000 for training and 10,000 for testing |
| cifar10.py | CIFAR-10, 32 x 32 colour, 50,000 for training and 10,000 for testing              |
| own.py     | an `.npz` file, or a folder of PNG and JPEG files with one sub-folder per class   |
"""

from __future__ import annotations

import os
from pathlib import Path

from unmask.data import cifar10, digits, mnist, own
from unmask.data.dataset import DataError, Dataset, Split, check_split, images_digest, permutation

__all__ = ["NAMES", "DataError", "Dataset", "Split", "images_digest", "load", "permutation"]

NAMES = ("digits", *mnist.SOURCES, "cifar10")
"""The names of the built-in data sets."""


def load(
    name_or_path: str | os.PathLike[str],
    split: Split,
    *,
    data_dir: Path | None = None,
    seed: int = 0,
    download: bool = True,
) -> Dataset:
    """Load one part of a data set.

    MNIST, Fashion-MNIST and CIFAR-10 have an official test set, which is ``"test"``. A seeded permutation cuts the
    official training set into ``"train"`` (50,000; CIFAR-10: 45,000) and ``"validation"`` (10,000; CIFAR-10: 5,000);
    ``"train+validation"`` is all of it. The digits and the user's own images are cut by a seeded permutation, without
    regard to class, into 60 % ``"train"``, 20 % ``"validation"`` and 20 % ``"test"``; ``"all"`` is everything in its
    own order. A seed gives the same parts on every machine.

    Files are looked for in ``data_dir``, then in ``$UNMASK_DATA``, then in the user's cache, into which they are
    downloaded if they are nowhere. A name wins over a folder so called: write ``./mnist`` for the folder.

    Args:
        name_or_path: one of `NAMES`, a path that ends in ``.npz``, or a folder with one sub-folder per class.
        split: ``"train"``, ``"validation"``, ``"train+validation"``, ``"test"`` or ``"all"``.
        data_dir: a folder that holds built-in data sets, each in a sub-folder of its name or all side by side.
        seed: of the permutation that makes the splits.
        download: whether missing files may be downloaded.

    Raises:
        DataError: the name or split is unknown, files are missing, damaged or not what they claim to be, or the
            images and labels do not fit together.

    Example:
        >>> data = load("digits", "test")
        >>> len(data), tuple(data.images.shape), data.classes[:3]
        (359, (359, 1, 8, 8), ('0', '1', '2'))
    """
    check_split(split)
    if name_or_path == "digits":
        return digits.load(split, seed=seed)
    if name_or_path in mnist.SOURCES:
        return mnist.load(str(name_or_path), split, data_dir=data_dir, seed=seed, download=download)
    if name_or_path == "cifar10":
        return cifar10.load(split, data_dir=data_dir, seed=seed, download=download)
    path = Path(name_or_path)
    if path.suffix == ".npz" or path.is_dir():
        return own.load(path, split, seed=seed)
    raise DataError(
        f"{name_or_path}: unknown data set; expected one of {', '.join(NAMES)}, "
        "a path that ends in .npz, or a folder with one sub-folder per class"
    )
