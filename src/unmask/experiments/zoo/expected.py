"""The causes that count as right, for people to edit; and remarks on single pairs, which the results print."""

from __future__ import annotations

from collections.abc import Mapping

from unmask.experiments.zoo.cases import Case

SATURATION = frozenset({"float32 saturation", "logit scale"})
NO_GRADIENT = frozenset({"vanishing gradients", "non-differentiable layers"})
QUERIES = frozenset({"masked gradients (queries win)"})
ROUGH = frozenset({"non-smooth loss surface"})
CHANCE = frozenset({"randomness"})

BY_DEFENCE: Mapping[str, frozenset[str]] = {
    "times 300": SATURATION,
    "times 0.001": frozenset({"logit scale"}),
    "times 0.3": frozenset({"logit scale"}),
    "softmax": SATURATION | {"outputs are probabilities"},
    "zero backward": NO_GRADIENT | QUERIES,
    "random signs": QUERIES | {"gradients no better than noise", "non-differentiable layers"},
    "squashed": NO_GRADIENT | SATURATION | QUERIES,
    "plus 1e6": SATURATION | NO_GRADIENT,
    "256 levels": NO_GRADIENT | QUERIES,
    "8 levels": NO_GRADIENT | QUERIES,
    "2 levels": NO_GRADIENT | QUERIES,
    "dct": NO_GRADIENT | QUERIES,
    "steps": NO_GRADIENT | QUERIES | {"dead units"},
    "pruned": CHANCE,
    "resized": CHANCE,
    "noise": CHANCE,
    "trained noise": CHANCE,
    "jump, retrofit": ROUGH | QUERIES | {"dead units", "non-differentiable layers"},
    "jump": ROUGH | QUERIES | {"dead units", "non-differentiable layers"},
    "thermometer": NO_GRADIENT | QUERIES,
    "k winners": ROUGH | QUERIES | {"non-differentiable layers"},
}
"""By what is done to a network."""

BY_METHOD: Mapping[str, frozenset[str]] = {
    "normal": SATURATION,
    "l2": SATURATION,
    "high rate": SATURATION,
    "tempered": SATURATION,
    "distilled": SATURATION,
    "fgsm": ROUGH,
    "pgd": ROUGH | QUERIES,
    "logit distance": ROUGH | QUERIES,
}
"""By how a network is trained, where nothing is done to it."""


def acceptable(case: Case) -> frozenset[str]:
    """Which first causes count as right for a pair that is masked.

    Example:
        >>> sorted(acceptable(Case(method="fgsm")))
        ['non-smooth loss surface']
    """
    table, key = (BY_DEFENCE, case.defence) if case.defence else (BY_METHOD, case.method)
    return table.get(key, frozenset())


REMARKS: Mapping[str, str] = {}
"""Why an audit went wrong, as far as somebody has found out: ``"digits: name without seed"`` to a sentence."""
