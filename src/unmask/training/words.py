"""Words that tell a run from others and that its checkpoint keeps: groups of parameters, attributes of objects."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from types import FunctionType, NoneType
from typing import Any

from torch import nn

from unmask.training.objectives.objective import in_words

DEPTH = 3
"""The depth to which the attributes of objects without a text of their own are read."""


def group_in_words(group: Mapping[str, Any], names: Mapping[nn.Parameter, str]) -> str:
    """Return an optimizer's plain settings for a group of parameters, and which parameters these are.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> group_in_words({"params": [layer.bias], "lr": 0.1}, {layer.bias: "bias"})
        "{'lr': 0.1} for 1 tensors from bias (SHA-256 of their names fa4824e8)"
    """
    known = ("params", "initial_lr")
    settings = {name: value for name, value in group.items() if name not in known and _is_plain(value)}
    own = [names.get(one, f"another of shape {tuple(one.shape)}") for one in group["params"]]
    digest = hashlib.sha256(" ".join(own).encode()).hexdigest()[:8]
    first = f" from {own[0]}" if own else ""
    return f"{settings} for {len(own)} tensors{first} (SHA-256 of their names {digest})"


def _is_plain(value: Any) -> bool:
    """Return True for a number, a text, None, or several of these in order: what reads the same in every process."""
    return isinstance(value, (int, float, str, NoneType)) or (
        isinstance(value, (list, tuple)) and all(map(_is_plain, value))
    )


def unseen(value: Any, apart: Any, *, weights_told: bool = False, depth: int = 0) -> str:
    """Return in words the attributes that ``repr`` does not show, of an object or of one within it.

    ``apart`` is an objective with a state, which a checkpoint holds: of it, only the rest is told.

    Example:
        >>> class Hinge:
        ...     def __init__(self, at):
        ...         self.at = at
        >>> unseen(Hinge(at=0.5), None), unseen(0.5, None)
        (', at 0.5', '')
    """
    if value is apart and value is not None:
        return _beside_its_state(value)
    if isinstance(value, nn.Module):
        return "" if weights_told else f", {in_words(value)}"
    if isinstance(value, partial):
        value = (value.func, *value.args, *value.keywords.values())
    if isinstance(value, (list, tuple)):
        return "".join(unseen(one, apart, weights_told=weights_told) for one in value)
    shows_nothing = repr(value).startswith("<")
    if is_dataclass(value) and not isinstance(value, type) and not shows_nothing:
        told = not value.__dataclass_params__.repr  # type: ignore[attr-defined]
        return "".join(unseen(getattr(value, one.name), apart, weights_told=told) for one in fields(value))
    tells = "__repr__" in vars(type(value)) or not shows_nothing or isinstance(value, FunctionType)
    if tells or depth == DEPTH:  # one may hold itself
        return ""
    words = ""
    for name, one in getattr(value, "__dict__", {}).items():
        words += "" if one is apart and one is not None else f", {name} {in_words(one)}"
        words += unseen(one, apart, depth=depth + 1) if callable(one) and not isinstance(one, nn.Module) else ""
    return words


def _beside_its_state(objective: Any) -> str:
    """Return the plain settings and the networks of an objective with a state; lists are not settings."""
    if isinstance(objective, nn.Module) or not hasattr(objective, "__dict__"):
        return ""
    own = {name: one for name, one in vars(objective).items() if name not in objective.state_dict()}
    told = {
        name: one
        for name, one in own.items()
        if isinstance(one, nn.Module) or (_is_plain(one) and type(one) is not list)
    }
    return "".join(f", {name} {in_words(one)}" for name, one in told.items())
