"""From runs of Yue 2017 to accuracies: against epsilon, by epoch, and how far they fall and rise again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from unmask_experiments.artefact import Values
from unmask_experiments.quantities import Moment, Result, at, natural, under
from unmask_experiments.yue2017.runs import LARGER_BATCH

FGSM = "as published"
EPSILONS = (0.02, 0.05, 0.1, 0.2, 0.3)
KINDS: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "L2": {"training": "l2"},
    "adversarial training": {"training": "adversarial"},
    "float64": {"precision": "float64"},
    "SGD 0.1": {"optimizer": "sgd", "learning_rate": 0.1},
    "SGD 0.01": {"optimizer": "sgd", "learning_rate": 0.01},
    "batch 500": {"batch_size": LARGER_BATCH},
    "batch 500, float64": {"batch_size": LARGER_BATCH, "precision": "float64"},
}


def of(*names: str) -> Any:
    """The runs of these kinds, as an artefact names them."""
    return lambda profile: [replace(profile, **KINDS[name]) for name in names]


def accuracy(epsilon: float, attack: str = FGSM) -> Any:
    """Accuracy under a one-step attack in per cent, for one moment; None where this epsilon was not run."""

    def value(moment: Moment) -> float | None:
        error = natural(moment) if epsilon == 0 else under(attack, epsilon)(moment)
        return None if error is None else 100 - error

    return value


def best(result: Result) -> Moment:
    """The moment next to the lowest validation loss: what the paper calls the original classifier."""
    losses = result["epochs"]["validation_loss"]
    epoch = result["epochs"]["epoch"][losses.index(min(losses))]
    return min(result["moments"], key=lambda one: abs(one["epoch"] - epoch))


def at_best(results: Sequence[Result], quantity: Any) -> list[float]:
    """Return the quantity at each run's lowest validation loss."""
    return [value for result in results if (value := quantity(best(result))) is not None]


def against_epsilon(results: Sequence[Result], attack: str = FGSM, *, last: bool = False) -> dict[float, Values]:
    """Accuracy against epsilon, at the lowest validation loss or at the end."""
    epsilons = [0.0, *(results[0]["moments"][-1]["attacks"][FGSM]["epsilons"] if results else [])]
    return {
        one: at(results, -1, accuracy(one, attack)) if last else at_best(results, accuracy(one, attack))
        for one in epsilons
    }


def by_epoch(results: Sequence[Result], quantity: Any, until: float = float("inf")) -> dict[float, Values]:
    """Return the quantity against the epoch."""
    places = sorted({one["epoch"] for result in results for one in result["moments"] if one["epoch"] <= until})
    return {place: at(results, place, quantity, "epoch") for place in places}


def rise(results: Sequence[Result], quantity: Any, *, since: Any = None) -> list[float]:
    """Return the rise from the quantity's lowest point, after the lowest validation loss, to the end, run by run.

    With ``since``, the rise is from the point at which that other quantity is lowest: the parts of a whole then rise by
    the parts of its rise.
    """
    values = []
    for result in results:
        start, lowest = best(result)["epoch"], since or quantity
        row = [one for one in result["moments"] if one["epoch"] >= start and quantity(one) is not None]
        if row:
            values.append(quantity(row[-1]) - quantity(min(row, key=lowest)))
    return values


def fall(results: Sequence[Result], quantity: Any) -> list[float]:
    """Return the fall of the quantity from the lowest validation loss to its lowest point after it, run by run."""
    values = []
    for result in results:
        start = best(result)["epoch"]
        row = [value for one in result["moments"] if one["epoch"] >= start and (value := quantity(one)) is not None]
        if row:
            values.append(row[0] - min(row))
    return values


def every_epoch(results: Sequence[Result], name: str, pick: Any = lambda value: value) -> dict[float, Values]:
    """Return a value recorded at every epoch, against the epoch."""
    places = sorted({epoch for result in results for epoch in result["epochs"]["epoch"]})
    rows = [dict(zip(one["epochs"]["epoch"], one["epochs"][name], strict=True)) for one in results]
    return {place: [pick(row[place]) for row in rows if row.get(place) is not None] for place in places}
