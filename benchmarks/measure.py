"""Time several ways to do one thing side by side, and say how they compare."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median, quantiles

from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The result of one benchmark.

    Attributes:
        name: the work, with its sizes.
        seconds: of each candidate, the seconds of every round; the first candidate is ours.
        checks: evidence that they did the same, in words.
        notes: remarks for the reader.
    """

    name: str
    seconds: Mapping[str, list[float]]
    checks: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def ratio(self, candidate: str) -> tuple[float, float, float]:
        """Return its time over ours: the ratio of the medians, and the quartiles of the rounds' ratios."""
        ours, theirs = next(iter(self.seconds.values())), self.seconds[candidate]
        rounds = [other / own for own, other in zip(ours, theirs, strict=True)]
        low, _, high = quantiles(rounds, n=4) if len(rounds) > 1 else rounds * 3
        return median(theirs) / median(ours), low, high

    def table(self) -> Table:
        """Return the medians and ratios as a table; the checks and notes belong below it."""
        rounds = len(next(iter(self.seconds.values())))
        table = Table("", "median, ms", "times ours", "quartiles", title=f"{self.name}, n = {rounds}")
        for candidate, seconds in self.seconds.items():
            ratio, low, high = self.ratio(candidate)
            table.add_row(candidate, f"{1000 * median(seconds):.1f}", f"{ratio:.2f}", f"{low:.2f} to {high:.2f}")
        return table

    def as_json(self) -> dict[str, object]:
        """Return the same as JSON values, with every round."""
        rows = {
            candidate: dict(zip(("ratio", "low", "high"), self.ratio(candidate), strict=True))
            | {"median": median(seconds), "seconds": seconds}
            for candidate, seconds in self.seconds.items()
        }
        return {"name": self.name, "contestants": rows, "checks": self.checks, "notes": self.notes}


def alternate(candidates: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, list[float]]:
    """Run each in turn, ``rounds`` times, after one round that does not count; return the seconds of each.

    The order changes from round to round, so that no candidate always runs on the warmer or the busier machine.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    names = list(candidates)
    for number in range(rounds + 1):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            begun = time.perf_counter()
            candidates[name]()
            if number:
                seconds[name].append(time.perf_counter() - begun)
    return seconds
