"""MNIST and Fashion-MNIST: 28 x 28, grey, ten classes, in IDX files (plain or gzipped).

Sources: LeCun, Cortes and Burges, The MNIST Database of Handwritten Digits (1998); Xiao, Rasul and Vollgraf,
Fashion-MNIST (2017).
"""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from unmask.data.dataset import DataError, Dataset, Split, to_images, training_part
from unmask.data.fetch import Source

SOURCES = {
    "mnist": Source(
        name="mnist",
        folders=("mnist", "."),
        url="https://ossci-datasets.s3.amazonaws.com/mnist/",
        md5={
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
    ),
    "fashion-mnist": Source(
        name="fashion-mnist",
        folders=("fashion-mnist", "."),
        url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        md5={
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
    ),
}
CLASSES = {
    "mnist": tuple("0123456789"),
    "fashion-mnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
}
MNIST_SHA256 = {  # of the uncompressed bytes: a file may have been gzipped anew
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
TRAINING, VALIDATION, TEST = 60_000, 10_000, 10_000


def load(name: str, split: Split, *, data_dir: Path | None, seed: int, download: bool) -> Dataset:
    """Load ``"mnist"`` or ``"fashion-mnist"``; only the files that the split needs are read.

    A download is checked against the published files' MD5. MNIST's files, wherever they lie, must have the official
    bytes (SHA-256, uncompressed). For Fashion-MNIST no such digests are published: files that lie ready are checked
    for their structure only, and for not being MNIST's, whose file names are the same.

    Raises:
        DataError: a file is missing, damaged, or not what its name says.
    """
    prefix, count = ("t10k", TEST) if split == "test" else ("train", TRAINING)
    part = None if split == "test" else training_part(name, split, count, validation=VALIDATION, seed=seed)
    files = [f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"]
    paths = SOURCES[name](files, data_dir=data_dir, download=download)
    images, labels = (_read_official(name, path) for path in paths)
    if images.shape != (count, 28, 28):
        raise DataError(f"{paths[0]}: expected images of shape ({count}, 28, 28), got {images.shape}")
    if len(labels) != count:
        raise DataError(f"{name}: labels: expected one per image ({count}), got {len(labels)}; replace {paths[1]}")
    if part is not None:  # before they become floats, which take four times the memory
        images, labels = images[part], labels[part]
    return Dataset(
        name=name,
        images=to_images(images[:, None], 255),
        labels=torch.from_numpy(labels.astype(np.int64)),
        classes=CLASSES[name],
    )


def _read_official(name: str, path: Path) -> NDArray[np.uint8]:
    raw = read_bytes(path)
    array = parse_idx(path, raw)
    file = path.name.removesuffix(".gz")
    digest = hashlib.sha256(raw).hexdigest()
    if name == "mnist" and digest != MNIST_SHA256[file]:
        raise DataError(
            f"{path}: expected MNIST's bytes (SHA-256 {MNIST_SHA256[file]}), got {digest}; replace the file"
        )
    if name != "mnist" and digest == MNIST_SHA256[file]:
        raise DataError(
            f"{path}: expected {name}, got MNIST, whose files have the same names; keep them in two folders"
        )
    return array


def read_bytes(path: Path) -> bytes:
    """Return a file's content, uncompressed if it is gzipped, whatever it is called.

    Raises:
        DataError: the compressed bytes are truncated or damaged.
    """
    raw = path.read_bytes()
    if not raw.startswith(b"\x1f\x8b"):
        return raw
    try:
        return gzip.decompress(raw)
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(
            f"{path}: expected a whole gzip file, got a truncated or damaged one ({error}); replace it"
        ) from error


def parse_idx(path: Path, raw: bytes) -> NDArray[np.uint8]:
    """Return the array in an IDX file of unsigned bytes; ``path`` is for messages, its ``idx3`` says how many axes.

    The format: two zero bytes, 8 for uint8, the number of axes, the length of each axis as a big-endian uint32, the
    values.

    Raises:
        DataError: the magic number is another, or there are more or fewer bytes than the header announces.

    Example:
        >>> parse_idx(Path("some-idx1-ubyte"), bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]))
        array([7, 9], dtype=uint8)
    """
    axes = 3 if "idx3" in path.name else 1
    magic = bytes([0, 0, 8, axes])
    if raw[:4] != magic:
        raise DataError(f"{path}: expected an IDX file with magic number 0x{magic.hex()}, got 0x{raw[:4].hex()}")
    start = 4 + 4 * axes
    shape = tuple(int.from_bytes(raw[at : at + 4]) for at in range(4, start, 4))
    size = start + math.prod(shape)
    if len(raw) != size:
        raise DataError(f"{path}: expected {size} bytes as its header says (shape {shape}), got {len(raw)}; replace it")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)
