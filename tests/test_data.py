"""Data sets: their checks, their parts, and what a missing extra says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unmask.data import DataError, Dataset, images_digest, load
from unmask.data.dataset import cut, training_part


def a_dataset(count: int) -> Dataset:
    """Every image has its own label, so that images can be told apart."""
    names = tuple(map(str, range(count)))
    return Dataset(name="some", images=torch.rand(count, 1, 2, 2), labels=torch.arange(count), classes=names)


IMAGES, LABELS = torch.zeros(2, 1, 3, 3), torch.tensor([0, 1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": torch.tensor([0])}, r"^some: labels: expected one per image \(2\), got 1$"),
        ({"labels": torch.tensor([0, 1, 0])}, r"labels: expected one per image \(2\), got 3"),
        ({"labels": torch.tensor([0, 2])}, r"labels: expected integers from 0 to 1, got 2"),
        ({"labels": torch.tensor([-1, 0])}, r"labels: expected integers from 0 to 1, got -1"),
        ({"labels": LABELS.int()}, r"labels: expected int64 \(N,\), got torch.int32 \(2,\)"),
        ({"labels": LABELS[:, None]}, r"labels: expected int64 \(N,\), got torch.int64 \(2, 1\)"),
        ({"images": IMAGES + 255}, r"images: expected pixels in \[0, 1\], got \[255, 255\]"),
        ({"images": IMAGES - 0.5}, r"images: expected pixels in \[0, 1\], got \[-0.5, -0.5\]"),
        ({"images": IMAGES / 0}, r"images: expected finite pixels, got NaN or infinity"),
        ({"images": IMAGES + torch.inf}, r"images: expected finite pixels, got NaN or infinity"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, r"images: expected at least one, got an empty set"),
        ({"images": IMAGES[0]}, r"images: expected float32 \(N, C, H, W\), got torch.float32 \(1, 3, 3\)"),
        ({"images": IMAGES.double()}, r"images: expected float32 \(N, C, H, W\), got torch.float64"),
    ],
)
def test_what_does_not_fit_together_is_no_dataset(changes: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Dataset(**{"name": "some", "images": IMAGES, "labels": LABELS, "classes": ("a", "b"), **changes})


@given(count=st.integers(1, 40), n=st.integers(1, 50), seed=st.integers(0, 2**32 - 1))
def test_a_sample_is_drawn_without_replacement_and_begins_every_larger_one(count: int, n: int, seed: int) -> None:
    data = a_dataset(count)
    sample = data.sample(n, seed)
    assert len(sample) == len(set(sample.labels.tolist())) == min(n, count)
    assert torch.equal(sample.images, data.images[sample.labels])
    if n < count - 1:
        assert torch.equal(data.sample(n + 1, seed).labels[:n], sample.labels)


def test_a_sample_needs_an_image() -> None:
    with pytest.raises(DataError, match=r"n: expected at least 1 image to sample, got 0"):
        a_dataset(3).sample(0, seed=0)


@given(count=st.integers(4, 60), seed=st.integers(0, 2**32 - 1))
def test_parts_are_disjoint_and_together_the_whole(count: int, seed: int) -> None:
    data = a_dataset(count)
    train, validation, test, both = (
        cut(data, split, seed).labels.tolist() for split in ("train", "validation", "test", "train+validation")
    )
    assert both == train + validation
    assert sorted(train + validation + test) == cut(data, "all", seed).labels.tolist() == list(range(count))
    assert abs(len(train) - 0.6 * count) <= 0.5
    assert abs(len(both) - 0.8 * count) <= 0.5


@given(count=st.integers(1, 60), held_out=st.integers(0, 60), seed=st.integers(0, 2**32 - 1))
def test_a_training_set_is_cut_in_two(count: int, held_out: int, seed: int) -> None:
    train, validation, both = (
        training_part("some", split, count, validation=held_out, seed=seed).tolist()
        for split in ("train", "validation", "train+validation")
    )
    assert len(validation) == min(held_out, count)
    assert sorted(train + validation) == sorted(both) == list(range(count))


def test_a_part_may_not_be_empty() -> None:
    with pytest.raises(DataError, match=r"some: split: expected images in 'test', got none out of 1; use 'all'"):
        cut(a_dataset(1), "test", seed=0)


def test_digits_are_the_same_everywhere() -> None:
    data = load("digits", "test")
    assert data.labels[:10].tolist() == [9, 4, 7, 0, 2, 6, 1, 3, 1, 3]
    assert not torch.equal(load("digits", "test", seed=1).labels, data.labels)
    whole = load("digits", "all")
    assert whole.images.shape == (1797, 1, 8, 8)
    assert whole.images.unique().mul(16).tolist() == list(range(17))
    assert whole.labels[:10].tolist() == list(range(10))


def test_unknown_names_and_splits_say_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"imagenet: unknown data set; expected one of digits, mnist, .*\.npz, or a fol"
    ):
        load("imagenet", "test")
    with pytest.raises(DataError, match=r"split: expected one of train, validation, .*, got 'tset'"):
        load("digits", "tset")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"seed: expected an integer from 0 to .*, got -1"):
        load("digits", "test", seed=-1)
    with pytest.raises(DataError, match=r"none\.npz: no such file"):
        load(tmp_path / "none.npz", "all")


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_official_parts_are_not_mixed(name: str) -> None:
    with pytest.raises(DataError, match=rf"split: {name} keeps its test set apart; .*, got 'all'"):
        load(name, "all")


@pytest.mark.parametrize(
    ("module", "name", "message"),
    [
        ("sklearn.datasets", "digits", r"^digits: the data set needs scikit-learn: pip install 'unmask\[data\]'$"),
        ("pooch", "mnist", r"^mnist: downloading it needs pooch: pip install 'unmask\[data\]'$"),
    ],
)
def test_a_missing_extra_is_one_line_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, name: str, message: str
) -> None:
    monkeypatch.delenv("UNMASK_DATA", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_path", lambda project: tmp_path / project)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DataError, match=message):
        load(name, "test")


def test_images_are_known_by_content_labels_and_order():
    images, labels = torch.rand(4, 1, 3, 3), torch.tensor([0, 1, 0, 1])
    same = [images_digest(images.clone(), labels), images_digest(images.double(), labels)]
    assert set(same) == {images_digest(images, labels)}
    other = [
        images_digest(images.flip(0), labels.flip(0)),
        images_digest(images, 1 - labels),
        images_digest(images[:3], labels[:3]),
        images_digest(images.view(4, 3, 1, 3), labels),
        images_digest(images + 1e-3, labels),
    ]
    assert len({*same, *other}) == 6
