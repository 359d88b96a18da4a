"""Map a function over configurations in local processes, each outcome a record on disk: a killed sweep goes on."""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import shutil
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from joblib import Parallel, delayed
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from unmask.record import write_atomically
from unmask.sweeps.runs import SweepError, identify, read_run, write_run

_NO_ROOM = (errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES, errno.EPERM)
"""What the system says where nothing can be written: it will say the same for every further configuration."""

C = TypeVar("C", contravariant=True)


class Run(Protocol[C]):
    """A function of a configuration (a frozen dataclass) that returns what JSON can hold."""

    def __call__(self, config: C, *, work: Path, progress: Callable[[float], None]) -> Mapping[str, Any]:
        """Work in the folder ``work``, which outlives a kill, and report the share that is done."""
        ...


def sweep(
    run: Run[C],
    configs: Sequence[C],
    *,
    folder: Path,
    work: Path,
    jobs: int = 1,
    threads: int | None = None,
    cost: Callable[[C], float] = lambda config: 1.0,
    report: Callable[[float], None] | None = None,
) -> list[Path]:
    """Run every configuration that has no record yet; returns the paths of the records of all that succeeded.

    A configuration that fails leaves ``HASH.failed.json`` with its error, and the rest goes on; the next sweep tries it
    again. Two sweeps at once on one folder share the work: a configuration that one has begun, the other leaves out.

    Args:
        run: called in a process of its own; what it keeps in its work folder ``checkpoint`` goes once it has finished.
        folder: where the records go.
        work: where each run has a folder of its own, named as its record.
        jobs: how many processes; ``threads`` of each are by default the cores, or ``$OMP_NUM_THREADS``,
            divided by them.
        cost: the relative length of a run, for ``report``.
        report: called about once a second with the share of the whole sweep that is done.

    Raises:
        SweepError: a folder cannot be written, or the disk is full.
        ValueError: a record is damaged, or ``jobs`` is below 1.
    """
    if jobs < 1:
        raise ValueError(f"jobs: expected at least 1, got {jobs}")
    for place in (folder, work):
        _check_writable(place)
    open_ones = [config for config in configs if not _finished(folder, config)]
    threads = threads or max(1, _cores() // jobs)
    with _reporting(open_ones, configs, work, cost, report):
        parallel = Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1, pre_dispatch=jobs)
        for _ in parallel(delayed(_one)(run, config, folder, work, threads) for config in open_ones):
            pass
    return [path for config in configs if (path := folder / f"{identify(config)}.json").is_file()]


def _one(run: Run[C], config: C, folder: Path, work: Path, threads: int) -> None:
    """Run one configuration in this process and write its record, unless it has one or is running elsewhere."""
    place = work / identify(config)
    place.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(threads)
    with _claimed(place) as mine:
        if not mine or _finished(folder, config):
            return
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
                raise SweepError(f"{error}; finished records are safe in {folder}") from error
            content["error"] = {"type": type(error).__name__, "message": str(error), "trace": traceback.format_exc()}
        content["seconds"] = round(before + time.monotonic() - started, 1)
        write_run(folder, config, content, threads=threads)
        if content["error"] is None:
            shutil.rmtree(place / "checkpoint", ignore_errors=True)


def _cores() -> int:
    """How many threads this process may use in all."""
    return int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))


def _finished(folder: Path, config: Any) -> bool:
    path = folder / f"{identify(config)}.json"
    return path.is_file() and bool(read_run(path))


def _check_writable(folder: Path) -> None:
    try:
        write_atomically(folder / ".writable", b"")
        (folder / ".writable").unlink()
    except OSError as error:
        raise SweepError(f"{folder}: expected a folder that can be written, got {error.strerror}") from error


@contextmanager
def _claimed(place: Path) -> Iterator[bool]:
    """Hold a run's folder: the system lets go of it when the process ends, however it ends."""
    with (place / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _progress(place: Path) -> tuple[float, float]:
    """The share done and the seconds spent, as the run last wrote them."""
    try:
        share, seconds = (place / "progress").read_text().split()
        return float(share), float(seconds)
    except (OSError, ValueError):
        return 0.0, 0.0


def _seconds_so_far(place: Path) -> float:
    return _progress(place)[1] if (place / "checkpoint").is_dir() else 0.0


@contextmanager
def _reporting(
    open_ones: Sequence[Any],
    configs: Sequence[Any],
    work: Path,
    cost: Callable[[Any], float],
    report: Callable[[float], None] | None,
) -> Iterator[None]:
    """Call ``report`` about once a second, and at the end."""
    if report is None:
        yield
        return
    total = math.fsum(map(cost, configs)) or 1.0
    before = math.fsum(map(cost, configs)) - math.fsum(map(cost, open_ones))
    over = threading.Event()

    def watch() -> None:
        while not over.wait(1.0):
            running = math.fsum(cost(one) * _progress(work / identify(one))[0] for one in open_ones)
            report((before + running) / total)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
        report(1.0)
    finally:
        over.set()
        watcher.join()


@contextmanager
def progress_bar(title: str, *, console: Console | None = None) -> Iterator[Callable[[float], None]]:
    """A bar with the time left, for ``report``; where the output is no terminal nothing is drawn.

    Example:
        >>> import io
        >>> with progress_bar("runs", console=Console(file=io.StringIO())) as report:
        ...     report(0.5)
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %"))
    times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    console = console or Console(stderr=True)
    with Progress(*columns, *times, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=1.0)
        yield lambda share: bar.update(task, completed=share)
