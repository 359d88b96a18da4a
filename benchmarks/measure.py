"""Time several ways to do one thing side by side, and say how they compare."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median, quantiles

from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What one benchmark measured.

    Attributes:
        name: what was done, with its sizes.
        seconds: of each contestant, what every round took; the first contestant is ours.
        checks: what shows that they did the same, in words.
        notes: what the reader must know.
    """

    name: str
    seconds: Mapping[str, list[float]]
    checks: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def ratio(self, contestant: str) -> tuple[float, float, float]:
        """How many times as long as ours it takes: ratio of the medians, and the quartiles of the rounds' ratios."""
        ours, theirs = next(iter(self.seconds.values())), self.seconds[contestant]
        rounds = [other / own for own, other in zip(ours, theirs, strict=True)]
        low, _, high = quantiles(rounds, n=4) if len(rounds) > 1 else rounds * 3
        return median(theirs) / median(ours), low, high

    def table(self) -> Table:
        """The medians and ratios, for people; the checks and notes belong below it."""
        rounds = len(next(iter(self.seconds.values())))
        table = Table("", "median, ms", "times ours", "quartiles", title=f"{self.name}, n = {rounds}")
        for contestant, seconds in self.seconds.items():
            ratio, low, high = self.ratio(contestant)
            table.add_row(contestant, f"{1000 * median(seconds):.1f}", f"{ratio:.2f}", f"{low:.2f} to {high:.2f}")
        return table

    def as_json(self) -> dict[str, object]:
        """The same for programs, with every round."""
        rows = {
            contestant: dict(zip(("ratio", "low", "high"), self.ratio(contestant), strict=True))
            | {"median": median(seconds), "seconds": seconds}
            for contestant, seconds in self.seconds.items()
        }
        return {"name": self.name, "contestants": rows, "checks": self.checks, "notes": self.notes}


def alternate(contestants: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, list[float]]:
    """Run each in turn, ``rounds`` times, after one round that does not count; returns the seconds of each.

    Who begins changes from round to round, so that nobody always runs on the warmer or the busier machine.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    names = list(contestants)
    for number in range(rounds + 1):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            begun = time.perf_counter()
            contestants[name]()
            if number:
                seconds[name].append(time.perf_counter() - begun)
    return seconds
