"""CIFAR-10: 32 x 32, colour, ten classes, in the layout of ``cifar-10-batches-bin``.

Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images (2009).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from unmask.data.dataset import DataError, Dataset, Split, to_images, training_part
from unmask.data.fetch import Source

SOURCE = Source(
    name="cifar10",
    folders=("cifar10/cifar-10-batches-bin", "cifar-10-batches-bin", "cifar10", "."),
    url="https://www.cs.toronto.edu/~kriz/",
    md5={"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
)
RECORDS, RECORD = 10_000, 1 + 3 * 32 * 32  # per file, and bytes in each: the label, then red, green and blue planes
VALIDATION = 5_000


def load(split: Split, *, data_dir: Path | None, seed: int, download: bool) -> Dataset:
    """Load CIFAR-10; only the files that the split needs are read.

    A download is checked against the published archive's MD5. A folder that lies ready is checked for its structure
    only: a copy in the same layout with other pixels, such as one that went through JPEG, cannot be told apart, and a
    figure that rests on one must say so.

    Raises:
        DataError: a file is missing, of the wrong size, or has a label that is no class.
    """
    part = None if split == "test" else training_part("cifar10", split, 5 * RECORDS, validation=VALIDATION, seed=seed)
    batches = ["test_batch.bin"] if split == "test" else [f"data_batch_{number}.bin" for number in range(1, 6)]
    *paths, meta = SOURCE([*batches, "batches.meta.txt"], data_dir=data_dir, download=download)
    classes = tuple(meta.read_text(encoding="utf-8", errors="replace").split())
    if len(classes) != 10:
        raise DataError(f"{meta}: expected the names of 10 classes, got {len(classes)}")
    records = np.concatenate([_read(path) for path in paths])
    if part is not None:
        records = records[part]
    return Dataset(
        name="cifar10",
        images=to_images(records[:, 1:].reshape(-1, 3, 32, 32), 255),
        labels=torch.from_numpy(records[:, 0].astype(np.int64)),
        classes=classes,
    )


def _read(path: Path) -> NDArray[np.uint8]:
    raw = np.fromfile(path, np.uint8)
    if len(raw) != RECORDS * RECORD:
        raise DataError(f"{path}: expected {RECORDS} records of {RECORD} bytes, got {len(raw)} bytes; replace it")
    return raw.reshape(RECORDS, RECORD)
