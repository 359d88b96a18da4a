"""The handwritten digits that come with scikit-learn: the data set that needs no download."""

from __future__ import annotations

import torch

from unmask.data.dataset import Dataset, Split, cut, needed, to_images


def load(split: Split, *, seed: int) -> Dataset:
    """Load 1,797 digits, grey, 8 x 8, pixel values 0 to 16 divided by 16.

    Splits: a seeded permutation, not stratified, cuts them into 1,078 train, 360 validation and 359 test.

    Raises:
        DataError: scikit-learn, which holds them, is not installed.

    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits (UCI, 1998), its test set.

    Example:
        >>> load("train", seed=0).images.shape
        torch.Size([1078, 1, 8, 8])
    """
    bunch = needed("sklearn.datasets", "digits: the data set").load_digits()
    data = Dataset(
        name="digits",
        images=to_images(bunch.images[:, None], 16),
        labels=torch.from_numpy(bunch.target.astype("int64")),
        classes=tuple(map(str, bunch.target_names)),
    )
    return cut(data, split, seed)
