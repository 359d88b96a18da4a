"""Files of the built-in data sets: damaged ones are refused with one clear line, missing ones are downloaded."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import sys
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

from unmask.data import DataError, Dataset, cifar10, load, mnist

REAL = Path(os.environ.get("UNMASK_DATA") or "nowhere")
real_mnist = pytest.mark.skipif(
    not ((REAL / "mnist").is_dir() or list(REAL.glob("t10k-*"))),
    reason="set UNMASK_DATA to a folder that holds MNIST's four IDX files, in it or in its sub-folder mnist",
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no other place to look in."""
    monkeypatch.delenv("UNMASK_DATA", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_path", lambda project: tmp_path / "cache" / project)
    return tmp_path / "cache" / "unmask"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """MNIST of 6 training and 3 test images, CIFAR-10 of 2 a file; 2 and 3 are held out."""
    for name, value in {"TRAINING": 6, "VALIDATION": 2, "TEST": 3}.items():
        monkeypatch.setattr(mnist, name, value)
    monkeypatch.setattr(cifar10, "RECORDS", 2)
    monkeypatch.setattr(cifar10, "VALIDATION", 3)


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
    """Return the number of each image in the file that ``write_mnist`` wrote."""
    high, low = (data.images[:, 0, 27, 26:] * 255).round().int().unbind(1)
    return (256 * high + low).tolist()


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


@pytest.mark.usefixtures("small")
def test_files_that_lie_ready_need_no_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("pooch", "platformdirs"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DataError, match=r"not found together in any folder; name the folder that has them \(UNMASK_D"):
        load("fashion-mnist", "test", download=False)
    with pytest.raises(DataError, match=r"^fashion-mnist: downloading it needs pooch: pip install 'unmask\[data\]'$"):
        load("fashion-mnist", "test")
    write_mnist(tmp_path, "t10k", 3)
    monkeypatch.setenv("UNMASK_DATA", str(tmp_path))
    assert positions(load("fashion-mnist", "test")) == [0, 1, 2]


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
