"""Beyond Yanagita & Yamamura 2018: the gradient's regimes, what each repair removes, and whether it is overfitting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from unmask_experiments.artefact import Artefact, ArtefactContent, Panel, Predicate, Runs, Values, judge
from unmask_experiments.diagnostics import QUERIES, STEPS
from unmask_experiments.measurement import REGIMES
from unmask_experiments.quantities import at, minus, over, regime, share, slow, square, under
from unmask_experiments.yanagita2018.rates import LR_AXIS, RATES, by_rate, rates
from unmask_experiments.yanagita2018.runs import Config

REPAIRS = {
    "float32 cross entropy (as published)": "as published",
    "the same, unclipped": "unclipped",
    "float64 cross entropy": "recast",
    "float32 log-odds": "log-odds",
    "transfer": "transfer",
    "random signs": "random",
}


QUERY_ATTACK = f"Square, {QUERIES:,} queries"


def regimes(runs: Runs) -> ArtefactContent:
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
        Predicate(what="most images in the wrong direction at any moment, 0.01", values=most, side="above", bound=50),
        Predicate(
            what="images with no gradient at the end, 0.01", values=measured["all zero, 0.01"], side="above", bound=50
        ),
    ]
    claim = "masking has two regimes in float32: first a wrong direction, then no gradient"
    return ArtefactContent(measured=measured, series=series, claims=[judge(claim, *parts)])


def repairs(runs: Runs) -> ArtefactContent:
    """FGSM's error as published, with each repair, and under PGD."""
    epsilon = runs.profile.epsilon
    quantities = {name: under(key, epsilon) for name, key in REPAIRS.items()}
    quantities |= {"PGD-40, log-odds": slow("PGD log-odds"), "PGD-40, cross entropy": slow("PGD cross entropy")}
    quantities |= {"worst case of all": slow("worst case")}
    series = {
        f"lr {rate:g}: {name}": over(runs(learning_rate=rate), quantity)
        for rate in RATES
        for name, quantity in quantities.items()
    }
    series |= {f"rates: {name}": by_rate(runs, quantity) for name, quantity in quantities.items()}
    measured = {
        f"{name}, {rate:g}": at(runs(learning_rate=rate), -1, one) for rate in RATES for name, one in quantities.items()
    }
    for rate in RATES:
        diagnosed = runs(learning_rate=rate, examine=True)
        series[f"lr {rate:g}: {QUERY_ATTACK}"] = over(diagnosed, square)
        measured[f"{QUERY_ATTACK}, {rate:g}"] = at(diagnosed, -1, square)
    return ArtefactContent(measured=measured, series=series, claims=_what_repairs_show(measured))


def _what_repairs_show(measured: Mapping[str, Values]) -> list[dict[str, str]]:
    """Return the claims about masking that follow from the errors at a rate of 0.01."""
    repaired, published = (
        measured[f"{name}, 0.01"] for name in ("float32 log-odds", "float32 cross entropy (as published)")
    )
    double = measured["float64 cross entropy, 0.01"]
    worst = measured["worst case of all, 0.01"]
    back = Predicate(what="log-odds FGSM error at 0.01", values=repaired, side="above", bound=90)
    rise = Predicate(
        what="gain of log-odds over cross entropy",
        values=minus(repaired, published),
        side="above",
        bound=50,
        unit="points",
    )
    some = Predicate(
        what="float64 minus float32", values=minus(double, published), side="above", bound=5, unit="points"
    )
    rest = Predicate(
        what="log-odds minus float64", values=minus(repaired, double), side="above", bound=5, unit="points"
    )
    return [
        judge("with the log-odds loss the FGSM error at 0.01 is back above 90 %", back, rise),
        judge("float64 removes part of the masking only", some, rest),
        judge(
            "a query attack, which asks for no gradient, is not fooled at 0.01",
            Predicate(
                what="Square's error minus FGSM's",
                values=minus(measured[f"{QUERY_ATTACK}, 0.01"], published),
                side="above",
                bound=50,
                unit="points",
            ),
        ),
        judge(
            "nothing of the robustness at 0.01 is real",
            Predicate(what="worst-case error at 0.01", values=worst, side="above", bound=98),
        ),
    ]


def leftover(runs: Runs) -> ArtefactContent:
    """Compare PGD's error with that of one log-odds step, which is higher: dead units leave no gradient of any loss."""
    series: dict[str, Mapping[float, Values]] = {}
    measured: dict[str, Values] = {}
    for rate in RATES:
        results = runs(learning_rate=rate, examine=True)
        for kind in STEPS:
            series[f"lr {rate:g}: {kind}"] = over(results, _pgd(kind))
            measured[f"PGD error, {kind}, {rate:g}"] = at(results, -1, _pgd(kind))
        for row, layer in enumerate(("first", "last")):
            series[f"units: {layer} hidden layer, {rate:g}"] = over(results, _active(row))
            measured[f"active units of the {layer} hidden layer, {rate:g}"] = at(results, -1, _active(row))
    small, full = (measured[f"PGD error, {kind}, 0.01"] for kind in ("100 steps of a hundredth", "1 full step"))
    ends = [one["moments"][-1]["pgd"]["100 steps of a hundredth"] for one in runs(learning_rate=0.01, examine=True)]
    stuck = [share(one["without gradient"], max(one["standing"], 1)) for one in ends]
    measured["standing images whose PGD ends without any gradient, 0.01"] = stuck
    return ArtefactContent(
        measured=measured,
        series=series,
        claims=[
            judge(
                "what still separates log-odds FGSM from PGD at 0.01 is dead units: small steps end where no loss "
                "has a gradient, a full step jumps over",
                Predicate(
                    what="error of one full step minus 100 small ones",
                    values=minus(full, small),
                    side="above",
                    bound=2,
                    unit="points",
                ),
                Predicate(
                    what="standing images whose PGD ends without any gradient", values=stuck, side="above", bound=50
                ),
            )
        ],
    )


