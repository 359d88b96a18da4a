"""The progress bar of the commands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ProgressBar", "progress_bar"]


class ProgressBar:
    """One bar: ``stage`` says what is done and its share of the whole, ``advance`` adds to the work done.

    Example:
        >>> with progress_bar("attack", total=10) as bar:
        ...     bar.advance(4)
        ...     bar.done
        4.0
    """

    def __init__(self, update: Callable[..., None], total: float) -> None:
        """Draw by ``update``, of which ``rich`` tells the arguments."""
        self._update, self.total, self.done = update, total, 0.0

    def advance(self, work: float) -> None:
        """Add to the work done."""
        self.reach(self.done + work)

    def reach(self, done: float) -> None:
        """Set the work done."""
        self.done = done
        self._update(completed=done)

    def stage(self, name: str, share: float) -> None:
        """Set what is done now, and the share of the whole that is done."""
        self.done = share * self.total
        self._update(description=name, completed=self.done)


@contextmanager
def progress_bar(title: str, *, total: float = 1.0) -> Iterator[ProgressBar]:
    """Show a bar with the time left, on standard error; it is gone when done.

    Args:
        title: what is being done.
        total: the work to do, in any unit.
    """
    from functools import partial

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield ProgressBar(partial(progress.update, progress.add_task(title, total=total)), total)
