"""Data sets: what is loaded, how it is cut, and that whatever is damaged is refused with one clear line."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from unmask.data import DataError, Dataset, cifar10, load, mnist
from unmask.data.dataset import cut, images_digest, training_part

REAL = Path(os.environ.get("UNMASK_DATA") or "nowhere")
real_mnist = pytest.mark.skipif(
    not ((REAL / "mnist").is_dir() or list(REAL.glob("t10k-*"))),
    reason="set UNMASK_DATA to a folder that holds MNIST's four IDX files, in it or in its sub-folder mnist",
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no other place to look in."""
    monkeypatch.delenv("UNMASK_DATA", raising=False)
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / "cache" / project)
    return tmp_path / "cache" / "unmask"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """MNIST of 6 training and 3 test images, CIFAR-10 of 2 a file; 2 and 3 are held out."""
    for name, value in {"TRAINING": 6, "VALIDATION": 2, "TEST": 3}.items():
        monkeypatch.setattr(mnist, name, value)
    monkeypatch.setattr(cifar10, "RECORDS", 2)
    monkeypatch.setattr(cifar10, "VALIDATION", 3)


def a_dataset(count: int) -> Dataset:
    """Every image has its own label, so that images can be told apart."""
    names = tuple(map(str, range(count)))
    return Dataset(name="some", images=torch.rand(count, 1, 2, 2), labels=torch.arange(count), classes=names)


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(length.to_bytes(4) for length in array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_mnist(folder: Path, prefix: str, count: int, first_pixel: int = 0) -> None:
    """Image i has i // 256 and i % 256 as its last two pixels, and the label i % 10."""
    folder.mkdir(parents=True, exist_ok=True)
    images = np.zeros((count, 28, 28), np.uint8)
    images[:, 0, 0] = first_pixel
    images[:, 27, 26], images[:, 27, 27] = np.divmod(np.arange(count), 256)
    (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images), 1))
    (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(np.arange(count) % 10))


def positions(data: Dataset) -> list[int]:
    """Where in the file that ``write_mnist`` wrote each image lies."""
    high, low = (data.images[:, 0, 27, 26:] * 255).round().int().unbind(1)
    return (256 * high + low).tolist()


# --- Dataset and splits -----------------------------------------------------------------------------------------------

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


# --- IDX files --------------------------------------------------------------------------------------------------------

TINY = idx(np.zeros((2, 28, 28)))
ZIPPED = gzip.compress(TINY, mtime=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (ZIPPED[:-9], "expected a whole gzip file, got a truncated or damaged one"),
        (ZIPPED[:5], "expected a whole gzip file"),
        (b"\x1f\x8b" + bytes(40), "expected a whole gzip file"),
        (b"", "expected an IDX file with magic number 0x00000803, got 0x$"),
        (b"<!DOCTYPE html>", "magic number 0x00000803, got 0x3c21444f"),
        (idx(np.zeros(2)), "magic number 0x00000803, got 0x00000801"),
        (TINY[:-1], r"expected 1584 bytes as its header says \(shape \(2, 28, 28\)\), got 1583"),
        (TINY + b"!", r"expected 1584 bytes as its header says .*, got 1585"),
        (TINY[:7], "bytes as its header says .*, got 7"),
        (idx(np.zeros((2, 28, 27))), r"expected images of shape \(3, 28, 28\), got \(2, 28, 27\)"),
    ],
)
@pytest.mark.usefixtures("small")
def test_a_damaged_idx_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    write_mnist(tmp_path, "t10k", 3)
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(DataError, match=rf"t10k-images-idx3-ubyte.gz: .*{message}"):
        load("fashion-mnist", "test", data_dir=tmp_path, download=False)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("count", [2, 4])
def test_as_many_labels_as_images(tmp_path: Path, count: int) -> None:
    write_mnist(tmp_path, "train", 6)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(count)))
    with pytest.raises(DataError, match=rf"fashion-mnist: labels: expected one per image \(6\), got {count}"):
        load("fashion-mnist", "train", data_dir=tmp_path)


