"""The clock of an audit: the time budget, the work done so far, and the progress that is told."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

Progress = Callable[[str, float], None]
"""Called with the stage's name and the share of all work that has been done, in [0, 1]."""


@dataclass(kw_only=True)
class Clock:
    """Time and work of an audit. Work is counted in gradients: one for each image and step.

    Attributes:
        seconds: the time budget; None for none.
        progress: called as work is done.
        expected: the work foreseen; work beyond it stretches the whole.
        done: the work done.

    Example:
        >>> clock = Clock(expected=100)
        >>> clock.work("many steps", cost=40)(2)
        >>> clock.done
        80.0
    """

    seconds: float | None = None
    progress: Progress | None = None
    expected: float = 1.0
    done: float = 0.0
    _told: float = 0.0
    _started: float = field(default_factory=time.perf_counter)

    def spent(self) -> float:
        """Return the seconds since the clock was made."""
        return time.perf_counter() - self._started

    @property
    def late(self) -> bool:
        """True once the time budget is spent."""
        return self.seconds is not None and self.spent() > self.seconds

    def allows(self, work: float) -> bool:
        """Return whether so much work will presumably end within the budget, at the speed so far."""
        if self.seconds is None or not self.done:
            return True
        spent = self.spent()
        return spent + work * spent / self.done <= self.seconds

    def work(self, stage: str, *, cost: float) -> Callable[[int], None]:
        """Return what a stage calls with the number of images that it has finished, each at ``cost`` gradients."""

        def advance(images: int) -> None:
            self.done += images * cost
            self._told = max(self._told, min(self.done / max(self.expected, self.done), 1.0))
            if self.progress:
                self.progress(stage, self._told)

        return advance

    def close(self) -> None:
        """Tell that all work is done."""
        if self.progress and self._told < 1:
            self._told = 1.0
            self.progress("done", 1.0)
