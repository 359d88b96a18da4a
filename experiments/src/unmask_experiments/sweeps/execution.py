"""One configuration run in this process: its folder, its progress, and its result or error."""

from __future__ import annotations

import errno
import json
import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from filelock import FileLock, Timeout

from unmask_experiments.sweeps.runs import SweepError, identify, run_environment

_NO_ROOM = (errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES, errno.EPERM)
"""Errors of a place where nothing can be written: every further configuration would meet the same."""

C = TypeVar("C", contravariant=True)


class Run(Protocol[C]):
    """A function of a configuration (a frozen dataclass) that returns values which JSON can hold."""

    def __call__(self, config: C, *, work: Path, progress: Callable[[float], None]) -> Mapping[str, Any]:
        """Work in the folder ``work``, which outlives a kill, and report the share that is done."""
        ...


def execute(run: Run[C], config: C, work: Path, threads: int) -> dict[str, Any]:
    """Run one configuration; return its result or its error, the seconds it took, and its environment.

    The files in the work folder's ``checkpoint`` stay there until ``tidy`` removes them.

    Raises:
        SweepError: nothing can be written here.
    """
    place = work / identify(config)
    place.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(threads)
    before, started = _seconds_so_far(place), time.monotonic()
    content: dict[str, Any] = {"error": None, "result": None}

    def progress(share: float) -> None:
        (place / "progress").write_text(f"{share:.6f} {before + time.monotonic() - started:.1f}")

    try:
        result = run(config, work=place, progress=progress)
        json.dumps(result, allow_nan=False)
        content["result"] = result
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            raise SweepError(f"{error}; finished records are safe") from error
        content["error"] = {"type": type(error).__name__, "message": str(error), "trace": traceback.format_exc()}
    seconds = round(before + time.monotonic() - started, 1)
    return content | {"seconds": seconds, "environment": run_environment(threads)}


def tidy(work: Path, config: Any) -> None:
    """Remove the checkpoint of a configuration that has its record."""
    shutil.rmtree(work / identify(config) / "checkpoint", ignore_errors=True)


@contextmanager
def locked(work: Path, config: Any, *, wait: bool = False) -> Iterator[bool]:
    """Lock a run's folder; yield False if another process has it. The lock ends with the process, however it ends.

    Args:
        wait: wait until the folder is free.
    """
    place = work / identify(config)
    place.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place / "lock", timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def progress_of(work: Path, config: Any) -> tuple[float, float]:
    """Return the share done and the seconds spent, as the run last wrote them."""
    return _progress(work / identify(config))


def _progress(place: Path) -> tuple[float, float]:
    try:
        share, seconds = (place / "progress").read_text().split()
        return float(share), float(seconds)
    except (OSError, ValueError):
        return 0.0, 0.0


def _seconds_so_far(place: Path) -> float:
    return _progress(place)[1] if (place / "checkpoint").is_dir() else 0.0
