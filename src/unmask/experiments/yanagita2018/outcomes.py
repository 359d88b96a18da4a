"""From runs to the tables, figures and statements of Yanagita & Yamamura 2018, and the claims made of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from scipy import stats

from unmask.experiments.artefact import Outcome, Part, Runs, Values, judge
from unmask.experiments.perceptrons import SIZES
from unmask.experiments.readings import at, deepfool, minus, natural, over, random_training, under, valid
from unmask.experiments.yanagita2018.runs import (
    LEARNING_RATES,
    OPTIMIZERS,
    READINGS,
    SECOND_RATES,
    Config,
    reading_config,
)
from unmask.models import build

RATES = (0.01, 0.001)
NAMES = {"mini-batch": "sgd", "momentum": "momentum", "AdaGrad": "adagrad"}
LR_AXIS = "Adam's initial learning rate"
FGSM = "as published"


def rates(profile: Config) -> list[Config]:
    """Adam at every learning rate."""
    return [replace(profile, learning_rate=rate) for rate in LEARNING_RATES]


def two(profile: Config) -> list[Config]:
    """Adam at 0.01 and at 0.001."""
    return [replace(profile, learning_rate=rate) for rate in RATES]


def optimizers(profile: Config) -> list[Config]:
    """Every optimizer at its recommended rate; SGD and RMSprop also at a second one."""
    others = [replace(profile, optimizer=name, learning_rate=rate) for name, rate in OPTIMIZERS.items()]
    others += [replace(profile, optimizer=name, learning_rate=rate) for name, rate in SECOND_RATES.items()]
    return [*two(profile), *others]


def by_rate(runs: Runs, reading: Callable[[Any], float | None], position: float = -1) -> dict[float, Values]:
    """The reading against Adam's learning rate."""
    return {rate: at(runs(learning_rate=rate), position, reading) for rate in LEARNING_RATES}


def by_length(runs: Runs, name: str, reading: Callable[[Any], float | None]) -> dict[str, Mapping[float, Values]]:
    """One series per training length, each against the learning rate."""
    return {f"{name}{length:,} updates": by_rate(runs, reading, length) for length in runs.profile.moments}


def by_epsilon(
    runs: Runs, reading: Callable[[float], Callable[[Any], float | None]]
) -> dict[str, Mapping[float, Values]]:
    """One series per learning rate and epsilon, each against training length."""
    return {
        f"lr {rate:g}: epsilon {epsilon:g}": over(runs(learning_rate=rate), reading(epsilon))
        for rate in RATES
        for epsilon in runs.profile.epsilons
    }


def table1(runs: Runs) -> Outcome:
    """The network as it is built."""
    side = math.isqrt(SIZES[runs.profile.data][1])
    model = build("mlp", inputs=(1, side, side), classes=10, widths=runs.profile.widths)
    units = [float(one.shape[1]) for one in model.parameters() if one.ndim > 1] + [10.0]
    measured = dict(zip(("input", "1st hidden", "2nd hidden", "output"), ([one] for one in units), strict=True))
    parts = [
        Part(
            what=f"{key}: difference",
            values=[abs(values[0] - TABLE_1[key])],
            side="below",
            bound=0.5,
            unit="units",
        )
        for key, values in measured.items()
    ]
    return Outcome(measured=measured, claims=[judge("the network has the layers of table 1", *parts)])


TABLE_1 = {"input": 784, "1st hidden": 600, "2nd hidden": 128, "output": 10}
TABLE_2 = {
    "mini-batch natural": 2.36, "mini-batch FGS": 99.9, "momentum natural": 1.99, "momentum FGS": 99.5,
    "AdaGrad natural": 2.05, "AdaGrad FGS": 99.9, "Adam natural": 1.68, "Adam FGS": 90.4,
}  # fmt: skip


def table2(runs: Runs) -> Outcome:
    """Natural and FGS error by optimizer; beyond the paper DeepFool's error and mean relative change."""
    rows = {name: runs(optimizer=key, learning_rate=OPTIMIZERS[key]) for name, key in NAMES.items()}
    rows |= {
        "Adam": runs(learning_rate=0.001),
        "Adam 0.01": runs(learning_rate=0.01),
        "RMSprop": runs(optimizer="rmsprop", learning_rate=OPTIMIZERS["rmsprop"]),
        "RMSprop 0.01": runs(optimizer="rmsprop", learning_rate=SECOND_RATES["rmsprop"]),
        "mini-batch 0.1": runs(optimizer="sgd", learning_rate=SECOND_RATES["sgd"]),
    }
    readings = {
        "natural": natural,
        "FGS": under(FGSM, runs.profile.epsilon),
        "FGS unclipped": under("unclipped", runs.profile.epsilon),
        "DeepFool error": deepfool("errors"),
        "DeepFool relative change": deepfool("relative"),
    }
    found = {f"{row} {key}": at(results, -1, one) for row, results in rows.items() for key, one in readings.items()}
    close = [
        Part(
            what=f"{row}: distance of the natural error from the published",
            values=[abs(value - TABLE_2[f"{row} natural"]) for value in found[f"{row} natural"]],
            side="below",
            bound=0.5,
            unit="points",
        )
        for row in (*NAMES, "Adam")
    ]
    fooled = [Part(what=f"FGS error, {row}", values=found[f"{row} FGS"], side="above", bound=98) for row in NAMES]
    lower = Part(
        what="FGS error, AdaGrad minus Adam",
        values=minus(found["AdaGrad FGS"], found["Adam FGS"]),
        side="above",
        bound=0,
        unit="points",
    )
    return Outcome(
        measured=found,
        claims=[
            judge("natural errors are those of table 2", *close),
            judge("without Adam, FGSM fools the network almost always; with Adam somewhat less", *fooled, lower),
        ],
    )