@pytest.mark.usefixtures("small")
def test_mnist_is_known_by_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(tmp_path, "t10k", 3)
    with pytest.raises(DataError, match=r"images-idx3-ubyte\.gz: expected MNIST's bytes \(SHA-256 0fa7898d.*replace"):
        load("mnist", "test", data_dir=tmp_path)
    for file in tmp_path.glob("t10k-*"):
        digest = hashlib.sha256(mnist.read_bytes(file)).hexdigest()
        monkeypatch.setitem(mnist.MNIST_SHA256, file.name.removesuffix(".gz"), digest)
    assert load("mnist", "test", data_dir=tmp_path).labels.tolist() == [0, 1, 2]
    with pytest.raises(DataError, match=r"expected fashion-mnist, got MNIST, whose files have the same names"):
        load("fashion-mnist", "test", data_dir=tmp_path)


def test_the_training_set_is_cut_at_50000(tmp_path: Path) -> None:
    write_mnist(tmp_path / "fashion-mnist", "train", 60_000)  # and no test files, which are not needed
    train = load("fashion-mnist", "train", data_dir=tmp_path, download=False)
    assert train.images.shape == (50_000, 1, 28, 28)
    assert train.classes[9] == "Ankle boot"
    held_out = load("fashion-mnist", "validation", data_dir=tmp_path, download=False)
    assert sorted(positions(train) + positions(held_out)) == list(range(60_000))
    assert held_out.labels.tolist() == [position % 10 for position in positions(held_out)]


@real_mnist
def test_real_mnist() -> None:
    data = load("mnist", "test", data_dir=REAL, download=False)
    assert data.images.shape == (10_000, 1, 28, 28)
    assert data.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert data.labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    both = load("mnist", "train+validation", data_dir=REAL, download=False)
    assert both.labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert both.images.mean().item() == pytest.approx(0.1307, abs=5e-5)
    assert torch.equal(load("mnist", "validation", data_dir=REAL).labels, both.labels[:10_000])


# --- where files are looked for, and the download ---------------------------------------------------------------------


