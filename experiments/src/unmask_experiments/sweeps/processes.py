"""Map a function over configurations, with one record on disk for each; an interrupted sweep is resumed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from joblib import Parallel, cpu_count, delayed

from unmask.files import write_atomically
from unmask_experiments.sweeps.cluster import on_cluster
from unmask_experiments.sweeps.execution import C, Run, execute, locked, tidy
from unmask_experiments.sweeps.progress import ProgressCallback, progress_reported
from unmask_experiments.sweeps.runs import SweepError, read_run, record_of, write_run


def sweep(
    run: Run[C],
    configs: Sequence[C],
    *,
    folder: Path,
    work: Path,
    jobs: int = 1,
    threads: int | None = None,
    ray: str | None = None,
    cost: Callable[[C], float] = lambda config: 1.0,
    on_progress: ProgressCallback | None = None,
) -> list[Path]:
    """Run every configuration that has no record yet; return the paths of the records of all that succeeded.

    A configuration that fails leaves ``HASH.failed.json`` with its error, and the rest goes on; the next sweep tries it
    again. Two sweeps at once on one folder share the work: each leaves out a configuration that the other has begun.

    Args:
        run: called in a process of its own; its work folder's ``checkpoint`` is removed when it has finished.
        folder: the folder of the records.
        work: the folder in which each run has a folder of its own, named as its record.
        jobs: number of local processes; ``threads`` of each are by default the cores, or ``$OMP_NUM_THREADS``,
            divided by them.
        ray: the address of a running Ray cluster; ``jobs`` is then ignored, and ``threads`` is 1 by default.
        cost: the relative length of a run, for ``on_progress``.
        on_progress: called about once a second with the share of the whole sweep that is done.

    Raises:
        SweepError: a folder cannot be written, the disk is full, or the cluster cannot be reached.
        ValueError: a record is damaged, or ``jobs`` is below 1.
    """
    if jobs < 1:
        raise ValueError(f"jobs: expected at least 1, got {jobs}")
    for place in (folder, work):
        _check_writable(place)
    open_ones = [config for config in configs if not _finished(folder, config)]
    with progress_reported(configs, folder=folder, work=work, cost=cost, on_progress=on_progress):
        if open_ones and ray is not None:
            on_cluster(run, open_ones, address=ray, folder=folder, work=work, threads=threads or 1)
        elif open_ones:
            _locally(run, open_ones, folder, work, jobs, threads or max(1, _cores() // jobs))
    return [path for config in configs if (path := record_of(folder, config)).is_file()]


def _locally(run: Run[C], configs: Sequence[C], folder: Path, work: Path, jobs: int, threads: int) -> None:
    parallel = Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1, pre_dispatch=jobs)
    for _ in parallel(delayed(_one)(run, config, folder, work, threads) for config in configs):
        pass


def _one(run: Run[C], config: C, folder: Path, work: Path, threads: int) -> None:
    """Run one configuration in this process and write its record, unless it has one or is running elsewhere."""
    with locked(work, config) as mine:
        if mine and not _finished(folder, config):
            content = execute(run, config, work, threads)
            write_run(folder, config, content)
            if content["error"] is None:
                tidy(work, config)


def _cores() -> int:
    """Return the number of threads that this process may use in all."""
    return int(os.environ.get("OMP_NUM_THREADS") or cpu_count())


def _finished(folder: Path, config: Any) -> bool:
    path = record_of(folder, config)
    return path.is_file() and bool(read_run(path))


def _check_writable(folder: Path) -> None:
    try:
        write_atomically(folder / ".writable", b"")
        (folder / ".writable").unlink()
    except OSError as error:
        raise SweepError(f"{folder}: expected a folder that can be written, got {error.strerror}") from error
