"""What a training run is: its length, batches, objective, optimizer and precision."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import partial
from numbers import Integral
from types import FunctionType, NoneType
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from unmask.numerics import describe
from unmask.objectives import Normal, Objective
from unmask.objectives.objective import check_objective, in_words, stateful
from unmask.optim import Constant, Schedule, make_optimizer


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The fields of ``Trainer``, where they are explained.

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
            raise ValueError(f"schedule: expected one of unmask.optim, such as Constant(), got {self.schedule!r}")
        if self.precision not in ("float32", "float64", "bf16-mixed"):
            raise ValueError(f"precision: expected 'float32', 'float64' or 'bf16-mixed', got {self.precision!r}")

    def in_words(self, model: nn.Module, optimizer: Optimizer) -> dict[str, str]:
        """What must agree for a run to be the same run: every field but the number of updates, in words.

        Functions go by their name alone, but one that makes an optimizer by what it makes, the one of ``prepare``;
        objects by what they show of themselves, and where that is nothing, by what they hold. An objective that
        remembers something goes by its plain settings and networks beside that.
        """
        given = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "updates"}
        apart = stateful(self.objective)
        words = {name: describe(value) + _unseen(value, apart) for name, value in given.items()}
        if not isinstance(self.optimizer, str):
            names = {parameter: name for name, parameter in model.named_parameters()}
            groups = " and ".join(_group_in_words(group, names) for group in optimizer.param_groups)
            words["optimizer"] = f"{type(optimizer).__name__} {groups}"
        return words

    def prepare(self, model: nn.Module) -> Optimizer:
        """Bring the weights into the wanted precision and layout; returns their optimizer.

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


DEPTH = 3
"""So deep are objects without a text of their own looked into, one within the other."""


def _group_in_words(group: Mapping[str, Any], names: Mapping[nn.Parameter, str]) -> str:
    """An optimizer's plain settings for a group of parameters, and which these are."""
    known = ("params", "initial_lr")
    settings = {name: value for name, value in group.items() if name not in known and _is_plain(value)}
    own = [names.get(one, f"another of shape {tuple(one.shape)}") for one in group["params"]]
    digest = hashlib.sha256(" ".join(own).encode()).hexdigest()[:8]
    first = f" from {own[0]}" if own else ""
    return f"{settings} for {len(own)} tensors{first} (SHA-256 of their names {digest})"


def _is_plain(value: Any) -> bool:
    """Whether it reads the same wherever it is written: a number, a text, nothing, or several of these in order."""
    return isinstance(value, (int, float, str, NoneType)) or (
        isinstance(value, (list, tuple)) and all(map(_is_plain, value))
    )


def _unseen(value: Any, apart: Any, *, weights_told: bool = False, depth: int = 0) -> str:
    """What an object without a text of its own holds, or one within it; of ``apart``, what a checkpoint leaves out."""
    if value is apart and value is not None:
        return _beside_its_state(value)
    if isinstance(value, nn.Module):
        return "" if weights_told else f", {in_words(value)}"
    if isinstance(value, partial):
        value = (value.func, *value.args, *value.keywords.values())
    if isinstance(value, (list, tuple)):
        return "".join(_unseen(one, apart, weights_told=weights_told) for one in value)
    shows_nothing = repr(value).startswith("<")
    if is_dataclass(value) and not isinstance(value, type) and not shows_nothing:
        told = not value.__dataclass_params__.repr  # type: ignore[attr-defined]
        return "".join(_unseen(getattr(value, one.name), apart, weights_told=told) for one in fields(value))
    if "__repr__" in vars(type(value)) or not shows_nothing or isinstance(value, FunctionType):
        return ""
    if depth == DEPTH:  # one may hold itself
        return ""
    words = ""
    for name, one in getattr(value, "__dict__", {}).items():
        words += "" if one is apart and one is not None else f", {name} {in_words(one)}"
        words += _unseen(one, apart, depth=depth + 1) if callable(one) and not isinstance(one, nn.Module) else ""
    return words


def _beside_its_state(objective: Any) -> str:
    """The plain settings and the networks of an objective that remembers something; lists are not settings."""
    if isinstance(objective, nn.Module) or not hasattr(objective, "__dict__"):
        return ""
    own = {name: one for name, one in vars(objective).items() if name not in objective.state_dict()}
    told = {
        name: one
        for name, one in own.items()
        if isinstance(one, nn.Module) or (_is_plain(one) and type(one) is not list)
    }
    return "".join(f", {name} {in_words(one)}" for name, one in told.items())
