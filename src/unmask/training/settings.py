"""Settings of a training run: its length, batches, objective, optimizer and precision."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from numbers import Integral
from typing import Literal

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from unmask.numerics import describe
from unmask.training.objectives import Normal, Objective
from unmask.training.objectives.objective import check_objective, stateful
from unmask.training.optimizers import Constant, Schedule, make_optimizer
from unmask.training.words import group_in_words, unseen


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of ``Trainer``, where they are explained.

    Raises:
        ValueError: a setting is out of range.

    Example:
        >>> Settings(updates=0)
        Traceback (most recent call last):
            ...
        ValueError: updates and batch_size: expected whole numbers from 1 up, got 0 and 125
    """

    updates: int
    batch_size: int = 125
    objective: Objective = field(default_factory=Normal)
    optimizer: str | Callable[..., Optimizer] = "adam"
    learning_rate: float = 0.001
    weight_decay: float = 0.0
    schedule: Schedule = field(default_factory=Constant)
    precision: Literal["float32", "float64", "bf16-mixed"] = "float32"
    channels_last: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not all(isinstance(one, Integral) and one > 0 for one in (self.updates, self.batch_size)):
            raise ValueError(
                f"updates and batch_size: expected whole numbers from 1 up, got {self.updates} and {self.batch_size}"
            )
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate: expected a finite number above 0, got {self.learning_rate}")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay: expected a finite number from 0 up, got {self.weight_decay}")
        check_objective(self.objective)
        if not callable(self.schedule):
            raise ValueError(
                f"schedule: expected one of unmask.training.optimizers, such as Constant(), got {self.schedule!r}"
            )
        if self.precision not in ("float32", "float64", "bf16-mixed"):
            raise ValueError(f"precision: expected 'float32', 'float64' or 'bf16-mixed', got {self.precision!r}")

    def in_words(self, model: nn.Module, optimizer: Optimizer) -> dict[str, str]:
        """Return in words all that must agree for a run to be the same run: every field but the number of updates.

        Functions are told apart by their names, but a factory of optimizers by the optimizer it made, that of
        ``prepare``; objects by their ``repr``, and where that shows nothing, by their attributes; an objective with a
        state by its plain settings and its networks.
        """
        given = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "updates"}
        apart = stateful(self.objective)
        words = {name: describe(value) + unseen(value, apart) for name, value in given.items()}
        if not isinstance(self.optimizer, str):
            names = {parameter: name for name, parameter in model.named_parameters()}
            groups = " and ".join(group_in_words(group, names) for group in optimizer.param_groups)
            words["optimizer"] = f"{type(optimizer).__name__} {groups}"
        return words

    def prepare(self, model: nn.Module) -> Optimizer:
        """Bring the weights into the wanted precision and layout; return their optimizer.

        Raises:
            ValueError: the model is no torch module, it has no weights to train, or none yet, or there is no such
                optimizer.
        """
        if not isinstance(model, nn.Module):
            raise ValueError(f"model: expected a torch module to train, got {type(model).__name__}")
        if any(map(is_lazy, (*model.parameters(), *model.buffers()))):
            raise ValueError("model: expected weights, got layers that make theirs later (lazy); give it images first")
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise ValueError("model: expected weights to train, got none that ask for a gradient (requires_grad)")
        model.double() if self.precision == "float64" else model.float()  # leaves whole and complex numbers alone
        if self.channels_last:
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = self._optimizer(model.parameters())
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]  # as torch's own schedules name it
        return optimizer

    def _optimizer(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        return make_optimizer(
            self.optimizer, parameters, learning_rate=self.learning_rate, weight_decay=self.weight_decay
        )
