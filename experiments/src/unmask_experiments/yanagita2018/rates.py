"""Figures and claims of Yanagita & Yamamura 2018 on Adam's learning rate and on training length, from runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from unmask_experiments.artefact import ArtefactContent, Predicate, Runs, Values, judge
from unmask_experiments.quantities import at, minus, natural, over, random_training, rank_correlation, under, valid
from unmask_experiments.yanagita2018.runs import LEARNING_RATES, Config

RATES = (0.01, 0.001)
"""The two rates that the paper compares."""

LR_AXIS = "Adam's initial learning rate"
FGSM = "as published"


def rates(profile: Config) -> list[Config]:
    """Adam at every learning rate."""
    return [replace(profile, learning_rate=rate) for rate in LEARNING_RATES]


def two(profile: Config) -> list[Config]:
    """Adam at 0.01 and at 0.001."""
    return [replace(profile, learning_rate=rate) for rate in RATES]


def by_rate(runs: Runs, quantity: Callable[[Any], float | None], position: float = -1) -> dict[float, Values]:
    """Return the quantity against Adam's learning rate."""
    return {rate: at(runs(learning_rate=rate), position, quantity) for rate in LEARNING_RATES}


def by_length(runs: Runs, name: str, quantity: Callable[[Any], float | None]) -> dict[str, Mapping[float, Values]]:
    """One series per training length, each against the learning rate."""
    return {f"{name}{length:,} updates": by_rate(runs, quantity, length) for length in runs.profile.moments}


def by_epsilon(
    runs: Runs, quantity: Callable[[float], Callable[[Any], float | None]]
) -> dict[str, Mapping[float, Values]]:
    """One series per learning rate and epsilon, each against training length."""
    return {
        f"lr {rate:g}: epsilon {epsilon:g}": over(runs(learning_rate=rate), quantity(epsilon))
        for rate in RATES
        for epsilon in runs.profile.epsilons
    }


def fig1a(runs: Runs) -> ArtefactContent:
    """Natural test error against the learning rate, by training length."""
    final = by_rate(runs, natural)
    high = [value for rate, values in final.items() if rate >= 0.075 for value in values]
    low = [value for rate, values in final.items() if rate < 0.01 for value in values]
    above = Predicate(
        what="lowest natural error at 0.075 and above", values=high and [min(high)], side="above", bound=60
    )
    below = Predicate(what="highest natural error below 0.01", values=low and [max(low)], side="below", bound=3)
    return ArtefactContent(
        measured={
            "natural error, 0.075 and above, at least": above.values,
            "natural error, below 0.01, at most": below.values,
        },
        series=by_length(runs, "", natural),
        claims=[
            judge("a very large learning rate makes learning impossible, one below 0.01 does no harm", above, below)
        ],
    )


def fig1b(runs: Runs) -> ArtefactContent:
    """FGS test error against the learning rate, and the share of images that FGSM can change at all."""
    fgs = under(FGSM, runs.profile.epsilon)
    error, share = by_rate(runs, fgs), by_rate(runs, valid)
    slower = at(runs(learning_rate=0.01), -1, natural), at(runs(learning_rate=0.001), -1, natural)
    measured = {
        "FGS error, 0.001": error[0.001], "FGS error, 0.01": error[0.01], "FGS error, 0.1": error[0.1],
        "valid images, 0.001": share[0.001], "valid images, 0.01": share[0.01], "valid images, 0.1": share[0.1],
        "natural error, 0.01 minus 0.001": minus(*slower),
    }  # fmt: skip
    parts = [
        Predicate(what="FGS error at 0.001", values=error[0.001], side="above", bound=80),
        Predicate(what="FGS error at 0.01", values=error[0.01], side="below", bound=30),
        Predicate(what="natural error, 0.01 minus 0.001", values=minus(*slower), side="above", bound=0, unit="points"),
    ]
    validity = [
        Predicate(what="valid images at 0.001", values=share[0.001], side="above", bound=80),
        Predicate(what="valid images at 0.01", values=share[0.01], side="below", bound=20),
    ]
    largest = [
        Predicate(what="FGS error at 0.1", values=error[0.1], side="above", bound=60),
        Predicate(what="valid images at 0.1", values=share[0.1], side="below", bound=40),
    ]
    return ArtefactContent(
        measured=measured,
        series=by_length(runs, "FGS error: ", fgs) | by_length(runs, "valid: ", valid),
        claims=[
            judge("Adam at 0.01 masks gradients without any defence", *parts),
            judge("FGSM can change about 90 % of the images at 0.001 and under 20 % near 0.01", *validity),
            judge("at the largest rates the error is high because nothing was learned", *largest),
        ],
    )


def fig2(runs: Runs) -> ArtefactContent:
    """FGS test error against training length."""
    epsilon, first = runs.profile.epsilon, runs.profile.moments[0]
    measured = {}
    for rate in RATES:
        fgs = under(FGSM, epsilon)
        measured[f"FGS error, {rate:g}, last"] = at(runs(learning_rate=rate), -1, fgs)
        measured[f"FGS error, {rate:g}, first"] = at(runs(learning_rate=rate), first, fgs)
    fall = minus(measured["FGS error, 0.01, first"], measured["FGS error, 0.01, last"])
    kept = minus(measured["FGS error, 0.001, first"], measured["FGS error, 0.001, last"])
    return ArtefactContent(
        measured=measured,
        series=by_epsilon(runs, lambda one: under(FGSM, one)),
        claims=[
            judge(
                "at 0.01 the FGS error falls with training, at 0.001 hardly",
                Predicate(what="fall at 0.01", values=fall, side="above", bound=50, unit="points"),
                Predicate(what="fall at 0.001", values=kept, side="below", bound=20, unit="points"),
            )
        ],
    )


def fig3a(runs: Runs) -> ArtefactContent:
    """Random-sign error on training images against the learning rate."""
    quantity = random_training(runs.profile.epsilon)
    final = {rate: values for rate, values in by_rate(runs, quantity).items() if values}
    learned = [rate for rate in final if at(runs(learning_rate=rate), -1, natural)[0] < 50]
    correlation = rank_correlation(learned, [final[rate][0] for rate in learned])
    rank = [] if math.isnan(correlation) else [correlation]
    rise = minus(final.get(0.01, []), final.get(0.001, []))
    return ArtefactContent(
        measured={"random-sign error, 0.01 minus 0.001": rise, "rank correlation with the rate": rank},
        series=by_length(runs, "", quantity),
        claims=[
            judge(
                "the random-sign error on training images rises with the learning rate: masking goes with a boundary "
                "closer to the training points",
                Predicate(what="rise from 0.001 to 0.01", values=rise, side="above", bound=0, unit="points"),
                Predicate(what="rank correlation, rates that learn", values=rank, side="above", bound=0.5, unit=""),
            )
        ],
    )


def fig3b(runs: Runs) -> ArtefactContent:
    """Random-sign error on training images against training length."""
    quantity, first = random_training(runs.profile.epsilon), runs.profile.moments[0]
    rise = {
        f"rise from {first:,} updates to the last, {rate:g}": minus(
            at(runs(learning_rate=rate), -1, quantity), at(runs(learning_rate=rate), first, quantity)
        )
        for rate in RATES
    }
    fast, slow = rise.values()
    return ArtefactContent(
        measured=rise,
        series=by_epsilon(runs, random_training),
        claims=[
            judge(
                "flat at 0.001, rising at 0.01",
                Predicate(what="rise at 0.01", values=fast, side="above", bound=5, unit="points"),
                Predicate(what="rise at 0.001", values=slow, side="below", bound=5, unit="points"),
            )
        ],
    )