def fig1a(runs: Runs) -> Outcome:
    """Natural test error against the learning rate, by training length."""
    final = by_rate(runs, natural)
    high = [value for rate, values in final.items() if rate >= 0.075 for value in values]
    low = [value for rate, values in final.items() if rate < 0.01 for value in values]
    above = Part(what="lowest natural error at 0.075 and above", values=high and [min(high)], side="above", bound=60)
    below = Part(what="highest natural error below 0.01", values=low and [max(low)], side="below", bound=3)
    return Outcome(
        measured={
            "natural error, 0.075 and above, at least": above.values,
            "natural error, below 0.01, at most": below.values,
        },
        series=by_length(runs, "", natural),
        claims=[
            judge("a very large learning rate makes learning impossible, one below 0.01 does no harm", above, below)
        ],
    )


def fig1b(runs: Runs) -> Outcome:
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
        Part(what="FGS error at 0.001", values=error[0.001], side="above", bound=80),
        Part(what="FGS error at 0.01", values=error[0.01], side="below", bound=30),
        Part(what="natural error, 0.01 minus 0.001", values=minus(*slower), side="above", bound=0, unit="points"),
    ]
    validity = [
        Part(what="valid images at 0.001", values=share[0.001], side="above", bound=80),
        Part(what="valid images at 0.01", values=share[0.01], side="below", bound=20),
    ]
    largest = [
        Part(what="FGS error at 0.1", values=error[0.1], side="above", bound=60),
        Part(what="valid images at 0.1", values=share[0.1], side="below", bound=40),
    ]
    return Outcome(
        measured=measured,
        series=by_length(runs, "FGS error: ", fgs) | by_length(runs, "valid: ", valid),
        claims=[
            judge("Adam at 0.01 masks gradients without any defence", *parts),
            judge("FGSM can change about 90 % of the images at 0.001 and under 20 % near 0.01", *validity),
            judge("at the largest rates the error is high because nothing was learned", *largest),
        ],
    )


def fig2(runs: Runs) -> Outcome:
    """FGS test error against training length."""
    epsilon, first = runs.profile.epsilon, runs.profile.moments[0]
    measured = {}
    for rate in RATES:
        fgs = under(FGSM, epsilon)
        measured[f"FGS error, {rate:g}, last"] = at(runs(learning_rate=rate), -1, fgs)
        measured[f"FGS error, {rate:g}, first"] = at(runs(learning_rate=rate), first, fgs)
    fall = minus(measured["FGS error, 0.01, first"], measured["FGS error, 0.01, last"])
    kept = minus(measured["FGS error, 0.001, first"], measured["FGS error, 0.001, last"])
    return Outcome(
        measured=measured,
        series=by_epsilon(runs, lambda one: under(FGSM, one)),
        claims=[
            judge(
                "at 0.01 the FGS error falls with training, at 0.001 hardly",
                Part(what="fall at 0.01", values=fall, side="above", bound=50, unit="points"),
                Part(what="fall at 0.001", values=kept, side="below", bound=20, unit="points"),
            )
        ],
    )


def fig3a(runs: Runs) -> Outcome:
    """Random-sign error on training images against the learning rate."""
    reading = random_training(runs.profile.epsilon)
    final = {rate: values for rate, values in by_rate(runs, reading).items() if values}
    learned = [rate for rate in final if at(runs(learning_rate=rate), -1, natural)[0] < 50]
    rank = [float(stats.spearmanr(learned, [final[rate][0] for rate in learned]).statistic)] if len(learned) > 3 else []
    rise = minus(final.get(0.01, []), final.get(0.001, []))
    return Outcome(
        measured={"random-sign error, 0.01 minus 0.001": rise, "rank correlation with the rate": rank},
        series=by_length(runs, "", reading),
        claims=[
            judge(
                "the random-sign error on training images rises with the learning rate: masking goes with a boundary "
                "closer to the training points",
                Part(what="rise from 0.001 to 0.01", values=rise, side="above", bound=0, unit="points"),
                Part(what="rank correlation, rates that learn", values=rank, side="above", bound=0.5, unit=""),
            )
        ],
    )


