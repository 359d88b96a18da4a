"""Optimizers by name, and schedules: the learning rate's factor as a function of the update's number."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import signature

from torch import nn
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop

__all__ = ["OPTIMIZERS", "Constant", "Cosine", "Schedule", "Steps", "make_optimizer"]

OPTIMIZERS: Mapping[str, Callable[..., Optimizer]] = {
    "sgd": lambda parameters, **options: SGD(parameters, fused=True, **options),
    "momentum": lambda parameters, **options: SGD(parameters, momentum=0.9, fused=True, **options),
    "adagrad": lambda parameters, **options: Adagrad(parameters, **options),
    "rmsprop": lambda parameters, **options: RMSprop(parameters, alpha=0.9, **options),
    "adam": lambda parameters, **options: Adam(parameters, fused=True, **options),
    "adamw": lambda parameters, **options: AdamW(parameters, fused=True, **options),
}
"""Optimizers by name: momentum 0.9, RMSprop's decay 0.9, Adam's betas (0.9, 0.999) and epsilon 1e-8; fused where torch
has it."""


def make_optimizer(
    wanted: str | Callable[..., Optimizer],
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: float,
    weight_decay: float = 0.0,
) -> Optimizer:
    """Make an optimizer by its name in ``OPTIMIZERS``, or by a factory.

    Args:
        wanted: a name, or a factory ``(parameters, learning_rate) -> optimizer``, such as a class of ``torch.optim``,
            as it is or in a ``partial``. A factory gets ``weight_decay`` too if that is not 0. Groups of parameters may
            have learning rates of their own.
        parameters: the weights to train.
        learning_rate: of the groups that have none of their own.
        weight_decay: of the L2 penalty; 0 leaves it to the factory.

    Raises:
        ValueError: unknown name; the message lists the known ones. Or the factory makes no optimizer.

    Example:
        >>> make_optimizer("sgd", nn.Linear(1, 1).parameters(), learning_rate=0.1).defaults["lr"]
        0.1
        >>> nesterov = partial(SGD, momentum=0.9, nesterov=True)
        >>> make_optimizer(nesterov, nn.Linear(1, 1).parameters(), learning_rate=0.1).defaults["nesterov"]
        True
    """
    if isinstance(wanted, str) and wanted in OPTIMIZERS:
        return OPTIMIZERS[wanted](parameters, lr=learning_rate, weight_decay=weight_decay)
    if not callable(wanted):
        got = repr(wanted) if isinstance(wanted, str) else f"a {type(wanted).__name__}"
        raise ValueError(f"optimizer: expected one of {', '.join(OPTIMIZERS)}, or a class of torch.optim, got {got}")
    if isinstance(wanted, partial) and "lr" in wanted.keywords:
        raise ValueError(f"optimizer: expected its learning rate as learning_rate, got an lr in {wanted}")
    try:
        made = wanted(parameters, learning_rate, **({"weight_decay": weight_decay} if weight_decay else {}))
    except TypeError as error:
        raise ValueError(f"optimizer: {wanted} cannot be made: {error}") from error
    if not isinstance(made, Optimizer):
        raise ValueError(f"optimizer: expected {wanted} to make one of torch's, got {type(made).__name__}")
    if "closure" in (step := signature(made.step).parameters) and step["closure"].default is not None:
        raise ValueError(f"optimizer: expected one that steps by itself, got {wanted}, which asks for a closure")
    return made


@dataclass(frozen=True, kw_only=True)
class Constant:
    """The schedule of a learning rate that stays as given.

    Example:
        >>> Constant()(1000)
        1.0
    """

    def __call__(self, update: int) -> float:
        """Return the factor for an update, counted from 0."""
        return 1.0


@dataclass(frozen=True, kw_only=True)
class Steps:
    """The schedule whose factor falls at given updates: ``factors[i]`` from ``at[i]`` on, 1 before the first.

    Over the first ``warmup`` updates it rises in a line as well.

    Raises:
        ValueError: not as many factors as updates, updates out of order, or a warm-up below 0.

    Example:
        >>> schedule = Steps(at=(100, 200), factors=(0.2, 0.04), warmup=50)
        >>> schedule(4), schedule(99), schedule(100), schedule(250)
        (0.1, 1.0, 0.2, 0.04)
    """

    at: Sequence[int]
    factors: Sequence[float]
    warmup: int = 0

    def __post_init__(self) -> None:
        if len(self.at) != len(self.factors) or list(self.at) != sorted(self.at):
            raise ValueError(f"steps: expected one factor for each rising update, got {self.at} and {self.factors}")
        if self.warmup < 0:
            raise ValueError(f"warmup: expected from 0 updates up, got {self.warmup}")

    def __call__(self, update: int) -> float:
        """Return the factor for an update, counted from 0."""
        passed = sum(update >= start for start in self.at)
        rise = min((update + 1) / self.warmup, 1.0) if self.warmup else 1.0
        return rise * (self.factors[passed - 1] if passed else 1.0)


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """The schedule of half a cosine: a linear rise over ``warmup`` updates, then down to 0 at ``updates``, then 0.

    Raises:
        ValueError: the warm-up does not end before the run.

    Example:
        >>> schedule = Cosine(updates=100, warmup=10)
        >>> schedule(0), schedule(10), round(schedule(55), 6)
        (0.1, 1.0, 0.5)
    """

    updates: int
    warmup: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.warmup < self.updates:
            raise ValueError(f"warmup: expected from 0 to below {self.updates} updates, got {self.warmup}")

    def __call__(self, update: int) -> float:
        """Return the factor for an update, counted from 0."""
        if update < self.warmup:
            return (update + 1) / self.warmup
        passed = min(1.0, (update - self.warmup) / (self.updates - self.warmup))
        return 0.5 * (1 + math.cos(math.pi * passed))


Schedule = Callable[[int], float]
"""A callable from the number of an update, counted from 0, to the learning rate's factor."""