def diagnosed(profile: Config) -> list[Config]:
    """Return the diagnostics of Adam's networks at 0.01 and 0.001."""
    return [replace(profile, learning_rate=rate, examine=True) for rate in RATES]


def _active(row: int) -> Any:
    """Return the active units of a hidden layer, median over images, at a diagnosed moment."""
    return lambda moment: moment["layers"][row]["active"]


def _pgd(kind: str) -> Any:
    """Return the test error under a kind of PGD, in per cent, at a diagnosed moment."""
    return lambda moment: 100 - share(moment["pgd"][kind]["standing"], moment["pgd"]["images"])


def _panels(quantity: str) -> list[Panel]:
    own = [
        Panel(title=f"lr {rate:g}", xlabel="updates", ylabel=quantity, xscale="log", series=f"lr {rate:g}:")
        for rate in RATES
    ]
    return [*own, Panel(title="last moment", xlabel=LR_AXIS, ylabel=quantity, xscale="log", series="rates:")]


REPAIRS_STORY = """\
Adam at 0.01 and 0.001, test error in per cent at epsilon 0.25 after the last update. As published, FGSM with float32
cross entropy reaches {float32 cross entropy (as published), 0.01} at 0.01, against
{float32 cross entropy (as published), 0.001} at 0.001; without cutting the images to [0, 1]
{the same, unclipped, 0.01} and {the same, unclipped, 0.001}. Nothing is changed in the network, only in the attack:
in float64 it is {float64 cross entropy, 0.01} and {float64 cross entropy, 0.001}; in float32 with the log-odds loss
{float32 log-odds, 0.01} and {float32 log-odds, 0.001}; images made on another network reach {transfer, 0.01} and
{transfer, 0.001}; PGD with log-odds {PGD-40, log-odds, 0.01} and {PGD-40, log-odds, 0.001}, but with cross entropy
{PGD-40, cross entropy, 0.01} and {PGD-40, cross entropy, 0.001}; Square, which asks for scores alone, with 1,000
queries {Square, 1,000 queries, 0.01} and {Square, 1,000 queries, 0.001}; the worst case per image over all but Square
{worst case of all, 0.01} and {worst case of all, 0.001}. What each repair adds to the published figure is how much of
the robustness was the rounding of the loss. Random signs, which ask the network nothing, reach {random signs, 0.01}
and {random signs, 0.001}: an attack that does worse than they do has useless gradients."""

LEFTOVER_STORY = """\
After the last update at 0.01 a median of {active units of the first hidden layer, 0.01} units of the first and
{active units of the last hidden layer, 0.01} of the last hidden layer are active per image, at 0.001
{active units of the first hidden layer, 0.001} and {active units of the last hidden layer, 0.001}. Where all units of
a layer are off, the logits are constant and no loss has a gradient. PGD's small steps walk into such places and stay:
100 steps of a hundredth of epsilon err on {PGD error, 100 steps of a hundredth, 0.01} %, one full step on
{PGD error, 1 full step, 0.01} %; of the images that stand against the former,
{standing images whose PGD ends without any gradient, 0.01} % end without any gradient. Log-odds repairs the loss, not
dead units."""

BEYOND = (
    Artefact(
        name="regimes", shows="beyond: share of test images in each regime, by training length and rate",
        published={}, needs=rates, compute=regimes, panels=_panels("share of test images, %"),
    ),
    Artefact(
        name="repairs", shows="beyond: FGSM's error as published and with each repair, and PGD's, epsilon 0.25",
        published={}, needs=lambda profile: [*rates(profile), *diagnosed(profile)],
        compute=repairs, story=REPAIRS_STORY, panels=_panels("test error, %"),
    ),
    Artefact(
        name="leftover", shows="beyond: what log-odds does not repair: dead units that stop PGD, epsilon 0.25",
        published={}, needs=diagnosed, compute=leftover, story=LEFTOVER_STORY,
        panels=[
            *(Panel(title=f"lr {rate:g}, PGD with log-odds", xlabel="updates", ylabel="test error, %", xscale="log",
                    series=f"lr {rate:g}:") for rate in RATES),
            Panel(title="active units per image, median", xlabel="updates", ylabel="units", xscale="log",
                  series="units:"),
        ],
    ),
)  # fmt: skip
