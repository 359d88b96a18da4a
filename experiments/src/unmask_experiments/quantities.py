"""Quantities of the two papers on perceptrons from the records of runs: percentages by moment, one value per seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from unmask_experiments.artefact import Values

Result = Mapping[str, Any]
Moment = Mapping[str, Any]


def share(part: int | float, whole: int | float) -> float:
    """Return a share in per cent.

    Example:
        >>> share(1, 4)
        25.0
    """
    return 100 * part / whole


def natural(moment: Moment) -> float:
    """Return the test error on natural images, in per cent."""
    return share(moment["test"]["errors"], moment["test"]["images"])


def gap(moment: Moment) -> float:
    """Return the generalisation gap: test error minus training error, in points."""
    return natural(moment) - share(moment["train"]["errors"], moment["train"]["images"])


def under(attack: str, epsilon: float) -> Callable[[Moment], float | None]:
    """Return the test error under a one-step attack, in per cent; None where this epsilon was not run."""

    def error(moment: Moment) -> float | None:
        rows = moment["attacks"][attack]
        if epsilon not in rows["epsilons"]:
            return None
        standing = sum(rows["standing"][rows["epsilons"].index(epsilon)])
        return share(moment["test"]["images"] - standing, moment["test"]["images"])

    return error


def slow(attack: str) -> Callable[[Moment], float]:
    """Return the test error under PGD, or under the worst of all attacks, on the images that it was run on."""
    return lambda moment: share(
        moment["slow"]["images"] - sum(moment["slow"]["standing"][attack]), moment["slow"]["images"]
    )


def square(moment: Moment) -> float:
    """Return the test error under Square at a diagnosed moment, in per cent."""
    return share(moment["square"]["images"] - moment["square"]["standing"], moment["square"]["images"])


def regime(index: int, precision: str = "regimes") -> Callable[[Moment], float]:
    """Return the share of the test images in a regime of cross entropy's gradient, in per cent."""
    return lambda moment: share(moment[precision][index], sum(moment[precision]))


def valid(moment: Moment) -> float:
    """Return the share of the test images that FGSM can change at all, their gradient not being zero, in per cent."""
    return 100 - regime(2)(moment)


def random_training(epsilon: float) -> Callable[[Moment], float]:
    """Return the error on training images under the random sign method, in per cent."""
    return lambda moment: share(
        moment["train"]["images"] - moment["train"]["random_standing"][moment["train"]["epsilons"].index(epsilon)],
        moment["train"]["images"],
    )


def deepfool(name: str) -> Callable[[Moment], float]:
    """Return DeepFool's ``"errors"`` in per cent, or its mean ``"relative"`` L2 change."""

    def value(moment: Moment) -> float:
        row = moment["slow"]["deepfool"]
        return share(row["errors"], row["images"]) if name == "errors" else float(row[name] or 0.0)

    return value


def at(
    results: Sequence[Result], position: float, quantity: Callable[[Moment], float | None], key: str = "update"
) -> list[float]:
    """Return the quantity at one moment of each run; -1 is the last. Runs that ended before are left out."""
    values = []
    for result in results:
        moments = [one for one in result["moments"] if position == -1 or one[key] == position]
        value = quantity(moments[-1]) if moments else None
        if value is not None:
            values.append(value)
    return values


def over(
    results: Sequence[Result], quantity: Callable[[Moment], float | None], key: str = "update"
) -> dict[float, Values]:
    """Return the quantity at every moment: x to one value per run."""
    places = sorted({one[key] for result in results for one in result["moments"]})
    return {place: at(results, place, quantity, key) for place in places}


def minus(left: Values, right: Values) -> list[float]:
    """Return differences, run by run, over as many as both have.

    Example:
        >>> minus([3.0, 2.0], [1.0])
        [2.0]
    """
    return [one - other for one, other in zip(left, right, strict=False)]


def rank_correlation(left: Sequence[float], right: Sequence[float]) -> float:
    """Return Spearman's rank correlation; NaN with fewer than four pairs, or where a side does not vary.

    Example:
        >>> rank_correlation([1, 2, 3, 4], [10, 20, 30, 40])
        1.0
    """
    from scipy import stats  # takes 50 MB, which the processes that train have no use for

    if len(left) < 4 or len(set(left)) < 2 or len(set(right)) < 2:
        return math.nan
    return float(f"{stats.spearmanr(left, right).statistic:.12g}")
