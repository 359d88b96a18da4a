"""From runs to the figures of Yue 2017's part II, zero gradients after long training, and the claims made of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from unmask_experiments.artefact import ArtefactContent, Predicate, Runs, Values, judge
from unmask_experiments.quantities import Moment, Result, minus, rank_correlation, share
from unmask_experiments.yue2017.curves import (
    EPSILONS,
    FGSM,
    KINDS,
    accuracy,
    against_epsilon,
    by_epoch,
    every_epoch,
    rise,
)


def _late(name: str, runs: Runs) -> tuple[Sequence[Result], list[float], dict[str, Mapping[float, Values]]]:
    results = runs(**KINDS[name])
    series: dict[str, Mapping[float, Values]] = {
        f"{name}: epsilon {one:g}": by_epoch(results, accuracy(one)) for one in EPSILONS
    }
    return results, rise(results, accuracy(runs.profile.epsilon)), series


def fig6(runs: Runs) -> ArtefactContent:
    """Accuracy on perturbed inputs by epoch, for longer."""
    results, up, series = _late("plain", runs)
    _, larger, more = _late("batch 500", runs)
    rows = [[(accuracy(runs.profile.epsilon)(one), one["epoch"]) for one in result["moments"]] for result in results]
    turn = [float(min(row)[1]) for row in rows]
    return ArtefactContent(
        measured={"late rise, epsilon 0.1": up, "late rise, batch 500": larger, "lowest at epoch": turn},
        series=series | more,
        claims=[
            judge(
                "after about 50 epochs accuracy under FGSM rises again",
                Predicate(what="late rise, epsilon 0.1", values=up, side="above", bound=2, unit="points"),
                Predicate(what="late rise, batch 500", values=larger, side="above", bound=2, unit="points"),
            )
        ],
    )


def fig6_sgd(runs: Runs) -> ArtefactContent:
    """The same with SGD."""
    _, adam, _ = _late("plain", runs)
    (_, fast, first), (_, slow, second) = _late("SGD 0.1", runs), _late("SGD 0.01", runs)
    return ArtefactContent(
        measured={"late rise, SGD 0.1": fast, "late rise, SGD 0.01": slow, "late rise, Adam": adam},
        series=first | second,
        claims=[
            judge(
                "SGD shows the same trend, smaller",
                Predicate(what="late rise, SGD 0.1", values=fast, side="above", bound=0, unit="points"),
                Predicate(
                    what="late rise, SGD 0.1 minus Adam", values=minus(fast, adam), side="below", bound=0, unit="points"
                ),
            )
        ],
    )


def fig7(runs: Runs) -> ArtefactContent:
    """Spectral norm of each layer's weights."""
    results = runs()
    series = {
        f"layer {row + 1}": every_epoch(results, "spectral_norms", lambda value, row=row: value[row])
        for row in range(3)
    }
    growth = {
        name: [last / first for first, last in zip(*(list(points.values())[end] for end in (0, -1)), strict=False)]
        if points
        else []
        for name, points in series.items()
    }
    parts = [
        Predicate(what=f"{name}, last over first", values=values, side="above", bound=1, unit="")
        for name, values in growth.items()
    ]
    return ArtefactContent(
        measured={f"{name}, last over first epoch": values for name, values in growth.items()},
        series=series,
        claims=[judge("the spectral norms of all layers rise", *parts)],
    )


def zeros(moment: Moment) -> float:
    """Zero components of the input gradient, mean per image."""
    return float(moment["zero_components"])


def fig8(runs: Runs) -> ArtefactContent:
    """Number of zero components by epoch, and how it goes with accuracy."""
    results, epsilon = runs(), runs.profile.epsilon
    up = [zeros(one["moments"][-1]) - zeros(one["moments"][0]) for one in results]
    ranks = [_rank(one["moments"], epsilon) for one in results]
    return ArtefactContent(
        measured={"rise of the zeros per image": up, "rank correlation with accuracy, epsilon 0.1": ranks},
        series={"zero components per image": by_epoch(results, zeros)},
        claims=[
            judge(
                "zeros become more as training goes on",
                Predicate(what="rise", values=up, side="above", bound=0, unit="per image"),
            ),
            judge(
                "the caption: zeros go with accuracy on perturbed inputs (the text says inversely)",
                Predicate(what="rank correlation", values=ranks, side="above", bound=0.5, unit=""),
            ),
        ],
    )


