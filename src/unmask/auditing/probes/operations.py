"""Operations without a useful derivative: rounding, thresholds, winners, jumps, probabilities that have saturated."""

from __future__ import annotations

from collections import Counter

from torch import Tensor

from unmask.attacks import straight_through
from unmask.attacks.bpda.model import StraightThrough
from unmask.auditing.probes.direction import Direction
from unmask.auditing.probes.probe import Repair
from unmask.gradients import Detached, input_gradient
from unmask.numerics import Batches, Model, undisturbed

OPERATIONS = "non-differentiable operations"
"""The suspected cause."""

KEPT = "custom backward, kept"
"""What ``straight_through`` says of an autograd function that it left as it is."""


def with_backward(
    model: Model, images: Tensor, labels: Tensor, batches: Batches
) -> tuple[StraightThrough, Counter[str]]:
    """A stand-in with a backward pass, tried on images, and the operations it replaces, by torch's name, with counts.

    Raises:
        ValueError: the stand-in fails on this model.

    Example:
        >>> import torch
        >>> image, label = torch.ones(1, 1, 1, 2), torch.tensor([0])
        >>> with_backward(lambda x: x.flatten(1).round(), image, label, Batches())[1]
        Counter({'round': 1})
    """
    stand_in = straight_through(model.model if isinstance(model, Detached) else model)

    def ask(x: Tensor, y: Tensor) -> Tensor:
        with undisturbed(model):
            return input_gradient(stand_in, x, y).gradient

    try:
        batches(ask, images, labels)
    except Exception as error:  # it runs the model's own code in a way that nobody foresaw
        reason = (str(error).splitlines() or [""])[0]
        raise ValueError(f"a stand-in of the model fails: {type(error).__name__}: {reason}") from error
    return stand_in, Counter({name: count for name, count in stand_in.replaced.items() if name != KEPT})


def operations(stand_in: Model, found: Counter[str], repair: Repair, batches: Batches) -> Direction:
    """The probe that compares the gradient with one that goes straight through the operations that were found.

    Example:
        >>> from unmask.attacks import FGSM, Trial
        >>> trial = Trial(attacks=[FGSM(epsilon=0.1)])
        >>> repair = Repair(does="straight through", against="as it is", control=trial, remedy=trial)
        >>> operations(lambda x: x.flatten(1), Counter(round=1), repair, Batches()).name
        'non-differentiable operations'
    """
    names = ", ".join(found)
    return Direction(
        name=OPERATIONS,
        what=f"a stand-in that replaces operations without a useful derivative ({names})",
        advice=f"Attack through a differentiable stand-in for {names}, as was done here; report that figure.",
        stand_in=stand_in,
        repair=repair,
        batches=batches,
    )
