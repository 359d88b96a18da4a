"""The training methods of the paper and those that came later: what each minimises, and what an update costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from unmask.attacks import FGSM, PGD, RFGSM, RSFGSM
from unmask.experiments.vivek2019.config import Config
from unmask.losses import cross_entropy
from unmask.objectives import (
    NFGSM,
    Adversarial,
    Augmented,
    Ensemble,
    GradAlign,
    GuidedAdversarial,
    LogitDistance,
    Mixture,
    Normal,
    Objective,
    StepDistance,
)

Sources = tuple[nn.Module, ...]


def _fgsm(config: Config) -> FGSM:
    return FGSM(epsilon=config.epsilon, loss=cross_entropy)


def _rfgsm(config: Config, seed: int) -> RFGSM:
    return RFGSM(epsilon=config.epsilon, alpha=config.alpha, loss=cross_entropy, seed=seed)


def _pgd(config: Config, seed: int) -> PGD:
    return PGD(
        epsilon=config.epsilon, steps=config.training_steps, step_size=config.step_size, keep="last",
        loss=cross_entropy, seed=seed,
    )  # fmt: skip


METHODS: Mapping[str, Callable[[Config, Sources, int], Objective]] = {
    "normal": lambda config, sources, seed: Normal(),
    "fgsm": lambda config, sources, seed: Adversarial(attack=_fgsm(config), clean_weight=config.clean_weight),
    "rfgsm": lambda config, sources, seed: Adversarial(attack=_rfgsm(config, seed), clean_weight=config.clean_weight),
    "rfgsm+fgsm": lambda config, sources, seed: Mixture(attacks=(_fgsm(config), _rfgsm(config, seed))),
    "pgd": lambda config, sources, seed: Adversarial(attack=_pgd(config, seed)),
    "ensemble": lambda config, sources, seed: Ensemble(
        attack=_fgsm(config), sources=sources, clean_weight=config.clean_weight, seed=seed
    ),
    "logit-distance": lambda config, sources, seed: LogitDistance(
        epsilon=config.epsilon, weight=config.weight, alpha=config.alpha, step_from_offset=config.step_from_offset,
        loss=cross_entropy, seed=seed,
    ),
    "step-distance": lambda config, sources, seed: StepDistance(
        epsilon=config.epsilon, weight=config.weight, alpha=config.alpha, loss=cross_entropy, seed=seed
    ),
    "rs-fgsm": lambda config, sources, seed: Adversarial(
        attack=RSFGSM(epsilon=config.epsilon, loss=cross_entropy, seed=seed)
    ),
    "n-fgsm": lambda config, sources, seed: Adversarial(
        attack=NFGSM(epsilon=config.epsilon, loss=cross_entropy, seed=seed)
    ),
    "n-fgsm-near": lambda config, sources, seed: Adversarial(
        attack=NFGSM(epsilon=config.epsilon, k=0.5, loss=cross_entropy, seed=seed)
    ),
    "gradalign": lambda config, sources, seed: GradAlign(
        epsilon=config.epsilon, weight=config.weight, loss=cross_entropy, seed=seed
    ),
    "gat": lambda config, sources, seed: GuidedAdversarial(
        epsilon=config.epsilon, weight=config.weight, alpha=config.alpha, seed=seed
    ),
}  # fmt: skip
"""From a configuration, the ensemble's sources and a seed to the objective."""


def objective_of(config: Config, sources: Sources, seed: int) -> Objective:
    """What a run minimises.

    Example:
        >>> objective_of(Config(method="pgd"), (), 0).attack.steps
        40
    """
    made = METHODS[config.method](config, sources, seed)
    return Augmented(objective=made, seed=seed) if config.augment else made


def passes(config: Config, sources: float = 1.0) -> float:
    """What an update costs in passes over its batch: forward, gradient in images, and in weights, one each.

    ``sources`` is what an attack on one of an ensemble's models costs beside one on the network itself, on average.

    Example:
        >>> [passes(Config(method=name)) / 3 for name in ("normal", "fgsm", "logit-distance", "pgd")]
        [1.0, 1.6666666666666667, 3.3333333333333335, 27.666666666666668]
    """
    trained = 3 * (2 if config.clean_weight else 1)
    attacked = {"normal": 0, "pgd": 2 * config.training_steps, "ensemble": 2 * sources}.get(config.method, 2)
    whole = {"rfgsm+fgsm": 10, "logit-distance": 10, "step-distance": 7, "gat": 8, "gradalign": 17}
    return whole.get(config.method, trained + attacked)
