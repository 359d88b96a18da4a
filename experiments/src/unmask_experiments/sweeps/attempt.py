"""One configuration carried out in this process: its folder, its progress, and what came of it."""

from __future__ import annotations

import errno
import fcntl
import json
import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from unmask_experiments.sweeps.runs import SweepError, environment, identify

_NO_ROOM = (errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES, errno.EPERM)
"""What the system says where nothing can be written: it will say the same for every further configuration."""

C = TypeVar("C", contravariant=True)


class Run(Protocol[C]):
    """A function of a configuration (a frozen dataclass) that returns what JSON can hold."""

    def __call__(self, config: C, *, work: Path, progress: Callable[[float], None]) -> Mapping[str, Any]:
        """Work in the folder ``work``, which outlives a kill, and report the share that is done."""
        ...


def attempt(run: Run[C], config: C, work: Path, threads: int) -> dict[str, Any]:
    """Run one configuration; returns its result or its error, the seconds it took, and what it ran on.

    What it keeps in the work folder's ``checkpoint`` stays there until ``tidy``.

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
    return content | {"seconds": seconds, "environment": environment(threads)}


def tidy(work: Path, config: Any) -> None:
    """Remove the checkpoint of a configuration that has its record."""
    shutil.rmtree(work / identify(config) / "checkpoint", ignore_errors=True)


@contextmanager
def claimed(work: Path, config: Any, *, wait: bool = False) -> Iterator[bool]:
    """Hold a run's folder; yields whether it could be had. The system lets go of it however the process ends."""
    place = work / identify(config)
    place.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


def progress_of(work: Path, config: Any) -> tuple[float, float]:
    """The share done and the seconds spent, as the run last wrote them."""
    return _progress(work / identify(config))


def _progress(place: Path) -> tuple[float, float]:
    try:
        share, seconds = (place / "progress").read_text().split()
        return float(share), float(seconds)
    except (OSError, ValueError):
        return 0.0, 0.0


def _seconds_so_far(place: Path) -> float:
    return _progress(place)[1] if (place / "checkpoint").is_dir() else 0.0