@pytest.mark.usefixtures("small")
def test_the_nearest_files_win(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    near, middle = tmp_path / "near", tmp_path / "middle"
    find = partial(load, "fashion-mnist", "test", download=False)
    write_mnist(cache / "fashion-mnist", "t10k", 3, first_pixel=51)
    assert find().images[0, 0, 0, 0] == 0.2
    write_mnist(middle, "t10k", 3, first_pixel=102)
    monkeypatch.setenv("UNMASK_DATA", str(middle))
    assert find().images[0, 0, 0, 0] == 0.4
    near.mkdir()
    assert find(data_dir=near).images[0, 0, 0, 0] == 0.4
    write_mnist(near / "fashion-mnist", "t10k", 3, first_pixel=255)
    assert find(data_dir=near).images[0, 0, 0, 0] == 1


def test_missing_files_say_where_was_looked(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNMASK_DATA", str(tmp_path))
    (tmp_path / "t10k-labels-idx1-ubyte").touch()
    with pytest.raises(
        DataError, match=rf"mnist: t10k-images-idx3-ubyte, .* in {tmp_path}, {cache}; put .*{tmp_path}/mnis"
    ):
        load("mnist", "test", download=False)
    with pytest.raises(DataError, match=r"data_dir: expected a folder, got .*/nowhere"):
        load("mnist", "test", data_dir=tmp_path / "nowhere")
    monkeypatch.setenv("UNMASK_DATA", str(tmp_path / "none"))
    with pytest.raises(DataError, match=r"UNMASK_DATA: expected a folder, got .*/none"):
        load("cifar10", "test")


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and keeps no log."""

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """A folder, and the address under which its files can be downloaded."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # pooch waits before it tries again
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def published(site: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small data sets that can be downloaded, with the right checksums."""
    folder, url = site
    write_mnist(folder, "t10k", 3)
    labels = folder / "t10k-labels-idx1-ubyte"
    labels.with_suffix(".gz").write_bytes(gzip.compress(labels.read_bytes()))
    with tarfile.open(folder / "cifar-10-binary.tar.gz", "w:gz") as archive:
        for name, content in a_cifar().items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    md5 = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.glob("*.gz")}
    monkeypatch.setitem(mnist.SOURCES, "fashion-mnist", replace(mnist.SOURCES["fashion-mnist"], url=url, md5=md5))
    cifar_md5 = {"cifar-10-binary.tar.gz": md5.pop("cifar-10-binary.tar.gz")}
    monkeypatch.setattr(cifar10, "SOURCE", replace(cifar10.SOURCE, url=url, md5=cifar_md5))
    return folder


@pytest.mark.usefixtures("small")
def test_a_download_is_kept(published: Path, cache: Path) -> None:
    assert positions(load("fashion-mnist", "test")) == [0, 1, 2]
    assert load("cifar10", "test").labels.tolist() == [8, 9]
    for file in published.iterdir():
        file.unlink()
    assert positions(load("fashion-mnist", "test", download=False)) == [0, 1, 2]
    assert load("cifar10", "train+validation", download=False).images.shape == (10, 3, 32, 32)
    assert {path.name for path in cache.iterdir()} == {"fashion-mnist", "cifar10"}


@pytest.mark.usefixtures("small")
def test_a_wrong_checksum_leaves_nothing_behind(published: Path, cache: Path) -> None:
    (published / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"something else"))
    with pytest.raises(
        DataError, match=r"^fashion-mnist: could not download http://.*images-idx3-ubyte.gz \(MD5 hash .*\);.*$"
    ):
        load("fashion-mnist", "test")
    assert not list(cache.rglob("*ubyte*"))


def test_without_a_network_the_way_out_is_named(
    site: tuple[Path, str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, url = site
    monkeypatch.setattr(cifar10, "SOURCE", replace(cifar10.SOURCE, url=f"{url}gone/"))
    advice = f"put the files into {cache}/cifar10/cifar-10-batches-bin, or name the folder that has them .UNMASK_DATA"
    with pytest.raises(
        DataError, match=rf"^cifar10: could not download .*gone/cifar-10-binary.tar.gz \(404.*{advice}.$"
    ):
        load("cifar10", "test")
    monkeypatch.setitem(mnist.SOURCES, "mnist", replace(mnist.SOURCES["mnist"], url="http://127.0.0.1:9/"))
    with pytest.raises(
        DataError, match=rf"^mnist: could not download http://127.0.0.1:9/.*; put the files into {cache}/mnist.*$"
    ):
        load("mnist", "test")


# --- CIFAR-10 ---------------------------------------------------------------------------------------------------------


def a_cifar() -> dict[str, bytes]:
    """Two records a file with the labels 0 to 9, and 8 and 9 for the test; planes of 0, 51 and 255."""
    planes = np.repeat(np.array([0, 51, 255], np.uint8), 1024).tobytes()
    files = {f"data_batch_{number + 1}.bin": (2 * number, 2 * number + 1) for number in range(5)}
    files["test_batch.bin"] = (8, 9)
    content = {name: b"".join(bytes([label]) + planes for label in labels) for name, labels in files.items()}
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    return content | {"batches.meta.txt": "\n".join([*names, "", ""]).encode()}


@pytest.fixture
def cifar_folder(tmp_path: Path, small: None) -> Path:
    """The small CIFAR-10, unpacked."""
    for name, content in a_cifar().items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_cifar_records_are_label_red_green_blue(cifar_folder: Path) -> None:
    data = load("cifar10", "test", data_dir=cifar_folder)
    assert data.images.shape == (2, 3, 32, 32)
    assert torch.equal(data.images[:, :, 5, 7], torch.tensor([[0, 0.2, 1], [0, 0.2, 1]]))
    assert [data.classes[label] for label in data.labels] == ["ship", "truck"]
    train, held_out = (load("cifar10", split, data_dir=cifar_folder).labels for split in ("train", "validation"))
    assert len(held_out) == 3
    assert sorted(train.tolist() + held_out.tolist()) == list(range(10))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("test_batch.bin", bytes(3073), "test_batch.bin: expected 2 records of 3073 bytes, got 3073 bytes"),
        ("test_batch.bin", bytes(3 * 3073), "expected 2 records of 3073 bytes, got 9219 bytes"),
        ("test_batch.bin", b"\x0a" + bytes(6145), "cifar10: labels: expected integers from 0 to 9, got 10"),
        ("batches.meta.txt", b"cat dog", "batches.meta.txt: expected the names of 10 classes, got 2"),
    ],
)
def test_a_damaged_cifar_is_refused(cifar_folder: Path, file: str, content: bytes, message: str) -> None:
    (cifar_folder / file).write_bytes(content)
    with pytest.raises(DataError, match=message):
        load("cifar10", "test", data_dir=cifar_folder)


# --- the user's own ---------------------------------------------------------------------------------------------------


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
