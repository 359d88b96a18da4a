"""Optimizers by name, and schedules: the learning rate's factor as a function of the update's number alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn
from torch.optim import SGD, Adagrad, Adam, Optimizer, RMSprop

OPTIMIZERS: Mapping[str, Callable[..., Optimizer]] = {
    "sgd": lambda parameters, **options: SGD(parameters, fused=True, **options),
    "momentum": lambda parameters, **options: SGD(parameters, momentum=0.9, fused=True, **options),
    "adagrad": lambda parameters, **options: Adagrad(parameters, **options),
    "rmsprop": lambda parameters, **options: RMSprop(parameters, alpha=0.9, **options),
    "adam": lambda parameters, **options: Adam(parameters, fused=True, **options),
}
"""Momentum 0.9, RMSprop's decay 0.9, Adam's betas (0.9, 0.999) and epsilon 1e-8; fused where torch has it."""


def make_optimizer(
    name: str, parameters: Iterable[nn.Parameter], *, learning_rate: float, weight_decay: float = 0.0
) -> Optimizer:
    """An optimizer of ``torch.optim`` with the settings named in ``OPTIMIZERS``.

    Raises:
        ValueError: unknown name; the message lists the known ones.

    Example:
        >>> make_optimizer("sgd", nn.Linear(1, 1).parameters(), learning_rate=0.1).defaults["lr"]
        0.1
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"optimizer: expected one of {', '.join(OPTIMIZERS)}, got {name!r}")
    return OPTIMIZERS[name](parameters, lr=learning_rate, weight_decay=weight_decay)


@dataclass(frozen=True, kw_only=True)
class Constant:
    """The learning rate as given, throughout.

    Example:
        >>> Constant()(1000)
        1.0
    """

    def __call__(self, update: int) -> float:
        """The factor for this update, counted from 0."""
        return 1.0


@dataclass(frozen=True, kw_only=True)
class Steps:
    """The factor falls at given updates: ``factors[i]`` from ``at[i]`` on, 1 before the first.

    Raises:
        ValueError: not as many factors as updates, or updates out of order.

    Example:
        >>> schedule = Steps(at=(100, 200), factors=(0.2, 0.04))
        >>> schedule(99), schedule(100), schedule(250)
        (1.0, 0.2, 0.04)
    """

    at: Sequence[int]
    factors: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.at) != len(self.factors) or list(self.at) != sorted(self.at):
            raise ValueError(f"steps: expected one factor for each rising update, got {self.at} and {self.factors}")

    def __call__(self, update: int) -> float:
        """The factor for this update, counted from 0."""
        passed = sum(update >= start for start in self.at)
        return self.factors[passed - 1] if passed else 1.0


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """A linear rise over ``warmup`` updates, then half a cosine down to 0 at ``updates``.

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
        """The factor for this update, counted from 0."""
        if update < self.warmup:
            return (update + 1) / self.warmup
        return 0.5 * (1 + math.cos(math.pi * (update - self.warmup) / (self.updates - self.warmup)))


Schedule = Callable[[int], float]
