"""From timings to table 7 of Vivek et al. 2019: ratios to normal training, and shares of the processor's peak."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from unmask_experiments.artefact import ArtefactContent, Estimate, Runs, judge
from unmask_experiments.quantities import Result
from unmask_experiments.vivek2019 import grid
from unmask_experiments.vivek2019.cells import Cells, above, below, results_of
from unmask_experiments.vivek2019.config import Config, updates_per_epoch

BARE = ("bare loop", "bare loop, channels last")
NAMES = ("MNIST", "CIFAR-10")


def table7(runs: Runs) -> ArtefactContent:
    """Seconds per pass and their ratios to normal training's."""
    cells = times(runs, "MNIST") | times(runs, "CIFAR-10")
    keys = {f"{row} MNIST ratio": bound for row, bound in (("fgsm_only", 1.85), ("proposed", 3.6), ("pgd", 29))}
    same = [f"normal over the best bare loop, {name}" for name in NAMES]
    cells = {key: [] for key in (*keys, *same, "pgd over proposed")} | cells
    return ArtefactContent(
        measured=cells,
        claims=[
            judge(
                "on MNIST a method's pass takes little more than what it consists of",
                *(below(cells, key, bound, "") for key, bound in keys.items()),
                note="; ".join(said for name in NAMES for said in _machine(runs, name)),
            ),
            judge(
                "on MNIST the proposed training takes at most a fifth of PGD training's time (published: a sixth)",
                above(cells, "pgd over proposed", 5, ""),
            ),
            judge("normal training is as fast as the best bare loop", *(below(cells, key, 1.05, "") for key in same)),
        ],
    )


def _machine(runs: Runs, name: str) -> list[str]:
    """Describe the machine of the timing, if there is one."""
    return [
        f"{name}: {result['threads']} threads ({result['device']}), {result['precision']}, peak "
        f"{result['peak'] / 1e9:.0f} GFLOP/s"
        for result in _timed(runs, name)
    ]


def _timed(runs: Runs, name: str) -> list[Result]:
    """The timing on this data set, if there is one."""
    return results_of(runs, _config(runs, name))[:1]


def _config(runs: Runs, name: str) -> Config:
    return grid.timings(runs.profile)[NAMES.index(name)]


def times(runs: Runs, name: str) -> Cells:
    """Seconds per pass, their ratio to normal training's, and shares of the peak, on one data set of ``NAMES``."""
    cells = Cells()
    for result in _timed(runs, name):
        cells |= _cells(name, result, updates_per_epoch(_config(runs, name)))
        best = min(BARE, key=lambda one: median(result["seconds"][one]))
        cells[f"normal over the best bare loop, {name}"] = _ratio(result, "normal", best)
    return cells


def _cells(name: str, result: Result, updates: int) -> Cells:
    cells = Cells()
    for row, measured in result["seconds"].items():
        cells[f"{row} {name} seconds"] = _spread([updates * one for one in measured])
        cells[f"{row} {name} ratio"] = _ratio(result, row, "normal")
        cells[f"{row} {name} by passes"] = [result["passes"][row] / result["passes"]["normal"]]
        work = result["passes"][row] * result["operations"] * result["batch"]
        cells[f"{row} {name} share of peak"] = _spread([100 * work / one / result["peak"] for one in measured])
    if name == "MNIST":
        cells["pgd over proposed"] = _ratio(result, "pgd", "proposed")
    return cells


def _ratio(result: Result, row: str, other: str) -> Estimate:
    """Of the seconds in each round."""
    pairs = zip(result["seconds"][row], result["seconds"][other], strict=True)
    return _spread([one / two for one, two in pairs])


def _spread(rounds: Sequence[float]) -> Estimate:
    """The median over the rounds with its 95 % interval by order statistics, or their range where they are too few."""
    from scipy import stats  # takes 50 MB, which the processes that train have no use for

    interval = stats.quantile_test(rounds, q=median(rounds), p=0.5).confidence_interval(0.95)
    low, high = (float(one) for one in interval)
    low = min(rounds) if math.isnan(low) else low
    high = max(rounds) if math.isnan(high) else high
    return Estimate(median(rounds), low, high, runs=len(rounds))
