"""From runs to the cells of a table, and from cells to the parts of a claim."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Literal

from unmask.reports import quantity
from unmask.training import STUCK_WITHIN
from unmask_experiments.artefact import Estimate, Predicate, Runs, Values
from unmask_experiments.quantities import Result, share
from unmask_experiments.vivek2019.config import Config
from unmask_experiments.vivek2019.grid import Rows

CLASSES = 10
"""Of MNIST and of CIFAR-10."""

Cells = dict[str, Values | Estimate]
"""By ``"row column"``, one value per seed."""


def results_of(runs: Runs, config: Config) -> list[Result]:
    """Return the results of a configuration's runs, one for each seed."""
    return list(runs(**{one.name: getattr(config, one.name) for one in fields(config) if one.name != "seed"}))


def accuracy(result: Result, column: str, weights: str = "last") -> float:
    """Return the accuracy in one column of an evaluation, in per cent."""
    found = result["final"][weights]
    return share(found["standing"][column], found["images"])


def seconds(result: Result) -> float:
    """Return the seconds of training, readings included."""
    return sum(one or 0.0 for one in result["epochs"]["seconds"])


def passes_done(config: Config, result: Result, weights: str = "last") -> float:
    """Return the passes over the training images up to these weights: all, or those up to the selected pass."""
    kept = [right for right in result["epochs"]["validation"] if right is not None]  # None within a pass
    return float(config.epochs if weights == "last" else 1 + kept.index(max(kept)))


def white_box(runs: Runs, rows: Rows, columns: Mapping[str, str], weights: str = "last") -> Cells:
    """Return accuracies under ``columns`` and in the worst case, passes and seconds, of each row's runs."""
    cells: Cells = {}
    for row, config in rows.items():
        results = [one for one in results_of(runs, config) if weights in one.get("final", {})]
        for name, column in {**columns, "worst": "worst"}.items():
            cells[f"{row} {name}"] = [accuracy(one, column, weights) for one in results]
        cells[f"{row} passes"] = [passes_done(config, one, weights) for one in results]
        cells[f"{row} seconds"] = [seconds(one) for one in results]
    return cells


def notes(runs: Runs, rows: Rows, usual: int) -> dict[str, str]:
    """Return remarks on rows: shorter than ``usual`` passes, other images, or training that was stuck."""
    said = {row: _note(config, usual, results_of(runs, config)) for row, config in rows.items()}
    return {row: text for row, text in said.items() if text}


def noted(said: Mapping[str, str], *rows: str) -> str:
    """Join the remarks on these rows, for a claim's evidence.

    Example:
        >>> noted({"pgd": "5 of 20 passes"}, "pgd", "proposed")
        'pgd: 5 of 20 passes'
    """
    return "; ".join(f"{row}: {said[row]}" for row in rows if row in said)


def is_guessing(result: Result) -> bool:
    """Return True if the loss of the last pass is that of guessing: the network has learned nothing."""
    losses = [one for one in result["epochs"]["loss"] if one is not None]
    return bool(losses) and losses[-1] > (1 - STUCK_WITHIN) * math.log(CLASSES)


def _note(config: Config, usual: int, results: Sequence[Result]) -> str:
    again = sum(len(one["begun again"]) for one in results)
    lost = sum(map(is_guessing, results))
    said = {
        f"{config.epochs} of {usual} passes": config.epochs < usual,
        config.shown_data: bool(config.copy),
        "trained in bfloat16": any(one["precision"] != "float32" for one in results),
        f"begun again {quantity(again, 'time')}, being stuck": again > 0,
        f"{quantity(lost, 'run')} at the loss of guessing in the end": lost > 0,
        "diverged": any(one["diverged"] for one in results),
    }
    return ", ".join(text for text, holds in said.items() if holds)


def values(cells: Cells, key: str) -> Values:
    """Return one value per seed, also of an estimate."""
    found = cells[key]
    return [found.value] if isinstance(found, Estimate) else found


def above(cells: Cells, key: str, bound: float, unit: str = "%") -> Predicate:
    """Predicate that a cell is above a bound."""
    return Predicate(what=key, values=cells[key], side="above", bound=bound, unit=unit)


def below(cells: Cells, key: str, bound: float, unit: str = "%") -> Predicate:
    """Predicate that a cell is below a bound."""
    return Predicate(what=key, values=cells[key], side="below", bound=bound, unit=unit)


def difference(
    cells: Cells, left: str, right: str, side: Literal["above", "below"], bound: float, unit: str = "points"
) -> Predicate:
    """Predicate that a cell minus another, seed by seed, is on one side of a bound."""
    found = [one - other for one, other in zip(values(cells, left), values(cells, right), strict=False)]
    return Predicate(what=f"{left} minus {right}", values=found, side=side, bound=bound, unit=unit)
