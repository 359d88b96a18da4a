"""Accuracy over epsilon, for a report's figure: a few attacks with little spent on each, which decide nothing."""

from __future__ import annotations

from typing import Any

from unmask.attacks import FGSM, FRSM, PGD, Attack, Square
from unmask.auditing.kit import Kit
from unmask.auditing.probes.sweep import accuracy_curve
from unmask.auditing.settings import cost_of
from unmask.numerics import derive_seed
from unmask.reports.record import Curve

GRID = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
STEPS = 10
QUERIES = 100


def curves_of(kit: Kit, *, gradients: bool) -> list[Curve]:
    """A curve for each attack worth showing, on a sample of the images.

    Example:
        >>> import torch
        >>> from unmask.numerics import Batches
        >>> from unmask.auditing.ledger import Ledger
        >>> labels, model = torch.tensor([0]), torch.nn.Flatten()
        >>> ledger = Ledger(images=torch.ones(1, 1, 1, 2), labels=labels, batches=Batches())
        >>> task = {"model": model, "given": model, "ledger": ledger, "classes": 2, "epsilon": 0.1, "seed": 0}
        >>> [curve.name for curve in curves_of(Kit(reference=FGSM(epsilon=0.1), **task), gradients=True)]
        ['reference attack', 'one step, log-odds', '10 steps', 'random signs']
    """
    part = kit.ledger.sample(kit.effort.shown, seed=derive_seed(kit.seed, "curves"))
    epsilons, curves = sorted({*GRID, kit.epsilon}), []
    for name, (attack, cost) in _shown(kit.reference, kit.epsilon, gradients).items():
        kit.ledger.work(f"{name}, over epsilon", len(epsilons) * cost)
        model = kit.given if attack is kit.reference else kit.model
        task = (model, part.images, part.labels)
        curves.append(accuracy_curve(name, attack, *task, epsilons=epsilons, batches=kit.ledger.batches))
    return curves


def cost_of_curves(kit: Kit) -> float:
    """Gradients per image of the sample, for a model that has gradients."""
    return (len(GRID) + 1) * sum(cost for _, cost in _shown(kit.reference, kit.epsilon, gradients=True).values())


def _shown(reference: Attack, epsilon: float, gradients: bool) -> dict[str, tuple[Any, float]]:
    """The attacks that have a curve over epsilon, each with the gradients it takes per image and epsilon."""
    shown: dict[str, tuple[Any, float]] = {}
    if isinstance(reference, Square) or not gradients:
        shown[f"{QUERIES} queries"] = (Square(epsilon=epsilon, queries=QUERIES), QUERIES / 2)
    elif hasattr(reference, "sweep"):
        shown["reference attack"] = (reference, cost_of(reference))
    if gradients:
        shown["one step, log-odds"] = (FGSM(epsilon=epsilon), 0.5)
        shown[f"{STEPS} steps"] = (PGD(epsilon=epsilon, steps=STEPS), STEPS)
    shown["random signs"] = (FRSM(epsilon=epsilon), 0.5)
    return shown
