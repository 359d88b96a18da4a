"""Objectives by the names that the papers, the command line and the contract tests know."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, signature
from typing import Any

from unmask.attacks import FGSM, PGD, RFGSM, RSFGSM
from unmask.losses import LOSSES, Loss
from unmask.training.objectives.adversarial import Adversarial, Mixture, Normal
from unmask.training.objectives.alignment import GradAlign
from unmask.training.objectives.distance import LogitDistance, StepDistance
from unmask.training.objectives.distillation import Distilled, Tempered
from unmask.training.objectives.ensemble import Ensemble
from unmask.training.objectives.guided import GuidedAdversarial
from unmask.training.objectives.noise import NFGSM
from unmask.training.objectives.objective import Objective, changed

__all__ = ["OBJECTIVES", "build", "needs"]


OBJECTIVES: dict[str, Callable[..., Objective]] = {
    "normal": Normal,
    "fgsm": lambda epsilon: Adversarial(attack=FGSM(epsilon)),
    "fgsm+clean": lambda epsilon: Adversarial(attack=FGSM(epsilon), clean_weight=0.5),
    "rfgsm": lambda epsilon: Adversarial(attack=RFGSM(epsilon)),
    "rfgsm+clean": lambda epsilon: Adversarial(attack=RFGSM(epsilon), clean_weight=0.5),
    "rfgsm+fgsm": lambda epsilon: Mixture(attacks=(FGSM(epsilon), RFGSM(epsilon))),
    "pgd": lambda epsilon: Adversarial(attack=PGD(epsilon, keep="last")),
    "logit-distance": LogitDistance,
    "lambda0": lambda epsilon: LogitDistance(epsilon, weight=0.0),
    "step-distance": StepDistance,
    "rs-fgsm": lambda epsilon: Adversarial(attack=RSFGSM(epsilon)),
    "n-fgsm": lambda epsilon: Adversarial(attack=NFGSM(epsilon)),
    "gradalign": GradAlign,
    "gat": GuidedAdversarial,
    "ensemble": lambda epsilon, sources: Ensemble(attack=FGSM(epsilon), sources=sources),
    "tempered": Tempered,
    "distilled": Distilled,
}
"""The function that makes each objective, by name; its parameters without a default are what the objective needs.

Attacks have the loss that ``unmask.attacks`` gives them, the papers' cross entropy; objectives with a loss of their own
have their class's default. ``build`` gives them another. A new objective is a class in a file of its own and a line
here."""


def needs(name: str) -> tuple[str, ...]:
    """Return the arguments without which ``build`` cannot make an objective, such as ``epsilon`` or ``sources``.

    Raises:
        ValueError: the name is not known.

    Example:
        >>> needs("fgsm"), needs("ensemble"), needs("normal")
        (('epsilon',), ('epsilon', 'sources'), ())
    """
    taken = signature(_maker(name)[0]).parameters.values()
    return tuple(one.name for one in taken if one.default is Parameter.empty)


def build(name: str, **settings: Any) -> Objective:
    """Make an objective by name; a loss at the name's end, as in ``"fgsm-log-odds"``, is the one its attacks maximise.

    Args:
        name: a key of ``OBJECTIVES``, perhaps with a hyphen and a key of ``unmask.losses.LOSSES`` after it.
        settings: what ``needs`` names, and other settings of the objective's class.

    Raises:
        ValueError: the name is not known, something that it needs is missing, it does not take a setting, or the
            setting is not possible.

    Example:
        >>> build("fgsm-log-odds", epsilon="1/4").attack.loss.__name__
        'log_odds'
        >>> build("logit-distance", epsilon=0.25, weight=1.0).weight
        1.0
    """
    maker, loss = _maker(name)
    taken = signature(maker).parameters
    for one in needs(name):
        if one not in settings:
            raise ValueError(f"{one}: expected one, which {name} needs, got none")
    for one, value in settings.items():
        if one not in taken:
            raise ValueError(f"{one}: expected none ({name} takes {', '.join(taken) or 'nothing'}), got {value!r}")
    objective = maker(**settings)
    if not loss:
        return objective
    replaced: list[Loss] = []

    def replace_loss(old: Loss) -> Loss:
        replaced.append(old)
        return LOSSES[loss]

    objective = changed(objective, "loss", replace_loss)
    if not replaced:
        raise ValueError(f"objective: expected {name.removesuffix(f'-{loss}')}, which has no other loss, got {name}")
    return objective


def _maker(name: str) -> tuple[Callable[..., Objective], str]:
    """Return the function that makes an objective, and the name of the loss after its own name, or nothing."""
    if name in OBJECTIVES:
        return OBJECTIVES[name], ""
    for loss in LOSSES:
        bare = name.removesuffix(f"-{loss}")
        if bare != name and bare in OBJECTIVES:
            return OBJECTIVES[bare], loss
    known = ", ".join(OBJECTIVES)
    raise ValueError(f"objective: expected one of {known}, or one with a loss as in fgsm-log-odds, got {name!r}")
