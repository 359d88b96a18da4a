"""Write a file whole or not at all, and lock one against other processes."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["LockedError", "lock", "write_atomically"]

_NO_SYNC = (errno.EACCES, errno.EPERM, errno.EINVAL, errno.ENOTSUP)
"""Errors of a folder that may be written to but not opened, and of file systems that cannot write one to the disk."""


class LockedError(RuntimeError):
    """Another process holds the lock.

    Example:
        >>> issubclass(LockedError, RuntimeError)
        True
    """


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a crash at any instant leaves the old file or the new one, whole.

    The content goes to a new file beside it, with a random name; no link is followed. That file is written to the disk
    and then renamed, and the folder is written to the disk. Missing folders are made. Of several writers at once, one
    wins. A link at ``path`` is replaced by the file.

    Raises:
        OSError: the folder cannot be written or the disk is full; nothing is left behind.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_atomically(Path(folder) / "new" / "one.txt", b"1")
        ...     (Path(folder) / "new" / "one.txt").read_bytes()
        b'1'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(unfinished, flags, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Write a folder's entries to the disk, where the system and the file system know how; Windows does not."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


@contextmanager
def lock(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a lock on a file that no other process can hold; the system frees it however this process ends.

    This process may hold it several times. The file stays behind.

    Args:
        path: the file, which is made if it is missing; its folder must be there.
        wait: wait until the lock is free.

    Raises:
        LockedError: another process holds it, and it is not to be waited for.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, lock(Path(folder) / "lock"):
        ...     (Path(folder) / "lock").is_file()
        True
    """
    import filelock  # takes longer to load than all else here

    held = filelock.FileLock(path, thread_local=False, is_singleton=True)
    try:
        held.acquire(timeout=-1 if wait else 0)
    except filelock.Timeout as error:
        raise LockedError(f"{path}: expected a lock that no other process holds, got one that is held") from error
    try:
        yield
    finally:
        held.release()
