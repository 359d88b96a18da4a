"""The training methods of the paper and later ones: the objective of each, and the cost of an update."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from unmask.attacks import FGSM, PGD, RFGSM, RSFGSM
from unmask.losses import cross_entropy
from unmask.training.objectives import (
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
from unmask_experiments.vivek2019.config import Config

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


def _nfgsm(config: Config, noise: float, seed: int) -> NFGSM:
    return NFGSM(epsilon=config.epsilon, k=noise, loss=cross_entropy, seed=seed)


def _trained(config: Config, sources: float) -> float:
    return 3 * (2 if config.clean_weight else 1)


def _one_step(config: Config, sources: float) -> float:
    return _trained(config, sources) + 2


@dataclass(frozen=True)
class Method:
    """A training method.

    Attributes:
        make: from a configuration, the ensemble's sources and a seed to the objective.
        passes: the cost of an update; see ``passes``.
    """

    make: Callable[[Config, Sources, int], Objective]
    passes: Callable[[Config, float], float]


METHODS: Mapping[str, Method] = {
    "normal": Method(lambda config, sources, seed: Normal(), _trained),
    "fgsm": Method(
        lambda config, sources, seed: Adversarial(attack=_fgsm(config), clean_weight=config.clean_weight), _one_step
    ),
    "rfgsm": Method(
        lambda config, sources, seed: Adversarial(attack=_rfgsm(config, seed), clean_weight=config.clean_weight),
        _one_step,
    ),
    "rfgsm+fgsm": Method(
        lambda config, sources, seed: Mixture(attacks=(_fgsm(config), _rfgsm(config, seed))),
        lambda config, sources: 10,
    ),
    "pgd": Method(
        lambda config, sources, seed: Adversarial(attack=_pgd(config, seed)),
        lambda config, sources: _trained(config, sources) + 2 * config.training_steps,
    ),
    "ensemble": Method(
        lambda config, sources, seed: Ensemble(
            attack=_fgsm(config), sources=sources, clean_weight=config.clean_weight, seed=seed
        ),
        lambda config, sources: _trained(config, sources) + 2 * sources,
    ),
    "logit-distance": Method(
        lambda config, sources, seed: LogitDistance(
            epsilon=config.epsilon, weight=config.weight, alpha=config.alpha,
            step_from_offset=config.step_from_offset, loss=cross_entropy, seed=seed,
        ),
        lambda config, sources: 10,
    ),
    "step-distance": Method(
        lambda config, sources, seed: StepDistance(
            epsilon=config.epsilon, weight=config.weight, alpha=config.alpha, loss=cross_entropy, seed=seed
        ),
        lambda config, sources: 7,
    ),
    "rs-fgsm": Method(
        lambda config, sources, seed: Adversarial(
            attack=RSFGSM(epsilon=config.epsilon, loss=cross_entropy, seed=seed)
        ),
        _one_step,
    ),
    "n-fgsm": Method(lambda config, sources, seed: Adversarial(attack=_nfgsm(config, 2.0, seed)), _one_step),
    "n-fgsm-near": Method(lambda config, sources, seed: Adversarial(attack=_nfgsm(config, 0.5, seed)), _one_step),
    "gradalign": Method(
        lambda config, sources, seed: GradAlign(
            epsilon=config.epsilon, weight=config.weight, loss=cross_entropy, seed=seed
        ),
        lambda config, sources: 17,
    ),
    "gat": Method(
        lambda config, sources, seed: GuidedAdversarial(
            epsilon=config.epsilon, weight=config.weight, alpha=config.alpha, seed=seed
        ),
        lambda config, sources: 8,
    ),
}  # fmt: skip


def objective_of(config: Config, sources: Sources, seed: int) -> Objective:
    """Return the objective that a run minimises.

    Example:
        >>> objective_of(Config(method="pgd"), (), 0).attack.steps
        40
    """
    made = METHODS[config.method].make(config, sources, seed)
    return Augmented(objective=made, seed=seed) if config.augment else made


def passes(config: Config, sources: float = 1.0) -> float:
    """Return the cost of an update in passes over its batch: forward, gradient in images, and in weights, one each.

    ``sources`` is the cost of an attack on a model of an ensemble relative to one on the network itself, on average.

    Example:
        >>> [passes(Config(method=name)) / 3 for name in ("normal", "fgsm", "logit-distance", "pgd")]
        [1.0, 1.6666666666666667, 3.3333333333333335, 27.666666666666668]
    """
    return METHODS[config.method].passes(config, sources)
