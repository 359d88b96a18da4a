"""The battery: which attacks an audit runs, and which probes read their outcomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import is_dataclass, replace
from typing import Any

from torch import Tensor

from unmask.attacks import FGSM, FRSM, PGD, RFGSM, Attack, Square, Trial
from unmask.losses import Loss, RivalMargin, cross_entropy, dlr, log_odds, margin
from unmask.numerics import Batches, Model, derive_seed
from unmask.probes.noise import Noise
from unmask.probes.queries import Queries
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

QUERIES = 1000
"""Looks at a model that gives no gradients, per image."""

NEED_GRADIENTS = (
    "saturation",
    "vanishing gradients",
    "non-smooth loss surface",
    "gradients no better than noise",
    "single-step attack too weak",
    "gradient attacks",
)
"""What a model without gradients cannot be tried with: the probes by the names of their findings, and the attacks."""

OFFSET = 0.1
"""The control's single steps start this share of epsilon away from the image: in effect the same step again."""


class Battery:
    """All trials and probes of one audit. Probes that try the same attacks share a trial, so each runs once.

    Attributes:
        clean: no attack; ``claimed``: the reference attack; ``trials``: all that count for the worst case, each with
            the gradients it takes per image; ``probes``: in the order of the report.
        not_run: what a model without gradients cannot be tried with, and why.

    Example:
        >>> battery = Battery(FGSM(epsilon=0.1), epsilon=0.1, classes=10, seed=0, batches=Batches())
        >>> [trial.name for trial, cost in battery.trials][:2]
        ['no attack', 'reference attack']
    """

    def __init__(
        self, reference: Attack, *, epsilon: float, classes: int, seed: int, batches: Batches, gradients: bool = True
    ) -> None:
        self.trials: list[tuple[Trial, float]] = []
        self.probes: list[Callable[[Model, Tensor, Tensor], Finding]] = []
        self.not_run: dict[str, str] = {}
        self._batches = batches
        self.clean = self._trial("no attack", 1, unchanged)
        self.claimed = self._trial("reference attack", _cost(reference), reference)
        if gradients:
            self._ask_for_gradients(reference, epsilon, classes, seed)
        else:
            self._ask_for_scores(epsilon, seed)
        if _has(reference, "epsilon"):
            boundless = [_with(reference, epsilon=1.0)]
            unbounded = Trial(attacks=boundless, name="reference at epsilon 1", batches=batches, keep_images=False)
            self.probes.append(Sweep(control=unbounded, clean=self.clean, threshold=0.1 + 1 / classes))

    def _ask_for_gradients(self, reference: Attack, epsilon: float, classes: int, seed: int) -> None:
        step, batches = FGSM(epsilon=epsilon), self._batches
        again = [
            RFGSM(epsilon=epsilon, alpha=OFFSET * epsilon, seed=derive_seed(seed, "again", i)) for i in range(STEPS)
        ]
        path = PGD(epsilon=epsilon, steps=STEPS - 1, seed=seed)
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
        noise = self._noise(epsilon, seed)
        self.probes = [
            Saturation(control=as_given, remedy=repaired, batches=batches),
            Vanishing(control=few, remedy=noise, batches=batches),
            Smoothness(one=one, control=singles, remedy=many, batches=batches),
            Noise(control=few, remedy=noise, clean=self.clean),
            Strength(control=one, remedy=many),
        ]

    def _ask_for_scores(self, epsilon: float, seed: int) -> None:
        self._noise(epsilon, seed)
        search = Square(epsilon=epsilon, queries=QUERIES, seed=seed)
        queries = self._trial(f"{QUERIES} queries", _cost(search), search)
        self.probes = [Queries(control=self.claimed, remedy=queries)]
        self.not_run = dict.fromkeys(NEED_GRADIENTS, "no gradients")

    def _noise(self, epsilon: float, seed: int) -> Trial:
        draws = [FRSM(epsilon=epsilon, seed=derive_seed(seed, "draw", i)) for i in range(DRAWS)]
        return self._trial(f"random signs, {DRAWS} draws", DRAWS / 2, *draws)

    def _trial(self, name: str, cost: float, *attacks: Attack) -> Trial:
        """A trial of these attacks in a row: the one there is already, or a new one."""
        for trial, _ in self.trials:
            if list(trial.attacks) == list(attacks):
                return trial
        trial = Trial(attacks=attacks, name=name, batches=self._batches, keep_images=False)
        self.trials.append((trial, cost))
        return trial


def _is_unsaturating(loss: Loss) -> bool:
    """Whether it is a loss of ours whose gradient does not round away; of any other we do not know."""
    return loss in (log_odds, margin, dlr) or isinstance(loss, RivalMargin)


def _loss_of(attack: Any) -> Loss:
    loss: Loss = attack.loss
    return loss


def _has(attack: Attack, setting: str) -> bool:
    return is_dataclass(attack) and getattr(attack, setting, None) is not None


def _cost(attack: Attack) -> float:
    """Gradients per image, roughly; a look without one is half of it."""
    return attack.queries * attack.restarts / 2 if isinstance(attack, Square) else 2


def _with(attack: Any, **settings: Any) -> Attack:
    """The same attack with some settings changed."""
    changed: Attack = replace(attack, **settings)
    return changed
