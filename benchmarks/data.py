"""Images of MNIST's shape for the benchmarks: MNIST itself where it lies ready, else enlarged scikit-learn digits."""

from __future__ import annotations

import torch
from torch.nn import functional

from unmask.data import DataError, Dataset, load


def digits_like(count: int, *, seed: int) -> Dataset:
    """So many images (N, 1, 28, 28) of handwritten digits; enlarged ones repeat when there are not enough."""
    try:
        return load("mnist", "train", download=False).sample(count, seed)
    except DataError:
        small = load("digits", "all")
    rows = torch.arange(count) % len(small)
    images = functional.interpolate(small.images, size=(28, 28), mode="bilinear")[rows]
    return Dataset(name="enlarged digits", images=images, labels=small.labels[rows], classes=small.classes)
