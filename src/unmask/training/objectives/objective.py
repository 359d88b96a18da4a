"""The shape of an objective, random numbers that are fresh in each update, and models told apart in words."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass, replace
from inspect import signature
from typing import Any, Protocol

from torch import Tensor, nn

from unmask.attacks import Attack
from unmask.attacks.evaluation import checked
from unmask.models.weights import digest
from unmask.numerics import Model, derive_seed, describe, evaluating


class Objective(Protocol):
    """Anything that turns a batch into a loss to be minimised.

    A run that is resumed goes on as it would have only if the loss follows from what the objective is given and from
    torch's random numbers, which each update seeds. One that remembers something between updates needs ``state_dict``,
    which returns tensors by name, and ``load_state_dict``, which gets them on the model's device: a checkpoint then
    holds that too, of several processes the first's. What else it shows of itself (``repr``) or holds must agree. An
    attack of ours draws the same noise in each call; ``at_step(attack, step)`` is the one for this update.

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
            f"objective: expected one of unmask.training.objectives, such as Adversarial(attack=...), got {objective!r}"
        )
    try:
        signature(objective).bind(None, None, None, step=0)
    except TypeError as error:
        raise ValueError(
            f"objective: expected one that takes (model, images, labels, *, step), got {describe(objective)}"
        ) from error
    except ValueError:  # what is compiled may have no signature
        return


def check_weight(weight: float) -> None:
    """Refuse what cannot weigh a term of the loss.

    Raises:
        ValueError: it is no finite number from 0 up.

    Example:
        >>> check_weight(-1.0)
        Traceback (most recent call last):
            ...
        ValueError: weight: expected a finite number from 0 up, got -1.0
    """
    if not 0 <= weight < math.inf:
        raise ValueError(f"weight: expected a finite number from 0 up, got {weight}")


def at_step(attack: Attack, step: int) -> Attack:
    """The attack with random numbers of its own for this update: it, or the attack within it, has another ``seed``.

    An attack that is no dataclass stays as it is. Of one that is, what it remembers besides its fields is lost.

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


def is_ours(objective: Objective) -> bool:
    """Whether an objective, and the one within it, is made here: its loss is then a cross entropy, and what is added.

    Example:
        >>> is_ours(lambda model, images, labels, *, step: model(images).sum())
        False
    """
    within = getattr(objective, "objective", None)
    return type(objective).__module__.startswith(__package__ or "") and (within is None or is_ours(within))


def stateful(objective: Any) -> Any:
    """The objective, or the one within it, if it remembers something between updates, else None.

    Example:
        >>> stateful(nn.Linear(1, 1)) is None, stateful(len) is None
        (False, True)
    """
    while objective is not None and not (hasattr(objective, "state_dict") and hasattr(objective, "load_state_dict")):
        objective = getattr(objective, "objective", None)
    return objective


def made_images(attack: Attack, model: Model, images: Tensor, labels: Tensor, *, step: int) -> Tensor:
    """What an attack makes of a batch in this update. The model is in evaluation mode meanwhile, and left as it was.

    Raises:
        ValueError: as ``unmask.attacks.evaluation.checked``.

    Example:
        >>> import torch
        >>> from unmask.attacks import FGSM
        >>> flat = lambda x: x.flatten(1)
        >>> made_images(FGSM(epsilon=0.5), flat, torch.zeros(1, 1, 1, 2), torch.tensor([0]), step=0).flatten()
        tensor([0.0000, 0.5000])
    """
    with evaluating(model):
        return checked(at_step(attack, step)(model, images.clone(), labels), attack, images)


def in_words(model: Model) -> str:
    """A finished model that an objective uses, in words: its class and a digest of its weights, or a function's name.

    Example:
        >>> in_words(nn.Linear(1, 1, bias=False)).partition(" ")[0], in_words(len)
        ('Linear', 'len')
    """
    return f"{type(model).__name__} {digest(model)}" if isinstance(model, nn.Module) else describe(model)
