"""Beyond Yanagita & Yamamura 2018: the gradient's regimes, what each repair removes, and whether it is overfitting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from scipy import stats

from unmask.experiments.artefact import Artefact, Outcome, Panel, Part, Runs, Values, judge
from unmask.experiments.moments import REGIMES
from unmask.experiments.readings import at, gap, minus, natural, over, regime, share, slow, under
from unmask.experiments.yanagita2018.outcomes import LR_AXIS, RATES, by_rate, optimizers, rates
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

REPAIRS = {
    "float32 cross entropy (as published)": "as published",
    "the same, unclipped": "unclipped",
    "float64 cross entropy": "recast",
    "float32 log-odds": "log-odds",
    "transfer": "transfer",
    "random signs": "random",
}


def variation(profile: Config, **settings: Any) -> Config:
    """A shorter run with these settings."""
    updates = min(VARIATION_UPDATES, profile.updates)
    kept = tuple(update for update in profile.moments if update <= updates)
    return replace(profile, updates=updates, moments=kept, **settings)


def variations(profile: Config) -> list[Config]:
    """The runs that separate the gap from the margin."""
    return [variation(profile, learning_rate=rate, **one) for one in VARIATIONS.values() for rate in RATES]


def regimes(runs: Runs) -> Outcome:
    """Shares of the three regimes by training length and learning rate."""
    series: dict[str, Mapping[float, Values]] = {}
    for rate in RATES:
        for index, name in enumerate(REGIMES):
            series[f"lr {rate:g}: {name}"] = over(runs(learning_rate=rate), regime(index))
            series[f"lr {rate:g}: {name}, float64"] = over(runs(learning_rate=rate), regime(index, "recast_regimes"))
    for index, name in enumerate(REGIMES):
        series[f"rates: {name}"] = by_rate(runs, regime(index))
    measured = {
        f"{name}, {rate:g}": at(runs(learning_rate=rate), -1, regime(index))
        for rate in RATES
        for index, name in enumerate(REGIMES)
    }
    most = [max(regime(1)(one) for one in result["moments"]) for result in runs(learning_rate=0.01)]
    parts = [
        Part(what="most images in the wrong direction at any moment, 0.01", values=most, side="above", bound=50),
        Part(
            what="images with no gradient at the end, 0.01", values=measured["all zero, 0.01"], side="above", bound=50
        ),
    ]
    claim = "masking has two regimes in float32: first a wrong direction, then no gradient"
    return Outcome(measured=measured, series=series, claims=[judge(claim, *parts)])


def repairs(runs: Runs) -> Outcome:
    """FGSM's error as published, with each repair, and under PGD."""
    epsilon = runs.profile.epsilon
    readings = {name: under(key, epsilon) for name, key in REPAIRS.items()}
    readings |= {"PGD-40, log-odds": slow("PGD log-odds"), "PGD-40, cross entropy": slow("PGD cross entropy")}
    readings |= {"worst case of all": slow("worst case")}
    series = {
        f"lr {rate:g}: {name}": over(runs(learning_rate=rate), reading)
        for rate in RATES
        for name, reading in readings.items()
    }
    series |= {f"rates: {name}": by_rate(runs, reading) for name, reading in readings.items()}
    measured = {
        f"{name}, {rate:g}": at(runs(learning_rate=rate), -1, one) for rate in RATES for name, one in readings.items()
    }
    repaired, published = (
        measured[f"{name}, 0.01"] for name in ("float32 log-odds", "float32 cross entropy (as published)")
    )
    double = measured["float64 cross entropy, 0.01"]
    worst = measured["worst case of all, 0.01"]
    back = Part(what="log-odds FGSM error at 0.01", values=repaired, side="above", bound=90)
    rise = Part(
        what="gain of log-odds over cross entropy",
        values=minus(repaired, published),
        side="above",
        bound=50,
        unit="points",
    )
    some = Part(what="float64 minus float32", values=minus(double, published), side="above", bound=5, unit="points")
    rest = Part(what="log-odds minus float64", values=minus(repaired, double), side="above", bound=5, unit="points")
    return Outcome(
        measured=measured,
        series=series,
        claims=[
            judge("with the log-odds loss the FGSM error at 0.01 is back above 90 %", back, rise),
            judge("float64 removes part of the masking only", some, rest),
            judge(
                "nothing of the robustness at 0.01 is real",
                Part(what="worst-case error at 0.01", values=worst, side="above", bound=98),
            ),
        ],
    )


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


def _rank(left: Sequence[float], right: Sequence[float]) -> list[float]:
    """Spearman's rank correlation, if there is enough that varies."""
    if len(left) < 4 or len(set(left)) < 2 or len(set(right)) < 2:
        return []
    return [float(stats.spearmanr(left, right).statistic)]


def _panels(quantity: str) -> list[Panel]:
    own = [
        Panel(title=f"lr {rate:g}", xlabel="updates", ylabel=quantity, xscale="log", series=f"lr {rate:g}:")
        for rate in RATES
    ]
    return [*own, Panel(title="last moment", xlabel=LR_AXIS, ylabel=quantity, xscale="log", series="rates:")]


BEYOND = (
    Artefact(
        name="regimes", shows="beyond: share of test images in each regime, by training length and rate",
        published={}, needs=rates, compute=regimes, panels=_panels("share of test images, %"),
    ),
    Artefact(
        name="repairs", shows="beyond: FGSM's error as published and with each repair, and PGD's, epsilon 0.25",
        published={}, needs=rates, compute=repairs, panels=_panels("test error, %"),
    ),
    Artefact(
        name="overfitting", shows="beyond: does the masked share follow the margin or the generalisation gap?",
        published={}, needs=lambda profile: [*optimizers(profile), *rates(profile), *variations(profile)],
        compute=overfitting,
        panels=[
            Panel(title="against the margin", xlabel="median log-odds of the true class, nats",
                  ylabel="masked share of test images, %", series="margin:"),
            Panel(title="against the generalisation gap", xlabel="test error minus training error, points",
                  ylabel="masked share of test images, %", series="gap:"),
        ],
    ),
)  # fmt: skip
