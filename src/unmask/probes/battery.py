"""The battery: which attacks an audit runs, and which probes read their outcomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import is_dataclass, replace
from typing import Any

from torch import Tensor

from unmask.attacks import FGSM, FRSM, PGD, RFGSM, Attack, Trial
from unmask.losses import Loss, RivalMargin, cross_entropy, dlr, log_odds, margin
from unmask.numerics import Batches, Model, derive_seed
from unmask.probes.noise import Noise
from unmask.probes.saturation import Saturation
from unmask.probes.smoothness import Smoothness
from unmask.probes.strength import Strength
from unmask.probes.sweep import Sweep, unchanged
from unmask.probes.vanishing import Vanishing
from unmask.record import Finding

STEPS = 40
"""Gradients per image of the attack with many steps, and of its control."""

DRAWS = 10
"""Random sign draws per image, and gradients of their control."""

RIVALS = 9
"""So many of the other classes are headed for, highest logits first."""

OFFSET = 0.1
"""The control's single steps start this share of epsilon away from the image: in effect the same step again."""


class Battery:
    """All trials and probes of one audit. Probes that try the same attacks share a trial, so each runs once.

    Attributes:
        clean: no attack; ``claimed``: the reference attack; ``trials``: all that count for the worst case, each with
            the gradients it takes per image; ``probes``: in the order of the report.

    Example:
        >>> battery = Battery(FGSM(epsilon=0.1), epsilon=0.1, classes=10, seed=0, batches=Batches())
        >>> [trial.name for trial, cost in battery.trials][:2]
        ['no attack', 'reference attack']
    """

    def __init__(self, reference: Attack, *, epsilon: float, classes: int, seed: int, batches: Batches) -> None:
        self.trials: list[tuple[Trial, float]] = []
        self._batches = batches
        step = FGSM(epsilon=epsilon)
        again = [
            RFGSM(epsilon=epsilon, alpha=OFFSET * epsilon, seed=derive_seed(seed, "again", i)) for i in range(STEPS)
        ]
        draws = [FRSM(epsilon=epsilon, seed=derive_seed(seed, "draw", i)) for i in range(DRAWS)]
        path = PGD(epsilon=epsilon, steps=STEPS - 1, seed=seed)

        self.clean = self._trial("no attack", 1, unchanged)
        self.claimed = self._trial("reference attack", 2, reference)
        if _has(reference, "loss"):
            as_given = repaired = self.claimed
            if not _is_unsaturating(_loss_of(reference)):
                repaired = self._trial("reference, log-odds", 2, _with(reference, loss=log_odds))
        else:
            blunt = FGSM(epsilon=epsilon, loss=cross_entropy)
            as_given = self._trial("reference, then one step, cross entropy", 3, reference, blunt)
            repaired = self._trial("reference, then one step, log-odds", 3, reference, step)
        one = self._trial("one step, log-odds", 2, step)
        few = self._trial(f"one step from {DRAWS} starts", DRAWS, step, *again[: DRAWS - 1])
        singles = self._trial(f"one step from {STEPS} starts", STEPS, step, *again[: STEPS - 1])
        many = self._trial(f"{STEPS} steps", STEPS, step, path)
        rivals = range(1, min(RIVALS, classes - 1) + 1)
        aimed = [FGSM(epsilon=epsilon, loss=RivalMargin(rank=rank)) for rank in rivals]
        self._trial("one step towards each rival", len(aimed), *aimed)
        noise = self._trial(f"random signs, {DRAWS} draws", DRAWS / 2, *draws)
        self.probes: list[Callable[[Model, Tensor, Tensor], Finding]] = [
            Saturation(control=as_given, remedy=repaired, batches=batches),
            Vanishing(control=few, remedy=noise, batches=batches),
            Smoothness(one=one, control=singles, remedy=many, batches=batches),
            Noise(control=few, remedy=noise, clean=self.clean),
            Strength(control=one, remedy=many),
        ]
        if _has(reference, "epsilon"):
            unbounded = Trial(attacks=[_with(reference, epsilon=1.0)], name="reference at epsilon 1", batches=batches)
            self.probes.append(Sweep(control=unbounded, clean=self.clean, threshold=0.1 + 1 / classes))

    def _trial(self, name: str, cost: float, *attacks: Attack) -> Trial:
        """A trial of these attacks in a row: the one there is already, or a new one."""
        for trial, _ in self.trials:
            if list(trial.attacks) == list(attacks):
                return trial
        self.trials.append((Trial(attacks=attacks, name=name, batches=self._batches), cost))
        return self.trials[-1][0]


def _is_unsaturating(loss: Loss) -> bool:
    """Whether it is a loss of ours whose gradient does not round away; of any other we do not know."""
    return loss in (log_odds, margin, dlr) or isinstance(loss, RivalMargin)


def _loss_of(attack: Any) -> Loss:
    loss: Loss = attack.loss
    return loss


def _has(attack: Attack, setting: str) -> bool:
    return is_dataclass(attack) and hasattr(attack, setting)


def _with(attack: Any, **settings: Any) -> Attack:
    """The same attack with some settings changed."""
    changed: Attack = replace(attack, **settings)
    return changed