def fig3b(runs: Runs) -> Outcome:
    """Random-sign error on training images against training length."""
    reading, first = random_training(runs.profile.epsilon), runs.profile.moments[0]
    rise = {
        f"rise from {first:,} updates to the last, {rate:g}": minus(
            at(runs(learning_rate=rate), -1, reading), at(runs(learning_rate=rate), first, reading)
        )
        for rate in RATES
    }
    fast, slow = rise.values()
    return Outcome(
        measured=rise,
        series=by_epsilon(runs, random_training),
        claims=[
            judge(
                "flat at 0.001, rising at 0.01",
                Part(what="rise at 0.01", values=fast, side="above", bound=5, unit="points"),
                Part(what="rise at 0.001", values=slow, side="below", bound=5, unit="points"),
            )
        ],
    )


def disc1(runs: Runs) -> Outcome:
    """FGS error by optimizer: which of Adam's two parts masks."""
    fgs = under(FGSM, runs.profile.epsilon)
    rows = {name: (key, OPTIMIZERS[key]) for name, key in (("momentum", "momentum"), ("AdaGrad", "adagrad"))}
    rows |= {"SGD": ("sgd", 0.01), "SGD 0.1": ("sgd", 0.1)}
    rows |= {"RMSprop": ("rmsprop", 0.001), "Adam": ("adam", 0.001)}
    rows |= {"RMSprop 0.01": ("rmsprop", 0.01), "Adam 0.01": ("adam", 0.01)}
    results = {name: runs(optimizer=key, learning_rate=rate) for name, (key, rate) in rows.items()}
    measured = {f"FGS error, {name}": at(found, -1, fgs) for name, found in results.items()}
    error = [
        Part(what=what, values=measured[what], side="below", bound=98)
        for what in ("FGS error, RMSprop", "FGS error, Adam")
    ]
    others = [f"FGS error, {name}" for name in ("SGD", "SGD 0.1", "momentum", "AdaGrad")]
    error += [Part(what=what, values=measured[what], side="above", bound=98) for what in others]
    return Outcome(
        measured=measured,
        series={name: over(found, fgs) for name, found in results.items()},
        claims=[judge("RMSprop masks as Adam does; SGD, momentum and AdaGrad do not", *error)],
    )


def disc2(runs: Runs) -> Outcome:
    """FGS error at lr 0.01 against adversarial training's."""
    fgs = under(FGSM, runs.profile.epsilon)
    masked, trained = runs(learning_rate=0.01), runs(training="adversarial")
    measured = {
        "FGS error, lr 0.01": at(masked, -1, fgs),
        "FGS error, adversarial training": at(trained, -1, fgs),
        "log-odds FGSM error, lr 0.01": at(masked, -1, under("log-odds", runs.profile.epsilon)),
        "log-odds FGSM error, adversarial training": at(trained, -1, under("log-odds", runs.profile.epsilon)),
    }
    first, second, repaired, honest = measured.values()
    ahead = Part(
        what="adversarial training minus lr 0.01", values=minus(second, first), side="above", bound=0, unit="points"
    )
    turned = Part(what="with log-odds", values=minus(honest, repaired), side="below", bound=0, unit="points")
    return Outcome(
        measured=measured,
        series={name: over(found, fgs) for name, found in (("lr 0.01", masked), ("adversarial training", trained))},
        claims=[
            judge("lr 0.01 lowers the FGS error further than adversarial training", ahead),
            judge("beyond: with the log-odds loss adversarial training is ahead", turned),
        ],
    )


def adam(runs: Runs) -> Outcome:
    """The printed update rule in its readings: training loss by updates."""
    short = [reading_config(runs.profile, name) for name in READINGS]
    results = {"adam (standard)": runs(learning_rate=0.001)}
    results |= {one.optimizer: runs(optimizer=one.optimizer, updates=one.updates, moments=one.moments) for one in short}
    last = short[0].updates
    series = {
        name: {
            float(x): [one["epochs"]["loss"][row]]
            for one in found[:1]
            for row, x in enumerate(one["epochs"]["update"])
            if x <= last
        }
        for name, found in results.items()
    }
    measured = {f"natural error, {name}": at(found, last, natural) for name, found in results.items()}
    standard, double, literal = measured.values()
    worse = Part(
        what="as printed minus standard", values=minus(literal, standard), side="above", bound=10, unit="points"
    )
    alike = [abs(one) for one in minus(double, standard)]
    return Outcome(
        measured=measured,
        series=series,
        claims=[
            judge("taken literally the printed rule freezes within 30 updates and learns nothing more", worse),
            judge(
                "correcting m, v and alpha differs from Adam only at first",
                Part(what="difference", values=alike, side="below", bound=1, unit="points"),
            ),
        ],
    )
