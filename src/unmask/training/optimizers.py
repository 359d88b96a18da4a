"""Optimizers by name, and schedules: the learning rate's factor as a function of the update's number alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop

Reading = Literal["standard", "double_corrected", "literal"]
"""How the Adam that Yanagita & Yamamura 2018 print can be read; see ``PrintedAdam``."""


class PrintedAdam(Optimizer):
    r"""Adam as Yanagita & Yamamura 2018 (section III.A) print it, in three readings.

    ``"standard"``: Kingma & Ba's, with m and v corrected once and the step alpha: what the text cites.
    ``"double_corrected"``: m and v corrected (not compounding), and alpha corrected again:
    ``alpha sqrt(1 - b2^t) / (1 - b1^t) m_hat / (sqrt(v_hat) + epsilon)``.
    ``"literal"``: as printed, the corrected m and v go into the next step. v is then multiplied by
    ``b2 / (1 - b2^t) > 1`` until t = 6,904, overflows float32 between t = 20 and 30, and training freezes: a misprint.

    Raises:
        ValueError: unknown reading.

    Example:
        >>> PrintedAdam(nn.Linear(1, 1).parameters(), lr=0.001, reading="literal").defaults["betas"]
        (0.9, 0.999)
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 0.001,
        *,
        reading: Reading = "standard",
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        if reading not in get_args(Reading):
            raise ValueError(f"reading: expected one of {', '.join(get_args(Reading))}, got {reading!r}")
        settings = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "reading": reading}
        super().__init__(params, settings)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state |= {"step": torch.zeros(()), "m": torch.zeros_like(parameter), "v": torch.zeros_like(parameter)}
        state["step"] += 1
        beta_1, beta_2 = group["betas"]
        correct_1, correct_2 = (1 - beta ** int(state["step"]) for beta in (beta_1, beta_2))
        gradient = gradient.add(parameter, alpha=group["weight_decay"])
        m = state["m"].lerp_(gradient, 1 - beta_1)
        v = state["v"].mul_(beta_2).addcmul_(gradient, gradient, value=1 - beta_2)
        if group["reading"] == "literal":
            m.div_(correct_1)
            v.div_(correct_2)
        else:
            m, v = m / correct_1, v / correct_2
        alpha = group["lr"] * (1.0 if group["reading"] == "standard" else math.sqrt(correct_2) / correct_1)
        parameter.addcdiv_(m, v.sqrt().add_(group["eps"]), value=-alpha)


OPTIMIZERS: Mapping[str, Callable[..., Optimizer]] = {
    "sgd": lambda parameters, **options: SGD(parameters, fused=True, **options),
    "momentum": lambda parameters, **options: SGD(parameters, momentum=0.9, fused=True, **options),
    "adagrad": lambda parameters, **options: Adagrad(parameters, **options),
    "rmsprop": lambda parameters, **options: RMSprop(parameters, alpha=0.9, **options),
    "adam": lambda parameters, **options: Adam(parameters, fused=True, **options),
    "adamw": lambda parameters, **options: AdamW(parameters, fused=True, **options),
    "adam-double-corrected": partial(PrintedAdam, reading="double_corrected"),
    "adam-literal": partial(PrintedAdam, reading="literal"),
}
"""Momentum 0.9, RMSprop's decay 0.9, Adam's betas (0.9, 0.999) and epsilon 1e-8; fused where torch has it.
The last two are readings of a misprint, see ``PrintedAdam``."""


def make_optimizer(
    wanted: str | Callable[..., Optimizer],
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: float,
    weight_decay: float = 0.0,
) -> Optimizer:
    """An optimizer by its name in ``OPTIMIZERS``, or by a class of ``torch.optim``, which may be in a ``partial``.

    A class is called with the parameters and ``lr``, and with ``weight_decay`` if that is not 0. What it makes may have
    groups with learning rates of their own.

    Raises:
        ValueError: unknown name; the message lists the known ones. Or what is wanted makes no optimizer.

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
        made = wanted(parameters, lr=learning_rate, **({"weight_decay": weight_decay} if weight_decay else {}))
    except TypeError as error:
        raise ValueError(f"optimizer: {wanted} cannot be made: {error}") from error
    if not isinstance(made, Optimizer):
        raise ValueError(f"optimizer: expected {wanted} to make one of torch's, got {type(made).__name__}")
    if "closure" in (step := signature(made.step).parameters) and step["closure"].default is not None:
        raise ValueError(f"optimizer: expected one that steps by itself, got {wanted}, which asks for a closure")
    return made


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
        """The factor for this update, counted from 0."""
        passed = sum(update >= start for start in self.at)
        rise = min((update + 1) / self.warmup, 1.0) if self.warmup else 1.0
        return rise * (self.factors[passed - 1] if passed else 1.0)


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """A linear rise over ``warmup`` updates, then half a cosine down to 0 at ``updates``, and 0 from there on.

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
        passed = min(1.0, (update - self.warmup) / (self.updates - self.warmup))
        return 0.5 * (1 + math.cos(math.pi * passed))


Schedule = Callable[[int], float]
