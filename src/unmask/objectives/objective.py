"""The shape of an objective, random numbers that are fresh in each update, and models told apart in words."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from inspect import signature
from typing import Any, Protocol

from torch import Tensor, nn

from unmask.attacks import Attack
from unmask.numerics import Model, derive_seed, describe
from unmask.weights import digest


class Objective(Protocol):
    """Anything that turns a batch into a loss to be minimised.

    Example:
        >>> import torch
        >>> from unmask.losses import margin
        >>> def hinge(model, images, labels, *, step=0):
        ...     return margin(model(images), labels).clamp_min(-1).mean()
        >>> objective: Objective = hinge
        >>> objective(lambda x: x.flatten(1), torch.zeros(3, 1, 1, 2), torch.zeros(3, dtype=torch.int64))
        tensor(0.)
    """

    def __call__(self, model: Model, images: Tensor, labels: Tensor, *, step: int = 0) -> Tensor:
        """The loss of one update."""
        ...


def check_objective(objective: object) -> None:
    """Refuse what cannot be called as an objective is.

    Raises:
        ValueError: it cannot be called, or not with a model, images, labels and ``step=``.

    Example:
        >>> check_objective(lambda model, images, labels: 0.0)
        Traceback (most recent call last):
            ...
        ValueError: objective: expected one that takes (model, images, labels, *, step), got <lambda>
    """
    if not callable(objective):
        raise ValueError(
            f"objective: expected one of unmask.objectives, such as Adversarial(attack=...), got {objective!r}"
        )
    try:
        signature(objective).bind(None, None, None, step=0)
    except TypeError as error:
        raise ValueError(
            f"objective: expected one that takes (model, images, labels, *, step), got {describe(objective)}"
        ) from error


def at_step(attack: Attack, step: int) -> Attack:
    """The attack with random numbers of its own for this update: it, or the attack within it, has another ``seed``.

    An attack that is no dataclass stays as it is.

    Example:
        >>> from unmask.attacks import FGSM, RFGSM
        >>> attack = RFGSM(epsilon=0.1)
        >>> at_step(attack, 1).seed != at_step(attack, 2).seed, at_step(FGSM(epsilon=0.1), 1) == FGSM(epsilon=0.1)
        (True, True)
    """
    if not is_dataclass(attack):
        return attack
    own: dict[str, Any] = {one.name: getattr(attack, one.name) for one in fields(attack)}
    changed: dict[str, Any] = {}
    if "seed" in own:
        changed["seed"] = derive_seed(own["seed"], step)
    if "attack" in own:
        changed["attack"] = at_step(own["attack"], step)
    return replace(attack, **changed) if changed else attack


def in_words(model: Model) -> str:
    """A finished model that an objective uses, in words: its class and a digest of its weights, or a function's name.

    Example:
        >>> in_words(nn.Linear(1, 1, bias=False)).partition(" ")[0], in_words(len)
        ('Linear', 'len')
    """
    return f"{type(model).__name__} {digest(model)}" if isinstance(model, nn.Module) else describe(model)
