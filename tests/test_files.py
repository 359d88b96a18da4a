"""Files that are written whole or not at all, and locks between processes."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from unmask import files
from unmask.files import LockedError, lock, write_atomically


def test_an_old_file_is_replaced_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "new" / "folder" / "one"
    write_atomically(path, b"old, and longer")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["one"]


def test_of_many_writers_at_once_one_wins_whole(tmp_path):
    contents = [bytes([number]) * 100_000 for number in range(16)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: write_atomically(tmp_path / "one", content), contents))
    assert (tmp_path / "one").read_bytes() in contents
    assert os.listdir(tmp_path) == ["one"]


@pytest.mark.parametrize("dangling", [False, True])
def test_a_planted_link_is_not_followed(dangling, tmp_path, monkeypatch):
    """The name of the unfinished file is guessed here, and a link to the victim planted there."""
    victim = tmp_path / "victim"
    if not dangling:
        victim.write_bytes(b"precious")
    monkeypatch.setattr(files.secrets, "token_hex", lambda count: "guessed")
    (tmp_path / ".one.guessed").symlink_to(victim)
    with pytest.raises(FileExistsError):
        write_atomically(tmp_path / "one", b"new")
    assert not (tmp_path / "one").exists()
    assert (tmp_path / ".one.guessed").is_symlink()
    assert not victim.exists() if dangling else victim.read_bytes() == b"precious"


def test_a_link_in_the_place_of_the_file_is_replaced(tmp_path):
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "one").symlink_to(tmp_path / "victim")
    write_atomically(tmp_path / "one", b"new")
    assert not (tmp_path / "one").is_symlink()
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_the_file_is_on_the_disk_before_it_has_its_name_and_the_folder_after(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, files.Path.replace

    def synced(descriptor):
        events.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(files.Path, "replace", lambda old, new: (events.append("name"), replace(old, new))[1])
    write_atomically(tmp_path / "one", b"new")
    assert events == (["file", "name", "folder"] if sys.platform == "linux" else events)


def test_a_system_without_links_and_open_folders_is_served(tmp_path, monkeypatch):
    """Windows has neither of the two flags."""
    monkeypatch.delattr(os, "O_NOFOLLOW", raising=False)
    monkeypatch.delattr(os, "O_DIRECTORY", raising=False)
    write_atomically(tmp_path / "one", b"new")
    assert (tmp_path / "one").read_bytes() == b"new"


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=["disk full", "interrupted"])
@pytest.mark.parametrize("at", ["open", "fsync", "replace"])
@pytest.mark.parametrize("old", [b"old", None])
def test_an_interruption_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, error, at, old):
    path = tmp_path / "file"
    if old:
        path.write_bytes(old)

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(files.Path if at == "replace" else os, at, fail)
    with pytest.raises(type(error)):
        write_atomically(path, b"new")
    monkeypatch.undo()
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == ({"file": old} if old else {})


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        write_atomically(tmp_path / "file" / "below", b"")


@pytest.mark.skipif(os.name == "nt", reason="files have no modes there")
def test_it_can_be_read_by_those_whom_the_umask_allows(tmp_path):
    write_atomically(tmp_path / "one", b"")
    (tmp_path / "two").write_bytes(b"")
    assert (tmp_path / "one").stat().st_mode == (tmp_path / "two").stat().st_mode


# --- locks

OTHER = """
import sys
from pathlib import Path
from unmask.files import LockedError, lock
try:
    with lock(Path(sys.argv[1])):
        print("free", flush=True)
except LockedError:
    print("held", flush=True)
"""


def other_process_finds(path):
    return subprocess.run(
        [sys.executable, "-c", OTHER, str(path)], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_a_lock_is_held_against_other_processes_until_it_is_left(tmp_path):
    with lock(tmp_path / "lock"):
        with lock(tmp_path / "lock"):  # this process may hold it twice
            pass
        assert other_process_finds(tmp_path / "lock") == "held"
    assert other_process_finds(tmp_path / "lock") == "free"
    with lock(tmp_path / "lock", wait=True):
        assert other_process_finds(tmp_path / "lock") == "held"


def test_a_lock_is_freed_when_its_process_is_killed(tmp_path):
    holder = OTHER.replace('print("free", flush=True)', 'print("free", flush=True); sys.stdin.read()')
    run = [sys.executable, "-c", holder, str(tmp_path / "lock")]
    with subprocess.Popen(run, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "free\n"
        with pytest.raises(LockedError, match="lock: expected a lock that no other process"), lock(tmp_path / "lock"):
            raise AssertionError
        process.kill()
        process.wait()
        with lock(tmp_path / "lock"):
            pass
