"""The user's own images: everything that cannot be used as it is is refused with one clear line."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from unmask.data import DataError, load


def save(path: Path, **arrays: object) -> Path:
    np.savez(path / "own.npz", **arrays)  # type: ignore[arg-type]
    return path / "own.npz"


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64", ">f4", "float16"])
@pytest.mark.parametrize("layout", ["NHW", "NHWC", "NCHW"])
def test_an_npz_in_any_layout(tmp_path: Path, layout: str, dtype: str) -> None:
    expected = torch.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)[:, : 1 if layout == "NHW" else 3] / 255
    pixels = (expected.numpy() * 255).round().astype("uint8") if dtype == "uint8" else expected.numpy().astype(dtype)
    arranged = {"NHW": pixels[:, 0], "NHWC": pixels.transpose(0, 2, 3, 1), "NCHW": pixels}[layout]
    data = load(save(tmp_path, images=arranged, labels=np.array([2, 0], "uint8")), "all")
    assert data.images.is_contiguous()
    assert torch.allclose(data.images, expected, rtol=0, atol=1e-3 if dtype == "float16" else 0)
    assert (data.labels.tolist(), data.classes) == ([2, 0], ("0", "1", "2"))


def test_class_names_from_an_npz(tmp_path: Path) -> None:
    path = save(tmp_path, images=np.zeros((5, 4, 4)), labels=np.arange(5) % 2, classes=["cat", "dog", "owl"])
    assert load(path, "all").classes == ("cat", "dog", "owl")
    assert len(load(path, "train")) == 3


ZEROS = np.zeros((2, 4, 4))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": ZEROS}, r"own.npz: expected arrays named images and labels, got images$"),
        ({"x": ZEROS, "y": [0, 1]}, r"expected arrays named images and labels, got x, y$"),
        ({}, "expected arrays named images and labels, got none"),
        ({"images": np.array([{}, {}]), "labels": [0, 1]}, "cannot be read as plain arrays .*allow_pickle=False"),
        ({"images": ZEROS, "labels": [0]}, r"own.npz: labels: expected one per image \(2\), got 1"),
        ({"images": ZEROS, "labels": [0, 1, 2]}, r"labels: expected one per image \(2\), got 3"),
        ({"images": ZEROS, "labels": [0, -1]}, "labels: expected integers from 0 to 0, got -1"),
        ({"images": ZEROS, "labels": [0, 2], "classes": ["a", "b"]}, "labels: expected integers from 0 to 1, got 2"),
        ({"images": ZEROS, "labels": [0, 10**12]}, "labels: expected integers from 0 to 99999, got 1000000000000"),
        ({"images": ZEROS, "labels": [0.0, 1.0]}, "labels: expected integers, got float64"),
        ({"images": ZEROS, "labels": [[0, 1], [1, 0]]}, r"labels: expected int64 \(N,\), got torch.int64 \(2, 2\)"),
        ({"images": ZEROS, "labels": [0, 1], "classes": 2}, r"classes: expected a row of strings, got int64 \(\)"),
        ({"images": ZEROS + 255, "labels": [0, 1]}, r"images: expected pixels in \[0, 1\], got \[255, 255\]"),
        ({"images": ZEROS - 1, "labels": [0, 1]}, r"images: expected pixels in \[0, 1\], got \[-1, -1\]"),
        ({"images": ZEROS + np.nan, "labels": [0, 1]}, "images: expected finite pixels, got NaN or infinity"),
        ({"images": ZEROS + 1e300, "labels": [0, 1]}, "images: expected finite pixels, got NaN or infinity"),
        ({"images": ZEROS[:0], "labels": np.zeros(0, int)}, "images: expected at least one, got an empty set"),
        ({"images": ZEROS.astype(int), "labels": [0, 1]}, r"expected uint8 in \[0, 255\] or floats in .*, got int64"),
        ({"images": np.zeros((2, 16)), "labels": [0, 1]}, r"expected \(N, H, W\), .* got \(2, 16\)"),
        ({"images": np.zeros((2, 4, 4, 4)), "labels": [0, 1]}, r"got \(2, 4, 4, 4\): no axis has 1 or 3 channels"),
        (
            {"images": np.zeros((2, 3, 4, 3)), "labels": [0, 1]},
            r"got \(2, 3, 4, 3\): either axis could be the channels",
        ),
    ],
)
def test_an_npz_that_cannot_be_used_as_it_is(tmp_path: Path, arrays: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(save(tmp_path, **arrays), "all")


def write_folder(root: Path) -> Path:
    """Two classes: two cats as PNG, a dog as JPEG, and what is passed over."""
    for name, grey in {"cat/1.png": 51, "cat/2.PNG": 102, "dog/1.jpg": 255}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 3), grey).save(root / name)
    (root / "cat/.hidden").touch()
    (root / "README").touch()
    return root


def test_a_folder_of_grey_images(tmp_path: Path) -> None:
    data = load(str(write_folder(tmp_path)), "all")
    assert data.images.shape == (3, 1, 3, 4)
    assert data.images[:, 0, 0, 0].tolist() == pytest.approx([0.2, 0.4, 1])
    assert (data.labels.tolist(), data.classes) == ([0, 0, 1], ("cat", "dog"))


def test_a_folder_of_colour_images(tmp_path: Path) -> None:
    (tmp_path / "only").mkdir()
    Image.new("RGB", (4, 3), (0, 51, 255)).save(tmp_path / "only/1.png")
    assert torch.equal(load(tmp_path, "all").images[0, :, 1, 2], torch.tensor([0, 0.2, 1]))


@pytest.mark.parametrize(
    ("file", "image", "message"),
    [
        ("cat/3.png", Image.new("L", (5, 3)), r"3.png: expected every image to have the shape \(3, 4\), got \(3, 5\)"),
        ("cat/3.png", Image.new("RGB", (4, 3)), r"expected every image to have the shape \(3, 4\), got \(3, 4, 3\)"),
        ("cat/3.png", Image.new("RGBA", (4, 3)), r"3.png: expected an image in mode L .* or RGB, got RGBA"),
        ("dog/2.bmp", Image.new("L", (4, 3)), r"2.bmp: expected only PNG or JPEG files"),
    ],
)
def test_images_that_do_not_fit_are_refused(tmp_path: Path, file: str, image: Image.Image, message: str) -> None:
    image.save(write_folder(tmp_path) / file)
    with pytest.raises(DataError, match=message):
        load(tmp_path, "all")


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected one sub-folder per class, got none"):
        load(tmp_path, "all")
    (write_folder(tmp_path) / "emu").mkdir()
    with pytest.raises(DataError, match=r"emu: expected PNG or JPEG files, got an empty folder"):
        load(tmp_path, "all")
    (tmp_path / "emu/1.png").write_text("not an image")
    with pytest.raises(DataError, match=r"1.png: expected a PNG or JPEG image, got a file that cannot be read"):
        load(tmp_path, "all")


@pytest.mark.parametrize("name", ["own.npz", "cat/1.png", "cat/1.jpg"])
@given(cut_at=st.integers(0, 400), change=st.tuples(st.integers(0, 400), st.integers(0, 255)))
def test_damage_is_noticed_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, name: str, cut_at: int, change: tuple[int, int]
) -> None:
    root = tmp_path_factory.mktemp("damaged")
    (root / "cat").mkdir()
    save(root, images=ZEROS, labels=[0, 1])
    if name != "own.npz":
        Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8)).save(root / name)
    content = bytearray((root / name).read_bytes())
    content[change[0] % len(content)] = change[1]
    (root / name).write_bytes(content[: len(content) - cut_at])
    with contextlib.suppress(DataError):  # and nothing else
        data = load(root / name if name == "own.npz" else root, "all")
        assert data.images.isfinite().all()
