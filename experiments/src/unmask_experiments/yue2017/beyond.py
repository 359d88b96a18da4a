"""Beyond Yue 2017: the late rise split into the two regimes, and the two assumptions that the paper states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unmask_experiments.artefact import Artefact, ArtefactContent, Panel, Predicate, Runs, judge
from unmask_experiments.measurement import REGIMES
from unmask_experiments.quantities import Moment, Result, at, minus, regime, share, slow, square, under
from unmask_experiments.yue2017.curves import KINDS, accuracy, at_best, best, by_epoch, of, rise
from unmask_experiments.yue2017.runs import diagnosed, digits


def correct_in_regime(index: int, epsilon: float) -> Any:
    """Return the share of all test images that are correct under FGSM and lie in this regime, in per cent."""

    def value(moment: Moment) -> float:
        rows = moment["attacks"]["as published"]
        return share(rows["standing"][rows["epsilons"].index(epsilon)][index], moment["test"]["images"])

    return value


def late_rise(runs: Runs) -> ArtefactContent:
    """Accuracy under FGSM by epoch, split by the regime that the surviving images are in; and the repairs."""
    results, epsilon = runs(), runs.profile.epsilon
    series = {
        f"split: standing, {name}": by_epoch(results, correct_in_regime(index, epsilon))
        for index, name in enumerate(REGIMES)
    }
    series |= {f"share: {name}": by_epoch(results, regime(index)) for index, name in enumerate(REGIMES)}
    repairs = {"float32 (as published)": "as published", "float64": "recast", "log-odds": "log-odds"}
    series |= {f"repair: {name}": by_epoch(results, accuracy(epsilon, key)) for name, key in repairs.items()}
    series["repair: PGD-40, log-odds"] = by_epoch(results, lambda one: 100 - slow("PGD log-odds")(one))
    up, exact = rise(results, accuracy(epsilon)), rise(results, accuracy(epsilon, "log-odds"))
    whole = accuracy(epsilon)
    parts = {name: rise(results, correct_in_regime(index, epsilon), since=whole) for index, name in enumerate(REGIMES)}
    return ArtefactContent(
        measured={"late rise, as published": up, "late rise, log-odds": exact}
        | {f"late rise among images of the regime: {name}": values for name, values in parts.items()},
        series=series,
        claims=[
            judge(
                "the late rise is float32, not robustness: with the log-odds loss it is gone",
                Predicate(what="late rise as published", values=up, side="above", bound=2, unit="points"),
                Predicate(what="late rise with log-odds", values=exact, side="below", bound=2, unit="points"),
            ),
            judge(
                "the late rise is zero gradients",
                Predicate(
                    what="rise among images with a zero gradient minus among those with a wrong direction",
                    values=minus(parts["all zero"], parts["wrong direction"]),
                    side="above",
                    bound=0,
                    unit="points",
                ),
            ),
        ],
    )


def assumptions(runs: Runs) -> ArtefactContent:
    """Test the two assumptions: FGSM's verdict on L2 and on overfitting carries over to other attacks and data."""
    epsilon = runs.profile.epsilon
    plain, l2, trained = (runs(**KINDS[name]) for name in ("plain", "L2", "adversarial training"))
    small, small_l2 = (
        runs(data="digits", epochs=one.epochs, moments=one.moments, training=one.training)
        for one in digits(runs.profile)
    )

    def gain(quantity: Any) -> list[float]:
        return minus(at_best(l2, quantity), at_best(plain, quantity))

    measured = {
        "L2 minus plain, FGSM": gain(accuracy(epsilon)),
        "L2 minus plain, PGD": gain(lambda one: 100 - slow("PGD log-odds")(one)),
        "L2 minus plain, transfer": gain(lambda one: 100 - (under("transfer", epsilon)(one) or 0.0)),
        "L2 minus plain, Square": minus(
            _at_kept(runs(training="l2", examine=True), l2), _at_kept(runs(examine=True), plain)
        ),
        "adversarial training minus plain, PGD": minus(
            at_best(trained, lambda one: 100 - slow("PGD log-odds")(one)),
            at_best(plain, lambda one: 100 - slow("PGD log-odds")(one)),
        ),
        "L2 minus plain, FGSM, digits": minus(at_best(small_l2, accuracy(epsilon)), at_best(small, accuracy(epsilon))),
        "late rise, digits": rise(small, accuracy(epsilon)),
    }
    attacks = [
        Predicate(what=key, values=measured[key], side="above", bound=0, unit="points") for key in list(measured)[1:5]
    ]
    data = [
        Predicate(what=key, values=measured[key], side="above", bound=0, unit="points") for key in list(measured)[5:]
    ]
    return ArtefactContent(
        measured=measured,
        claims=[
            judge("assumption: FGSM's verdict carries over to other attacks", *attacks),
            judge("assumption: the results are not MNIST's alone (digits)", *data),
        ],
    )


def _at_kept(diagnosed: Sequence[Result], trained: Sequence[Result]) -> list[float]:
    """Accuracy under Square at the lowest validation loss of the run that was examined."""
    pairs = zip(diagnosed, trained, strict=False)
    return [100 - value for look, own in pairs for value in at([look], best(own)["epoch"], square, "epoch")]


LATE_STORY = """\
Accuracy under FGSM with float32 cross entropy, epsilon 0.1, rises by {late rise, as published} points from its lowest
point to the last epoch. Of that, {late rise among images of the regime: wrong direction} points are images whose
gradient has the wrong direction (log-odds from 16.6 on),
{late rise among images of the regime: all zero} points images whose gradient is zero throughout (from 104 on), which
is the explanation that the paper gives, and {late rise among images of the regime: sound} points images whose gradient
is sound: some that stood by right then stand by wrong now. The same networks attacked with log-odds rise by
{late rise, log-odds} points. Counting zeros, as the paper does, misses the wrong-direction regime, in which no
component is zero."""

BEYOND = (
    Artefact(
        name="late-rise", shows="beyond: the late rise of figure 6 split into the regimes of the gradient, epsilon 0.1",
        published={}, needs=of("plain"), compute=late_rise, story=LATE_STORY,
        panels=[
            Panel(title="standing under FGSM", xlabel="epoch", ylabel="share of test images, %", series="split:"),
            Panel(title="all images, by regime", xlabel="epoch", ylabel="share of test images, %", series="share:"),
            Panel(title="the attack repaired", xlabel="epoch", ylabel="accuracy, %", series="repair:"),
        ],
    ),
    Artefact(
        name="assumptions", shows="beyond: the paper's two assumptions, other attacks and other data, epsilon 0.1",
        published={}, needs=lambda profile: [
            *of("plain", "L2", "adversarial training")(profile), *digits(profile), *diagnosed(profile)
        ],
        compute=assumptions,
    ),
)  # fmt: skip
