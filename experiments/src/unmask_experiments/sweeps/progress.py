"""The share of a sweep that is done: a number once a second, and a bar with the time left."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from unmask_experiments.sweeps.execution import progress_of
from unmask_experiments.sweeps.runs import record_of

ProgressCallback = Callable[[float], None]
"""Called with the share of a sweep that is done."""


@contextmanager
def progress_reported(
    configs: Sequence[Any],
    *,
    folder: Path,
    work: Path,
    cost: Callable[[Any], float],
    on_progress: ProgressCallback | None,
) -> Iterator[None]:
    """Call ``on_progress`` about once a second, and at the end.

    A configuration counts by its cost: in full once it has a record, before that by the share that it wrote into
    ``work``. On a cluster whose nodes do not share that folder only the records count.
    """
    if on_progress is None:
        yield
        return
    total = math.fsum(map(cost, configs)) or 1.0
    over = threading.Event()

    def done(config: Any) -> float:
        return 1.0 if record_of(folder, config).is_file() else progress_of(work, config)[0]

    def watch() -> None:
        while not over.wait(1.0):
            on_progress(math.fsum(cost(one) * done(one) for one in configs) / total)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
        on_progress(1.0)
    finally:
        over.set()
        watcher.join()


@contextmanager
def share_bar(title: str, *, console: Console | None = None) -> Iterator[ProgressCallback]:
    """Show a bar with the time left and yield the callback that moves it; without a terminal nothing is drawn.

    Example:
        >>> import io
        >>> with share_bar("runs", console=Console(file=io.StringIO())) as on_progress:
        ...     on_progress(0.5)
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %"))
    times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    console = console or Console(stderr=True)
    with Progress(*columns, *times, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=1.0)
        yield lambda share: bar.update(task, completed=share)
