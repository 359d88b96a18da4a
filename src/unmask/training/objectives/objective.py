"""The protocol of objectives, attacks with random numbers of their own in each update, finished models in words."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from inspect import signature
from typing import Any, Protocol, TypeVar, runtime_checkable

from torch import Tensor, nn

from unmask.attacks.evaluation import checked
from unmask.models.weights import digest
from unmask.numerics import Model, derive_seed, describe, evaluating
from unmask.training.checkpoint import Stateful

AnyAttack = Callable[[Model, Tensor, Tensor], Tensor]
"""A callable ``attack(model, images, labels) -> images``; attacks of this package and of other people alike."""

WITHIN = ("attack", "attacks", "function", "objective")
"""The fields in which objectives and attacks hold others."""

T = TypeVar("T")


class Objective(Protocol):
    """A callable from a batch to a loss to be minimised.

    A resumed run equals one that ran through only if the loss follows from the arguments and from torch's random
    numbers, which each update seeds. An objective with a state of its own has ``state_dict``, which returns tensors by
    name, and ``load_state_dict``, which gets them on the model's device: a checkpoint then holds them too, of several
    processes the first's. Its other settings, shown by ``repr`` or held as attributes, must agree for a run to be
    resumed. The attacks of this package draw the same noise in each call; ``at_step(attack, step)`` is the attack for
    one update.

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
        """Return the loss of one update, a scalar."""
        ...


@runtime_checkable
class Wrapping(Protocol):
    """An objective that calls another one, as ``Augmented`` does.

    Example:
        >>> from unmask.training.objectives import Augmented, Normal
        >>> isinstance(Augmented(objective=Normal()), Wrapping), isinstance(Normal(), Wrapping)
        (True, False)
    """

    objective: Objective


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


def check_alpha(alpha: float | None) -> None:
    """Refuse what cannot be the size of a random offset.

    Raises:
        ValueError: it is no number in [0, 1], and not None.

    Example:
        >>> check_alpha(2.0)
        Traceback (most recent call last):
            ...
        ValueError: alpha: expected a number in [0, 1], got 2.0
    """
    if alpha is not None and not 0 <= alpha <= 1:
        raise ValueError(f"alpha: expected a number in [0, 1], got {alpha}")


def at_step(attack: AnyAttack, step: int) -> AnyAttack:
    """Return an attack with random numbers for one update: its ``seed``, or that of the attack within it, is another.

    An attack that is no dataclass stays as it is. One that is loses what it remembers besides its fields.

    Example:
        >>> from unmask.attacks import FGSM, RFGSM
        >>> attack = RFGSM(epsilon=0.1)
        >>> at_step(attack, 1).seed != at_step(attack, 2).seed, at_step(FGSM(epsilon=0.1), 1) == FGSM(epsilon=0.1)
        (True, True)
    """
    return changed(attack, "seed", lambda seed: derive_seed(seed, step))


def changed(part: T, name: str, change: Callable[[Any], Any]) -> T:
    """Return a dataclass, and the attacks and objectives within it, with a field changed where they have it.

    Example:
        >>> from unmask.attacks import RFGSM
        >>> from unmask.training.objectives import Adversarial, Augmented
        >>> objective = Augmented(objective=Adversarial(attack=RFGSM(epsilon=0.1)))
        >>> changed(objective, "seed", lambda seed: 7).objective.attack.seed
        7
    """
    if isinstance(part, tuple | list):
        return type(part)(changed(one, name, change) for one in part)
    if not is_dataclass(part) or isinstance(part, type):
        return part
    own = {one.name: getattr(part, one.name) for one in fields(part)}
    found = {name: change(own[name])} if name in own else {}
    found |= {place: changed(own[place], name, change) for place in WITHIN if place in own}
    return replace(part, **found) if found else part


def is_ours(objective: Objective) -> bool:
    """Return True if an objective, and the one within it, is of this package: its loss is a cross entropy or more.

    Example:
        >>> is_ours(lambda model, images, labels, *, step: model(images).sum())
        False
    """
    own = type(objective).__module__.startswith(__package__ or "")
    return own and (not isinstance(objective, Wrapping) or is_ours(objective.objective))


def stateful(objective: object) -> Stateful | None:
    """Return the objective, or the one within it, that has a state of its own, if any.

    Example:
        >>> stateful(nn.Linear(1, 1)) is None, stateful(len) is None
        (False, True)
    """
    while not isinstance(objective, Stateful):
        if not isinstance(objective, Wrapping):
            return None
        objective = objective.objective
    return objective


def made_images(attack: AnyAttack, model: Model, images: Tensor, labels: Tensor, *, step: int) -> Tensor:
    """Return the images that an attack makes in one update, of a model in evaluation mode, which is left as it was.

    Raises:
        ValueError: what the attack returns are no images of the shape that it was given.

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
    """Return a finished model in words: its class and a digest of its weights, or a function's name.

    Example:
        >>> in_words(nn.Linear(1, 1, bias=False)).partition(" ")[0], in_words(len)
        ('Linear', 'len')
    """
    return f"{type(model).__name__} {digest(model)}" if isinstance(model, nn.Module) else describe(model)
