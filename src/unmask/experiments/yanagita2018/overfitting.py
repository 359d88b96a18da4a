"""Beyond Yanagita & Yamamura 2018: is gradient masking a type of overfitting? The margin and the gap, separated."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from scipy import stats

from unmask.experiments.artefact import Artefact, Outcome, Panel, Part, Runs, Values, judge
from unmask.experiments.readings import gap, minus, natural, regime, share
from unmask.experiments.yanagita2018.outcomes import RATES, optimizers, rates
from unmask.experiments.yanagita2018.runs import Config

VARIATIONS: Mapping[str, Mapping[str, Any]] = {
    "5,000 training images": {"train_images": 5_000},
    "20 % label noise": {"label_noise": 0.2},
    "L2 0.0001": {"l2": 0.0001},
    "L2 0.001": {"l2": 0.001},
}
"""What moves the generalisation gap or the margin, at 0.01 and 0.001."""

VARIATION_UPDATES = 10_000
"""How long the variations are trained."""


def variation(profile: Config, **settings: Any) -> Config:
    """A shorter run with these settings."""
    updates = min(VARIATION_UPDATES, profile.updates)
    kept = tuple(update for update in profile.moments if update <= updates)
    return replace(profile, updates=updates, moments=kept, **settings)


def variations(profile: Config) -> list[Config]:
    """The runs that separate the gap from the margin."""
    return [variation(profile, learning_rate=rate, **one) for one in VARIATIONS.values() for rate in RATES]


def overfitting(runs: Runs) -> Outcome:
    """Masked share against the margin, and against the generalisation gap, over every run and moment there is."""
    rows = _rows(runs)
    names = sorted({row["kind"] for row in rows})
    series: dict[str, Mapping[float, Values]] = {}
    for kind in names:
        mine = [row for row in rows if row["kind"] == kind]
        series[f"margin: {kind}"] = {row["margin"]: [row["masked"]] for row in mine}
        series[f"gap: {kind}"] = {row["gap"]: [row["masked"]] for row in mine}
    series["margin: logits rescaled"] = {row["margin"] * f: [row["scaled"][f]] for row in rows for f in row["scaled"]}
    series["gap: logits times 10"] = {row["gap"]: [row["scaled"][10.0]] for row in rows if 10.0 in row["scaled"]}
    ranks = {name: _rank([row[name] for row in rows], [row["masked"] for row in rows]) for name in ("margin", "gap")}
    moved = [row["scaled"][10.0] - row["scaled"][0.1] for row in rows if {0.1, 10.0} <= set(row["scaled"])]
    measured = {f"rank correlation of the masked share with the {name}": values for name, values in ranks.items()}
    measured |= _partial(rows)
    measured["masked share, logits times 10 minus divided by 10, same weights and gap"] = moved and [
        sum(moved) / len(moved)
    ]
    measured |= {
        f"{row['kind']}, {row['update']} updates: {name}": [row[name]]
        for row in rows
        if row["last"]
        for name in ("masked", "margin", "gap")
    }
    return Outcome(measured=measured, series=series, claims=[_is_it_overfitting(ranks, moved)])


def _is_it_overfitting(ranks: Mapping[str, Values], moved: Sequence[float]) -> dict[str, str]:
    follows = minus(ranks["gap"], ranks["margin"])
    return judge(
        "gradient masking is a type of overfitting",
        Part(
            what="rank correlation with the gap minus that with the margin",
            values=follows,
            side="above",
            bound=0,
            unit="",
        ),
        Part(
            what="change of the masked share when only the scale of the logits changes",
            values=moved and [sum(moved) / len(moved)],
            side="below",
            bound=5,
            unit="points",
        ),
        note="Overfitting would mean that the masked share follows the gap and not the scale of the logits, "
        "which leaves predictions and gap as they are.",
    )


def _rows(runs: Runs) -> list[dict[str, Any]]:
    """One row for each run and moment: masked share, median log-odds, gap, and the masked share at other scales."""
    kinds = {f"{one.optimizer} {one.learning_rate:g}": runs(optimizer=one.optimizer, learning_rate=one.learning_rate)
             for one in [*optimizers(runs.profile), *rates(runs.profile)]}  # fmt: skip
    for name, settings in VARIATIONS.items():
        for rate in RATES:
            short = variation(runs.profile)
            found = runs(learning_rate=rate, updates=short.updates, moments=short.moments, **settings)
            kinds[f"{name}, {rate:g}"] = found
    rows = []
    for kind, results in kinds.items():
        for result in results:
            for moment in result["moments"]:
                if natural(moment) < 50:
                    last = moment is result["moments"][-1]
                    rows.append({"kind": kind, "update": moment["update"], "last": last, **_row(moment)})
    return rows


def _row(moment: Mapping[str, Any]) -> dict[str, Any]:
    odds = moment["test"]["log_odds"]
    images = moment["test"]["images"]
    scaled = {float(scale): share(one["saturated"], images) for scale, one in moment["scaled"].items()}
    return {
        "masked": 100 - regime(0)(moment),
        "margin": odds[len(odds) // 2],
        "gap": gap(moment),
        "train_loss": moment["train"]["loss"],
        "scaled": scaled,
    }


def _partial(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Partial rank correlations of the masked share: with the margin at equal gap, and with the gap at equal margin."""
    if not (cross := _rank([row["margin"] for row in rows], [row["gap"] for row in rows])):
        return {}
    (between,) = cross
    pair = {name: _rank([row[name] for row in rows], [row["masked"] for row in rows]) for name in ("margin", "gap")}
    found: dict[str, list[float]] = {}
    for name, other in (("margin", "gap"), ("gap", "margin")):
        (own,), (held,) = pair[name], pair[other]
        rest = math.sqrt(max((1 - held**2) * (1 - between**2), 1e-12))
        found[f"the same with the {name}, at equal {other}"] = [(own - held * between) / rest]
    return found


def _rank(left: Sequence[float], right: Sequence[float]) -> list[float]:
    """Spearman's rank correlation, if there is enough that varies."""
    if len(left) < 4 or len(set(left)) < 2 or len(set(right)) < 2:
        return []
    return [float(stats.spearmanr(left, right).statistic)]


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
Long training widens both, which is why the two look alike from outside."""


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
