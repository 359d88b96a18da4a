"""Accuracy over epsilon, for a report's figure: a few attacks with little spent on each, which decide nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unmask.attacks import FGSM, FRSM, PGD, Attack, Square, predict
from unmask.attacks.attack import BoundedAttack
from unmask.auditing.context import Context
from unmask.auditing.evaluator import Omission
from unmask.losses import log_odds
from unmask.numerics import Batches, Model, out_of_memory
from unmask.reports.record import Curve

GRID = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
"""The epsilons of a curve, besides the audited one."""

STEPS = 10
QUERIES = 100


class _Shown(NamedTuple):
    """An attack that has a curve: its name, and the gradients it takes per image and epsilon."""

    name: str
    attack: Attack
    cost: float


def curves_of(context: Context) -> list[Curve]:
    """Return a curve for each attack worth showing, on a sample of the images.

    Example:
        >>> from unmask.auditing.context import prepare
        >>> context = prepare(torch.nn.Flatten(), torch.ones(1, 1, 1, 2), torch.tensor([0]), epsilon=0.1)
        >>> [curve.name for curve in curves_of(context)]
        ['reference attack', 'one step, log-odds', '10 steps', 'random signs']
    """
    evaluator, rows = context.evaluator, context.sample(context.effort.shown, "curves")
    epsilons, curves = sorted({*GRID, context.epsilon}), []
    for name, attack, cost in _shown(context):
        progress = evaluator.clock.work(f"{name}, over epsilon", cost=len(epsilons) * cost)
        model = context.audited.given if attack is context.reference else context.model
        task = (model, evaluator.images[rows], evaluator.labels[rows])
        settings: dict[str, Any] = {"epsilons": epsilons, "batches": evaluator.batches, "progress": progress}
        try:
            curves.append(accuracy_curve(name, attack, *task, **settings))
        except Exception as error:  # a reference attack from elsewhere may refuse other epsilons
            if attack is not context.reference or (isinstance(error, RuntimeError) and out_of_memory(error)):
                raise
            reason = f"it fails at other epsilons: {type(error).__name__}: {error}"
            evaluator.not_run.append(Omission(f"{name}, over epsilon", reason))
    return curves


def expected_cost(context: Context) -> float:
    """Return the gradients per image of the sample."""
    return (len(GRID) + 1) * sum(shown.cost for shown in _shown(context))


def _shown(context: Context) -> Iterator[_Shown]:
    """Yield the attacks that have a curve; the reference attack has one if it is a `BoundedAttack`."""
    reference, epsilon = context.reference, context.epsilon
    if isinstance(reference, Square) or not context.gradients:
        yield _Shown(f"{QUERIES} queries", Square(epsilon, queries=QUERIES), QUERIES / 2)
    elif isinstance(reference, BoundedAttack):
        yield _Shown("reference attack", reference, reference.cost)
    if context.gradients:
        yield _Shown("one step, log-odds", FGSM(epsilon, loss=log_odds), 0.5)
        yield _Shown(f"{STEPS} steps", PGD(epsilon, steps=STEPS, loss=log_odds), STEPS)
    yield _Shown("random signs", FRSM(epsilon), 0.5)


def accuracy_curve(
    name: str,
    attack: Attack,
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    epsilons: Sequence[float],
    batches: Batches,
    progress: Callable[[int], None] | None = None,
) -> Curve:
    """Return the accuracy under one attack at each epsilon."""

    def correct(x: Tensor, y: Tensor) -> Tensor:
        points = attack.sweep(model, x, y, epsilons=epsilons)
        return torch.stack([predict(model, point) == y for point in points], dim=1)

    (rows,) = batches(correct, images, labels, progress=progress)
    return Curve(name=name, x=list(epsilons), y=rows.double().mean(0).tolist())
