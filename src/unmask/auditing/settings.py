"""What an attack says of itself: its settings, its loss, what it costs; and what becomes of it when it is changed."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from unmask.attacks import Attack
from unmask.attacks.trial import attacked
from unmask.auditing.ledger import Part
from unmask.losses import Loss, RivalMargin, cross_entropy, dlr, log_odds, margin
from unmask.numerics import Batches, Model, out_of_memory

LOOK = 0.4
"""What a look at the model costs, in gradients; measured on LeNet+."""

COUNTED = 8
"""Images on which it is counted what somebody's attack takes."""


def has(attack: Attack, setting: str) -> bool:
    """Whether an attack is a dataclass made with such a setting, so that it can be changed.

    Example:
        >>> from unmask.attacks import FGSM
        >>> has(FGSM(epsilon=0.1), "loss"), has(lambda model, images, labels: images, "loss")
        (True, False)
    """
    made_with: list[str] = [one.name for one in fields(attack) if one.init] if is_dataclass(attack) else []
    return setting in made_with and getattr(attack, setting) is not None


def changed(attack: Any, **settings: Any) -> Attack:
    """The same attack with some settings changed.

    Example:
        >>> from unmask.attacks import FGSM
        >>> changed(FGSM(epsilon=0.1), epsilon=1.0).epsilon
        1.0
    """
    other: Attack = replace(attack, **settings)
    return other


def loss_of(attack: Any) -> Loss | None:
    """The loss that an attack climbs, if it says so.

    Example:
        >>> from unmask.attacks import FGSM
        >>> loss_of(FGSM(epsilon=0.1)).__name__
        'log_odds'
    """
    return attack.loss if has(attack, "loss") else None


def ours(loss: Loss | None) -> bool:
    """Whether a loss is one of ours, which another may take the place of.

    Example:
        >>> ours(log_odds), ours(None)
        (True, False)
    """
    return loss in (cross_entropy, log_odds, margin, dlr) or isinstance(loss, RivalMargin)


class RefusedError(Exception):
    """An attack that was changed, to another epsilon or fewer steps, fails.

    Example:
        >>> str(RefusedError("ValueError: eps must be above 0"))
        'ValueError: eps must be above 0'
    """


def variant(attack: Attack) -> Attack:
    """A changed attack: that it fails is no fault of who gave the original.

    Example:
        >>> from unmask.attacks import FGSM
        >>> variant(FGSM(epsilon=0.5))(lambda x: x.flatten(1), torch.zeros(1, 1, 1, 2), torch.tensor([0])).flatten()
        tensor([0.0000, 0.5000])
    """

    def attempt(model: Model, images: Tensor, labels: Tensor) -> Tensor:
        try:
            return attack(model, images, labels)
        except Exception as error:  # it may be anybody's code
            if isinstance(error, RuntimeError) and out_of_memory(error):
                raise
            raise RefusedError(f"{type(error).__name__}: {error}") from error

    return attempt


def saturates(loss: Loss | None) -> bool:
    """Whether a loss's gradient may round away; of a loss that is not ours we do not know, and say yes.

    Example:
        >>> saturates(log_odds), saturates(None)
        (False, True)
    """
    return not (loss in (log_odds, margin, dlr) or isinstance(loss, RivalMargin))


def spent(attack: Attack, model: Model, part: Part, batches: Batches) -> float:
    """Gradients per image that an attack takes on a few images, counted; a pass without one counts as ``LOOK``.

    What cannot be counted, of a model that is no module, is taken from the attack's settings.

    Example:
        >>> from unmask.attacks import PGD
        >>> part = Part(torch.tensor([0]), torch.tensor([[[[0.9, 0.1]]]]), torch.tensor([0]))
        >>> spent(PGD(epsilon=0.1, steps=20), torch.nn.Flatten(), part, Batches())
        20.4
    """
    few = min(len(part.rows), COUNTED)
    if not few or not isinstance(model, nn.Module):
        return cost_of(attack)
    passes = 0.0

    def count(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        nonlocal passes
        asked = torch.is_grad_enabled() and arguments[0].requires_grad
        passes += len(arguments[0]) * (1.0 if asked else LOOK)

    hook = model.register_forward_pre_hook(count)
    try:
        batches(lambda x, y: attacked(attack, model, x, y), part.images[:few], part.labels[:few])
    finally:
        hook.remove()
    return max(passes / few, cost_of(attack))


def cost_of(attack: Any) -> float:
    """Gradients per image, roughly, from the settings that attacks usually have.

    Example:
        >>> from unmask.attacks import FGSM, PGD
        >>> cost_of(FGSM(epsilon=0.1)), cost_of(PGD(epsilon=0.1, steps=40))
        (1.4, 40.4)
    """
    if has(attack, "queries"):
        return LOOK * _number(attack, "queries") * _number(attack, "restarts")
    return _number(attack, "steps") * _number(attack, "restarts") * _number(attack, "targets") + LOOK


def _number(attack: Any, setting: str) -> float:
    """A setting if it is a number: somebody's attack may mean something else by the name."""
    value = getattr(attack, setting, 1)
    return float(value) if isinstance(value, Real) else 1.0
