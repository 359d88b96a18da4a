"""Tables and claims of Yanagita & Yamamura 2018 on optimizers and on adversarial training, from runs."""

from __future__ import annotations

import math
from dataclasses import replace

from unmask.models import build
from unmask_experiments.artefact import ArtefactContent, Predicate, Runs, judge
from unmask_experiments.perceptrons import SIZES
from unmask_experiments.quantities import at, deepfool, minus, natural, over, under
from unmask_experiments.yanagita2018.rates import FGSM, two
from unmask_experiments.yanagita2018.runs import ADAM_VARIANTS, OPTIMIZERS, SECOND_RATES, Config, variant_config

NAMES = {"mini-batch": "sgd", "momentum": "momentum", "AdaGrad": "adagrad"}
"""The paper's names of the other optimizers, and ours."""


def optimizers(profile: Config) -> list[Config]:
    """Return every optimizer at its recommended rate; SGD and RMSprop also at a second one."""
    others = [replace(profile, optimizer=name, learning_rate=rate) for name, rate in OPTIMIZERS.items()]
    others += [replace(profile, optimizer=name, learning_rate=rate) for name, rate in SECOND_RATES.items()]
    return [*two(profile), *others]


def table1(runs: Runs) -> ArtefactContent:
    """Return the network's layers as they are built."""
    side = math.isqrt(SIZES[runs.profile.data][1])
    model = build("mlp", inputs=(1, side, side), classes=10, widths=runs.profile.widths)
    units = [float(one.shape[1]) for one in model.parameters() if one.ndim > 1] + [10.0]
    measured = dict(zip(("input", "1st hidden", "2nd hidden", "output"), ([one] for one in units), strict=True))
    parts = [
        Predicate(
            what=f"{key}: difference",
            values=[abs(values[0] - TABLE_1[key])],
            side="below",
            bound=0.5,
            unit="units",
        )
        for key, values in measured.items()
    ]
    return ArtefactContent(measured=measured, claims=[judge("the network has the layers of table 1", *parts)])


TABLE_1 = {"input": 784, "1st hidden": 600, "2nd hidden": 128, "output": 10}
TABLE_2 = {
    "mini-batch natural": 2.36, "mini-batch FGS": 99.9, "momentum natural": 1.99, "momentum FGS": 99.5,
    "AdaGrad natural": 2.05, "AdaGrad FGS": 99.9, "Adam natural": 1.68, "Adam FGS": 90.4,
}  # fmt: skip


def table2(runs: Runs) -> ArtefactContent:
    """Natural and FGS error by optimizer; beyond the paper DeepFool's error and mean relative change."""
    rows = {name: runs(optimizer=key, learning_rate=OPTIMIZERS[key]) for name, key in NAMES.items()}
    rows |= {
        "Adam": runs(learning_rate=0.001),
        "Adam 0.01": runs(learning_rate=0.01),
        "RMSprop": runs(optimizer="rmsprop", learning_rate=OPTIMIZERS["rmsprop"]),
        "RMSprop 0.01": runs(optimizer="rmsprop", learning_rate=SECOND_RATES["rmsprop"]),
        "mini-batch 0.1": runs(optimizer="sgd", learning_rate=SECOND_RATES["sgd"]),
    }
    quantities = {
        "natural": natural,
        "FGS": under(FGSM, runs.profile.epsilon),
        "FGS unclipped": under("unclipped", runs.profile.epsilon),
        "DeepFool error": deepfool("errors"),
        "DeepFool relative change": deepfool("relative"),
    }
    found = {f"{row} {key}": at(results, -1, one) for row, results in rows.items() for key, one in quantities.items()}
    close = [
        Predicate(
            what=f"{row}: distance of the natural error from the published",
            values=[abs(value - TABLE_2[f"{row} natural"]) for value in found[f"{row} natural"]],
            side="below",
            bound=0.5,
            unit="points",
        )
        for row in (*NAMES, "Adam")
    ]
    fooled = [Predicate(what=f"FGS error, {row}", values=found[f"{row} FGS"], side="above", bound=98) for row in NAMES]
    lower = Predicate(
        what="FGS error, AdaGrad minus Adam",
        values=minus(found["AdaGrad FGS"], found["Adam FGS"]),
        side="above",
        bound=0,
        unit="points",
    )
    return ArtefactContent(
        measured=found,
        claims=[
            judge("natural errors are those of table 2", *close),
            judge("without Adam, FGSM fools the network almost always; with Adam somewhat less", *fooled, lower),
        ],
    )


def disc1(runs: Runs) -> ArtefactContent:
    """Compute the FGS error by optimizer: one of Adam's two parts masks."""
    fgs = under(FGSM, runs.profile.epsilon)
    rows = {name: (key, OPTIMIZERS[key]) for name, key in (("momentum", "momentum"), ("AdaGrad", "adagrad"))}
    rows |= {"SGD": ("sgd", 0.01), "SGD 0.1": ("sgd", 0.1)}
    rows |= {"RMSprop": ("rmsprop", 0.001), "Adam": ("adam", 0.001)}
    rows |= {"RMSprop 0.01": ("rmsprop", 0.01), "Adam 0.01": ("adam", 0.01)}
    results = {name: runs(optimizer=key, learning_rate=rate) for name, (key, rate) in rows.items()}
    measured = {f"FGS error, {name}": at(found, -1, fgs) for name, found in results.items()}
    error = [
        Predicate(what=what, values=measured[what], side="below", bound=98)
        for what in ("FGS error, RMSprop", "FGS error, Adam")
    ]
    others = [f"FGS error, {name}" for name in ("SGD", "SGD 0.1", "momentum", "AdaGrad")]
    error += [Predicate(what=what, values=measured[what], side="above", bound=98) for what in others]
    return ArtefactContent(
        measured=measured,
        series={name: over(found, fgs) for name, found in results.items()},
        claims=[judge("RMSprop masks as Adam does; SGD, momentum and AdaGrad do not", *error)],
    )


def disc2(runs: Runs) -> ArtefactContent:
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
    ahead = Predicate(
        what="adversarial training minus lr 0.01", values=minus(second, first), side="above", bound=0, unit="points"
    )
    turned = Predicate(what="with log-odds", values=minus(honest, repaired), side="below", bound=0, unit="points")
    return ArtefactContent(
        measured=measured,
        series={name: over(found, fgs) for name, found in (("lr 0.01", masked), ("adversarial training", trained))},
        claims=[
            judge("lr 0.01 lowers the FGS error further than adversarial training", ahead),
            judge("beyond: with the log-odds loss adversarial training is ahead", turned),
        ],
    )


def adam(runs: Runs) -> ArtefactContent:
    """The printed update rule in its readings: training loss by updates."""
    short = [variant_config(runs.profile, name) for name in ADAM_VARIANTS]
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
    worse = Predicate(
        what="as printed minus standard", values=minus(literal, standard), side="above", bound=10, unit="points"
    )
    alike = [abs(one) for one in minus(double, standard)]
    return ArtefactContent(
        measured=measured,
        series=series,
        claims=[
            judge("taken literally the printed rule freezes within 30 updates and learns nothing more", worse),
            judge(
                "correcting m, v and alpha differs from Adam only at first",
                Predicate(what="difference", values=alike, side="below", bound=1, unit="points"),
            ),
        ],
    )