def _rank(moments: Sequence[Moment], epsilon: float) -> float:
    correlation = rank_correlation([zeros(one) for one in moments], [accuracy(epsilon)(one) for one in moments])
    return 0.0 if math.isnan(correlation) else correlation


def float64(runs: Runs) -> ArtefactContent:
    """Accuracy and zeros in float64; and the float32 network attacked in float64."""
    single, up, _ = _late("plain", runs)
    double, up64, series = _late("float64", runs)
    _, larger64, more = _late("batch 500, float64", runs)
    series |= more
    cast = rise(single, accuracy(runs.profile.epsilon, "recast"))
    series |= {
        "recast: float32 weights attacked in float64": by_epoch(single, accuracy(runs.profile.epsilon, "recast"))
    }
    series |= {"recast: float32 attacked in float32": by_epoch(single, accuracy(runs.profile.epsilon))}
    series |= {"zeros: float32": by_epoch(single, zeros), "zeros: float64": by_epoch(double, zeros)}
    gone = Predicate(what="late rise in float64", values=up64, side="below", bound=2, unit="points")
    both = Predicate(what="the same, batch 500", values=larger64, side="below", bound=2, unit="points")
    less = Predicate(what="float32 minus float64", values=minus(up, up64), side="above", bound=0, unit="points")
    none = [zeros(one["moments"][-1]) for one in double]
    return ArtefactContent(
        measured={
            "late rise, float64": up64,
            "late rise, float64, batch 500": larger64,
            "late rise, float32": up,
            "late rise, float32 attacked in float64": cast,
            "zeros per image, float64": none,
        },
        series=series,
        claims=[judge("in float64 the late rise disappears", gone, both, less)],
    )


def fig9(runs: Runs) -> ArtefactContent:
    """Random +-1 where the gradient is 0."""
    results = runs()
    plain, noisy = (against_epsilon(results, name, last=True) for name in (FGSM, "random at zeros"))
    largest = [max(abs(plain[x][row] - noisy[x][row]) for x in plain if noisy[x]) for row in range(len(results))]
    part = Predicate(what="largest difference", values=largest, side="below", bound=1, unit="points")
    return ArtefactContent(
        measured={"largest difference in accuracy": largest},
        series={"gradient as it is": plain, "random signs where it is 0": noisy},
        claims=[judge("random signs where the gradient is 0 have no effect on accuracy", part)],
    )


def fig12(runs: Runs) -> ArtefactContent:
    """The float64 twin's attack on the float32 network."""
    single, double, epsilon = runs(), runs(**KINDS["float64"]), runs.profile.epsilon
    moved = {
        x: [_transferred(one["moments"][-1], x) for one in double] for x in (runs.profile.epsilons if double else ())
    }
    own = against_epsilon(single, last=True)
    cast = against_epsilon(single, "recast", last=True)
    gap = minus(moved.get(epsilon, []), cast.get(epsilon, []))
    part = Predicate(
        what="accuracy under the twin's attack minus under its own in float64",
        values=gap,
        side="above",
        bound=5,
        unit="points",
    )
    return ArtefactContent(
        measured={"transfer gap, epsilon 0.1": gap},
        series={
            "its own gradient, float32": own,
            "its own gradient, float64": cast,
            "the float64 twin's gradient": moved,
        },
        claims=[judge("the transfer gap hides the difference of precision", part)],
    )


def _transferred(moment: Moment, epsilon: float) -> float:
    row = moment["twin"]
    return share(row["standing"][row["epsilons"].index(epsilon)], moment["test"]["images"])
