"""Artefacts of a paper, published and measured: quantities with intervals over seeds, series, claims with verdicts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from unmask_experiments.sweeps import identify

ClaimVerdict = Literal["reproduced", "partly", "not reproduced", "open", "not judged"]
"""``"open"``: more seeds are needed; ``"not judged"``: runs that the claim needs are missing."""


@dataclass(frozen=True)
class Estimate:
    """A quantity that many runs give together, with its own 95 % interval.

    Example:
        >>> mean_with_interval(Estimate(0.5, 0.4, 0.6, runs=12))
        {'mean': 0.5, 'low': 0.4, 'high': 0.6, 'values': [0.5], 'runs': 12}
    """

    value: float
    low: float
    high: float
    runs: int


Values = Sequence[float]
"""One value per seed, in the order of the seeds."""


def mean_with_interval(values: Values | Estimate) -> dict[str, Any]:
    """Return the mean and its 95 % t-interval over seeds; with one seed there is no interval.

    Example:
        >>> mean_with_interval([1.0, 2.0, 3.0])["low"]
        -0.484
        >>> mean_with_interval([1.0])
        {'mean': 1.0, 'low': None, 'high': None, 'values': [1.0]}
    """
    if isinstance(values, Estimate):
        rounded = (float(f"{one:.6g}") for one in (values.value, values.low, values.high))
        value, low, high = rounded
        return {"mean": value, "low": low, "high": high, "values": [value], "runs": values.runs}
    kept = [float(f"{value:.6g}") for value in values]
    mean = math.fsum(kept) / len(kept)
    low, high = interval(kept)
    known = len(kept) > 1
    return {
        "mean": float(f"{mean:.6g}"),
        "low": round(low, 3) if known else None,
        "high": round(high, 3) if known else None,
        "values": kept,
    }


def interval(values: Values | Estimate) -> tuple[float, float]:
    """Return the 95 % t-interval of the mean; a single value is its own interval, and an estimate has its own."""
    if isinstance(values, Estimate):
        return values.low, values.high
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, mean
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))
    from scipy import stats  # takes 50 MB, which the processes that train have no use for

    half = float(stats.t.ppf(0.975, len(values) - 1)) * spread
    return mean - half, mean + half


def series_of(points: Mapping[float, Values]) -> dict[str, Any]:
    """Return a series: x, and at each x the mean, interval and values over seeds; an x without values is left out.

    Example:
        >>> series_of({0.1: [2.0], 0.2: []})["x"]
        [0.1]
    """
    rows = [(x, mean_with_interval(values)) for x, values in sorted(points.items()) if values]
    return {"x": [x for x, _ in rows]} | {
        key: [row[key] for _, row in rows] for key in ("mean", "low", "high", "values")
    }


@dataclass(frozen=True, kw_only=True)
class Predicate:
    """One predicate of a claim: a quantity on one side of a bound, in the unit named, over seeds.

    Example:
        >>> Predicate(what="error", values=[99.0, 99.5, 99.2], side="above", bound=98, unit="%").state
        'holds'
    """

    what: str
    values: Values | Estimate
    side: Literal["above", "below"]
    bound: float
    unit: str = "%"

    @property
    def state(self) -> Literal["holds", "open", "fails", "missing"]:
        """The state: the interval over seeds is on the right side of the bound, across it, or on the wrong side."""
        if not self.values:
            return "missing"
        low, high = interval(self.values)
        right, wrong = (low > self.bound, high <= self.bound)
        if self.side == "below":
            right, wrong = (high < self.bound, low >= self.bound)
        return "holds" if right else "fails" if wrong else "open"

    def __str__(self) -> str:
        """In words: ``error 99.2 % (98.6 to 99.9, n = 3), above 98 %: holds``."""
        expected = f"{self.side} {self.bound:g} {self.unit}".strip()
        if not self.values:
            return f"{self.what}: runs missing, expected {expected}"
        low, high = interval(self.values)
        known = mean_with_interval(self.values)
        mean, number = known["mean"], known.get("runs", len(known["values"]))
        spread = f"{low:.3g} to {high:.3g}, n = {number}" if number > 1 else "n = 1"
        return f"{self.what} {mean:.4g} {self.unit}".strip() + f" ({spread}), expected {expected}: {self.state}"


def judge(claim: str, *parts: Predicate, note: str = "") -> dict[str, str]:
    """Return a claim with its verdict: reproduced if every part holds, partly if one does, not reproduced if one fails.

    It is open where the interval of every part lies across its bound.

    Example:
        >>> judge("it rises", Predicate(what="rise", values=[2.0], side="above", bound=0, unit="points"))["verdict"]
        'reproduced'
    """
    states = [part.state for part in parts]
    verdict: ClaimVerdict = "not judged"
    if states and "missing" not in states:
        some: ClaimVerdict = "partly" if "holds" in states else "not reproduced" if "fails" in states else "open"
        verdict = "reproduced" if set(states) == {"holds"} else some
    evidence = "; ".join(map(str, parts)) + (f". {note}" if note else "")
    return {"claim": claim, "verdict": verdict, "evidence": evidence}


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A published value in a figure: a rectangle, a line, or a point, in the axes' units."""

    label: str
    x: tuple[float, float]
    y: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One pair of axes, with series and published values.

    Attributes:
        series: the beginning of the names of the series in it.
        marks: the published values.
        level: panels with the same one, if it is not empty, have one scale on the y axis.
        verticals: lines at some x, by their label.
    """

    title: str
    xlabel: str
    ylabel: str
    series: str = ""
    xscale: Literal["linear", "log"] = "linear"
    yscale: Literal["linear", "log"] = "linear"
    marks: Sequence[Mark] = ()
    style: Literal["line", "points"] = "line"
    level: str = ""
    verticals: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ArtefactContent:
    """The measured content of an artefact.

    Attributes:
        measured: the published keys, and further ones, to one value per seed.
        series: by name, x to one value per seed.
        claims: as ``judge`` returns them.
        images: grey pictures to draw instead of panels: name to rows of pixels in [0, 1].
        notes: a remark for the reader on a row or column of the table, by its name.
    """

    measured: Mapping[str, Values | Estimate] = field(default_factory=dict)
    series: Mapping[str, Mapping[float, Values]] = field(default_factory=dict)
    claims: Sequence[dict[str, str]] = ()
    images: Mapping[str, Sequence[Sequence[float]]] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)


class Runs:
    """The finished runs of a profile, asked for by what differs from it."""

    def __init__(self, found: Mapping[str, dict[str, Any]], profile: Any, seeds: int) -> None:
        """Take records by their configuration's name."""
        self.found, self.profile, self.seeds = found, profile, seeds
        self.asked: dict[str, Any] = {}

    def __call__(self, **settings: Any) -> list[dict[str, Any]]:
        """Return the results of the runs with these settings, in the order of their seeds, without the missing ones."""
        results = []
        for seed in range(self.seeds):
            config = replace(self.profile, seed=seed, **settings)
            name = identify(config)
            self.asked[name] = config
            if name in self.found:
                results.append(self.found[name]["result"])
        return results


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """One table, figure or statement of a paper.

    Attributes:
        name: the id without the paper's letter, e.g. ``"table2"``.
        shows: its subject, in a sentence.
        published: the paper's numbers, or its words where it gives none.
        needs: the configurations, with seed 0, that it is computed from.
        compute: from the runs to the content.
        story: its meaning, for the table of results; ``{key}`` stands for the measured quantity so called,
            ``{key, each}`` for its value at every seed.
        rows, columns: those of a table; the quantity ``"row column"`` is in its cell.
        over: the things that a table's intervals are over, and that n counts.
        means: columns about the making of runs, e.g. their seconds: the mean, without an interval.
        on_request: its runs are done only when it is named, since they need a machine that few have.
    """

    name: str
    shows: str
    published: Mapping[str, Any]
    needs: Callable[[Any], list[Any]]
    compute: Callable[[Runs], ArtefactContent]
    panels: Sequence[Panel] = ()
    story: str = ""
    rows: Sequence[str] = ()
    columns: Sequence[str] = ()
    over: str = "seeds"
    means: Sequence[str] = ()
    on_request: bool = False
