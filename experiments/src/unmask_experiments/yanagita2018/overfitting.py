"""Beyond Yanagita & Yamamura 2018: the margin and the generalisation gap as causes of masking, separated."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from unmask_experiments.artefact import Artefact, ArtefactContent, Estimate, Panel, Predicate, Runs, Values, judge
from unmask_experiments.quantities import gap, natural, rank_correlation, regime, share
from unmask_experiments.yanagita2018.optimizers import optimizers
from unmask_experiments.yanagita2018.rates import RATES, rates
from unmask_experiments.yanagita2018.runs import Config

Rows = Sequence[Mapping[str, Any]]
"""One row per moment."""

VARIATIONS: Mapping[str, Mapping[str, Any]] = {
    "5,000 training images": {"train_images": 5_000},
    "20 % label noise": {"label_noise": 0.2},
    "L2 0.0001": {"l2": 0.0001},
    "L2 0.001": {"l2": 0.001},
}
"""Settings that move the generalisation gap or the margin, at 0.01 and 0.001."""

VARIATION_UPDATES = 10_000
"""Updates of the variations."""


def variation(profile: Config, **settings: Any) -> Config:
    """A shorter run with these settings."""
    updates = min(VARIATION_UPDATES, profile.updates)
    kept = tuple(update for update in profile.moments if update <= updates)
    return replace(profile, updates=updates, moments=kept, **settings)


def variations(profile: Config, *, seeds: int = 1) -> list[Config]:
    """The runs that separate the gap from the margin."""
    return [
        variation(profile, learning_rate=rate, seed=seed, **one)
        for seed in range(seeds)
        for one in VARIATIONS.values()
        for rate in RATES
    ]


def overfitting(runs: Runs) -> ArtefactContent:
    """Masked share against the margin, and against the generalisation gap, over every run and moment there is."""
    found = _rows(runs)
    rows = [row for one in found for row in one]
    series: dict[str, Mapping[float, Values]] = {}
    for family in sorted({_family(row["kind"]) for row in rows}):
        own = [row for row in rows if _family(row["kind"]) == family]
        for axis in ("margin", "gap"):
            series[f"{axis}: {family}"] = _scatter([(row[axis], row["masked"]) for row in own])
    rescaled = [(row["margin"] * factor, share) for row in rows for factor, share in row["scaled"].items()]
    series["margin: logits rescaled"] = _scatter(rescaled)
    series["gap: logits times 10"] = _scatter([(row["gap"], row["scaled"][10.0]) for row in rows])
    measured = {name: _estimate(found, statistic) for name, statistic in STATISTICS.items()}
    measured |= {
        f"{row['kind']}, {row['update']} updates: {name}": [row[name]]
        for row in rows
        if row["last"]
        for name in ("masked", "margin", "gap")
    }
    return ArtefactContent(measured=measured, series=series, claims=[_is_it_overfitting(measured)])


def _family(kind: str) -> str:
    """Kinds of runs that share a colour."""
    if "," in kind:
        return kind.rpartition(",")[0].removesuffix(" 0.0001").removesuffix(" 0.001")
    return "Adam, any rate" if kind.startswith("adam ") else "other optimizers"


def _scatter(points: Sequence[tuple[float, float]]) -> dict[float, Values]:
    together: dict[float, list[float]] = {}
    for x, y in points:
        together.setdefault(x, []).append(y)
    return dict(together)


def _is_it_overfitting(measured: Mapping[str, Values | Estimate]) -> dict[str, str]:
    return judge(
        "gradient masking is a type of overfitting",
        Predicate(what=FOLLOWS, values=measured[FOLLOWS], side="above", bound=0, unit=""),
        Predicate(what=PARTIAL, values=measured[PARTIAL], side="above", bound=0, unit=""),
        Predicate(what=MOVED, values=measured[MOVED], side="below", bound=5, unit="points"),
        note="Overfitting would mean that the masked share follows the gap, also at equal margin, and not the scale of "
        "the logits, which leaves predictions and gap as they are. Intervals by resampling whole runs.",
    )


def _rows(runs: Runs) -> list[Rows]:
    """For each run a row per moment at which it has learned: masked share, also at other scales, margin, and gap."""
    kinds = {f"{one.optimizer} {one.learning_rate:g}": runs(optimizer=one.optimizer, learning_rate=one.learning_rate)
             for one in [*optimizers(runs.profile), *rates(runs.profile)]}  # fmt: skip
    noise = {}
    for name, settings in VARIATIONS.items():
        for rate in RATES:
            short = variation(runs.profile)
            made = runs(learning_rate=rate, updates=short.updates, moments=short.moments, **settings)
            kinds[f"{name}, {rate:g}"] = made
            noise[f"{name}, {rate:g}"] = settings.get("label_noise", 0.0)
    found: list[Rows] = []
    for kind, results in kinds.items():
        for result in results:
            learned = [moment for moment in result["moments"] if natural(moment) < 50]
            last = result["moments"][-1]
            named = [{"kind": kind, "update": one["update"], "last": one is last} for one in learned]
            noisy = noise.get(kind, 0.0)
            found.append([name | _row(one, noisy) for name, one in zip(named, learned, strict=True)])
    return [rows for rows in found if rows]


def _row(moment: Mapping[str, Any], noise: float) -> dict[str, Any]:
    odds = moment["test"]["log_odds"]
    images = moment["test"]["images"]
    scaled = {float(scale): share(one["saturated"], images) for scale, one in moment["scaled"].items()}
    return {
        "masked": 100 - regime(0)(moment),
        "margin": odds[len(odds) // 2],
        "gap": gap(moment) + _more_errors(natural(moment), noise),
        "train_loss": moment["train"]["loss"],
        "scaled": scaled,
    }


def _more_errors(error: float, noise: float) -> float:
    """Return the rise of a test error, in per cent, if that share of the test labels were others, drawn evenly.

    The training error is counted on such labels: without this the gap would compare two distributions.
    """
    return noise * (100 - error / 9 - error)


def _between(left: str, right: str, rows: Rows) -> float:
    """The rank correlation of two columns."""
    return rank_correlation([row[left] for row in rows], [row[right] for row in rows])


def _partial(name: str, other: str, rows: Rows) -> float:
    """The rank correlation of the masked share with one column, the other held equal."""
    own, held, cross = _between(name, "masked", rows), _between(other, "masked", rows), _between(name, other, rows)
    rest = math.sqrt(max((1 - held**2) * (1 - cross**2), 1e-12))
    return (own - held * cross) / rest


def _moved(rows: Rows) -> float:
    """The masked share with ten times the logits, minus that with a tenth of them."""
    moved = [row["scaled"][10.0] - row["scaled"][0.1] for row in rows]
    return math.fsum(moved) / len(moved)


def _estimate(found: Sequence[Rows], statistic: Callable[[Rows], float]) -> Values | Estimate:
    """Return the statistic over all rows, with a 95 % percentile interval from resampling whole runs.

    Moments of one run are not independent.
    """
    value = statistic([row for rows in found for row in rows]) if found else math.nan
    if math.isnan(value):
        return []
    generator = np.random.RandomState(0)
    drawn = [generator.randint(len(found), size=len(found)) for _ in range(RESAMPLES)]
    values = [statistic([row for index in rows for row in found[index]]) for rows in drawn]
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return Estimate(value, float(low), float(high), runs=len(found))


FOLLOWS = "rank correlation of the masked share with the gap, minus that with the margin"
PARTIAL = "the same with the gap, at equal margin"
MOVED = "masked share, logits times 10 minus divided by 10, same weights and gap"

STATISTICS: Mapping[str, Callable[[Rows], float]] = {
    "rank correlation of the masked share with the margin": partial(_between, "margin", "masked"),
    "rank correlation of the masked share with the gap": partial(_between, "gap", "masked"),
    FOLLOWS: lambda rows: _between("gap", "masked", rows) - _between("margin", "masked", rows),
    "the same with the margin, at equal gap": partial(_partial, "margin", "gap"),
    PARTIAL: partial(_partial, "gap", "margin"),
    MOVED: _moved,
}
"""Statistics that tell the margin from the gap."""

RESAMPLES = 1_000


STORY = """\
By arithmetic the masked share follows the margin: cross entropy's gradient loses the true class from log-odds of 16.6
on. If masking were a type of overfitting it would follow the generalisation gap. Two tests separate them. At equal
gap: the logits of the same weights multiplied by 10 or by 0.1 leave every prediction, and with them the gap, as they
are; the masked share differs by {masked share, logits times 10 minus divided by 10, same weights and gap} points
between the two. Over all runs and moments that learned (learning rates, optimizers, lengths, less data, label noise,
L2): its rank correlation with the median log-odds is
{rank correlation of the masked share with the margin}, with the gap
{rank correlation of the masked share with the gap}; with the margin at equal gap
{the same with the margin, at equal gap}, with the gap at equal margin {the same with the gap, at equal margin}.
Long training widens both, which is why the two look alike from outside. Where training labels are replaced, the gap is
that to a test set with labels replaced alike."""


OVERFITTING = Artefact(
        name="overfitting", shows="beyond: does the masked share follow the margin or the generalisation gap?",
        published={}, needs=lambda profile: [*optimizers(profile), *rates(profile), *variations(profile)],
        compute=overfitting, story=STORY,
        panels=[
            Panel(title="against the margin", xlabel="median log-odds of the true class, nats",
                  xscale="log", style="points",
                  ylabel="masked share of test images, %", series="margin:"),
            Panel(title="against the generalisation gap", xlabel="test error minus training error, points",
                  style="points",
                  ylabel="masked share of test images, %", series="gap:"),
        ],
    )  # fmt: skip
