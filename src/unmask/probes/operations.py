"""Operations without a useful derivative: rounding, thresholds, winners, jumps, probabilities that have saturated."""

from __future__ import annotations

from collections import Counter

from torch import Tensor

from unmask.attacks import straight_through
from unmask.gradients import input_gradient
from unmask.numerics import Batches, Model, undisturbed
from unmask.probes.direction import Direction
from unmask.probes.probe import Repair

OPERATIONS = "non-differentiable operations"
"""The suspected cause."""

KEPT = "custom backward, kept"
"""What ``straight_through`` says of an autograd function that it left as it is."""


def replaced_operations(model: Model, images: Tensor, labels: Tensor) -> Counter[str]:
    """The operations of a model that ``straight_through`` gives another backward, by torch's name, with counts.

    Example:
        >>> import torch
        >>> replaced_operations(lambda x: x.flatten(1).round(), torch.ones(1, 1, 1, 2), torch.tensor([0]))
        Counter({'round': 1})
    """
    stand_in = straight_through(model)
    with undisturbed(model):
        input_gradient(stand_in, images, labels)
    return Counter({name: count for name, count in stand_in.replaced.items() if name != KEPT})


def operations(model: Model, found: Counter[str], repair: Repair, batches: Batches) -> Direction:
    """The probe that compares the gradient with one that goes straight through the operations that were found.

    Example:
        >>> from unmask.attacks import FGSM, Trial
        >>> trial = Trial(attacks=[FGSM(epsilon=0.1)])
        >>> repair = Repair(does="straight through", against="as it is", control=trial, remedy=trial)
        >>> operations(lambda x: x.flatten(1).round(), Counter(round=1), repair, Batches()).name
        'non-differentiable operations'
    """
    names = ", ".join(found)
    return Direction(
        name=OPERATIONS,
        what=f"a stand-in that replaces operations without a useful derivative ({names})",
        advice=f"Attack through a differentiable stand-in for {names}, as was done here; report that figure.",
        stand_in=straight_through(model),
        repair=repair,
        batches=batches,
    )
