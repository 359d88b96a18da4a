"""How far a whole sweep is: a number once a second, and a bar with the time left."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from unmask_experiments.sweeps.attempt import progress_of
from unmask_experiments.sweeps.runs import record_of

Report = Callable[[float], None]
"""Called with the share of a sweep that is done."""


@contextmanager
def reporting(
    configs: Sequence[Any], *, folder: Path, work: Path, cost: Callable[[Any], float], report: Report | None
) -> Iterator[None]:
    """Call ``report`` about once a second, and at the end.

    A configuration counts by its cost: in full once it has a record, before that by what it wrote into ``work``. On a
    cluster whose nodes do not share that folder only the records count.
    """
    if report is None:
        yield
        return
    total = math.fsum(map(cost, configs)) or 1.0
    over = threading.Event()

    def done(config: Any) -> float:
        return 1.0 if record_of(folder, config).is_file() else progress_of(work, config)[0]

    def watch() -> None:
        while not over.wait(1.0):
            report(math.fsum(cost(one) * done(one) for one in configs) / total)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
        report(1.0)
    finally:
        over.set()
        watcher.join()


@contextmanager
def progress_bar(title: str, *, console: Console | None = None) -> Iterator[Report]:
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
