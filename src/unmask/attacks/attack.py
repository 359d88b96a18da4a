"""The shape of an attack: settings that are called with a model, images and labels, and say what they cost."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from inspect import signature
from numbers import Real
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

from torch import Tensor, nn

from unmask.numerics import Model, describe
from unmask.threats import Epsilon, Threat, threat_model

FORWARD = 0.4
"""The cost of a forward pass, in gradients (a forward and a backward pass); measured on LeNet+."""


@runtime_checkable
class Attack(Protocol):
    """``attack(model, images, labels) -> images``, with what an audit must know of it.

    Images are floating (N, C, H, W) in [0, 1], labels int64 (N,). The adversarial images have the same shape and dtype.

    Example:
        >>> from unmask.attacks import FGSM
        >>> isinstance(FGSM("8/255"), Attack)
        True
    """

    @property
    def name(self) -> str:
        """The name in a report."""

    @property
    def cost(self) -> float:
        """Gradients per image, the prediction on the result included; a forward pass alone counts as ``FORWARD``."""

    @property
    def needs_gradients(self) -> bool:
        """True if it asks the model for gradients."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings by name, without those that are None."""

    def replace(self, **settings: Any) -> Attack:
        """Return the same attack with some settings changed."""

    def sweep(self, model: Model, images: Tensor, labels: Tensor, *, epsilons: Sequence[float]) -> Iterator[Tensor]:
        """Yield adversarial images for each epsilon in turn."""

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Tensor:
        """Return adversarial images."""


@dataclass(frozen=True)
class BoundedAttack:
    """The base of the attacks in this package: an epsilon, and the declarations of `Attack`.

    A subclass is a frozen dataclass whose own settings are keyword only. It defines ``__call__``, its ``cost`` where a
    call takes more than one gradient, and ``needs_gradients`` where it takes none.

    Attributes:
        epsilon: the bound of the threat model, a number in [0, 1] or text such as ``"8/255"``.

    Example:
        >>> import torch
        >>> @dataclass(frozen=True, kw_only=True)
        ... class Brighter(BoundedAttack):
        ...     needs_gradients: ClassVar[bool] = False
        ...
        ...     def __call__(self, model, images, labels):
        ...         return self.threat.project(images + self.epsilon, images)
        >>> Brighter("1/4")(None, torch.full((1, 1, 1, 2), 0.5), torch.tensor([0])).flatten()
        tensor([0.7500, 0.7500])
    """

    epsilon: Epsilon = Epsilon()

    needs_gradients: ClassVar[bool] = True

    @property
    def threat(self) -> Threat:
        """The threat model."""
        return threat_model(self.epsilon)

    @property
    def name(self) -> str:
        """The class's name."""
        return type(self).__name__

    @property
    def cost(self) -> float:
        """One gradient, and the prediction on the result."""
        return 1 + FORWARD

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings by name, without those that are None."""
        return _settings(self)

    def replace(self, **settings: Any) -> Self:
        """Return the same attack with some settings changed."""
        return replace(self, **settings)

    def sweep(self, model: Model, images: Tensor, labels: Tensor, *, epsilons: Sequence[float]) -> Iterator[Tensor]:
        """Yield adversarial images for each epsilon in turn; attacks that can share a backward pass override this."""
        for epsilon in epsilons:
            yield self.replace(epsilon=epsilon)(model, images, labels)

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Tensor:
        """Return adversarial images, shaped as ``images``."""
        raise NotImplementedError


def check_counts(**counts: int) -> None:
    """Check that settings are whole numbers above 0.

    Raises:
        ValueError: one is not; the message begins with its name.

    Example:
        >>> check_counts(steps=10, restarts=0)
        Traceback (most recent call last):
            ...
        ValueError: restarts: expected a whole number above 0, got 0
    """
    for name, count in counts.items():
        try:
            positive = operator.index(count) > 0
        except TypeError:
            positive = False
        if not positive:
            raise ValueError(f"{name}: expected a whole number above 0, got {count}")


@dataclass(frozen=True, kw_only=True)
class ForeignAttack:
    """An attack from elsewhere with the declarations of `Attack`; ``as_attack`` makes it.

    Attributes:
        function: the attack itself, called as it was given.
        name, needs_gradients: as in `Attack`.
        declared_cost: gradients per image; None to take it from the settings that attacks usually have.

    Example:
        >>> ForeignAttack(function=lambda model, images, labels: images, name="nothing").cost
        1.4
    """

    function: Callable[[Model, Tensor, Tensor], Tensor]
    name: str
    declared_cost: float | None = None
    needs_gradients: bool = True

    @property
    def cost(self) -> float:
        """Gradients per image."""
        return _usual_cost(self.settings) if self.declared_cost is None else self.declared_cost

    @property
    def settings(self) -> Mapping[str, Any]:
        """The function's settings, if it is a dataclass."""
        return _settings(self.function) if is_dataclass(self.function) else {}

    def replace(self, **settings: Any) -> ForeignAttack:
        """Return the same attack with some settings of the function changed.

        Raises:
            ValueError: the function is no dataclass with these settings.
        """
        known: list[str] = (
            [one.name for one in fields(self.function) if one.init] if is_dataclass(self.function) else []
        )
        unknown = [name for name in settings if name not in known]
        if unknown:
            raise ValueError(f"{self.name}: expected a dataclass with the settings {', '.join(unknown)}")
        return replace(self, function=replace(self.function, **settings))  # type: ignore[type-var]

    def sweep(self, model: Model, images: Tensor, labels: Tensor, *, epsilons: Sequence[float]) -> Iterator[Tensor]:
        """Yield adversarial images for each epsilon in turn."""
        for epsilon in epsilons:
            yield self.replace(epsilon=epsilon)(model, images, labels)

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Tensor:
        """Return what the function returns."""
        return self.function(model, images, labels)


def as_attack(
    function: Callable[[Model, Tensor, Tensor], Tensor],
    *,
    cost: float | None = None,
    name: str | None = None,
    needs_gradients: bool = True,
) -> Attack:
    """Declare what an audit must know of an attack from elsewhere; an attack that declares it itself is returned as is.

    Args:
        function: called as ``function(model, images, labels)``, returns images of the same shape. The settings of a
            dataclass are its attack's: with an ``epsilon`` it can be run at others.
        cost: gradients per image. By default what a dataclass's ``steps``, ``restarts``, ``targets`` or ``queries``
            say, else one, and the prediction on the result.
        name: by default the function's or the class's.
        needs_gradients: True if it asks the model for gradients.

    Raises:
        ValueError: ``function`` cannot be called with a model, images and labels, declares itself what is given, or
            the cost is no number above 0.

    Example:
        >>> attack = as_attack(lambda model, images, labels: images, cost=10, name="nothing")
        >>> attack.name, attack.cost
        ('nothing', 10)
    """
    if cost is not None and not (isinstance(cost, Real) and 0 < cost < math.inf):
        raise ValueError(f"cost: expected gradients per image, a number above 0, got {cost!r}")
    if isinstance(function, Attack) and not isinstance(function, type):
        if cost is not None or name is not None or not needs_gradients:
            raise ValueError(f"attack: {function.name} declares its own cost and name; expected it without others")
        return function
    check_signature("attack", function)
    return ForeignAttack(
        function=function,
        name=name or str(getattr(function, "__name__", type(function).__name__)),
        declared_cost=cost,
        needs_gradients=needs_gradients,
    )


def check_signature(what: str, attack: object) -> None:
    """Check that something can be called with a model, images and labels.

    Raises:
        ValueError: it cannot; the message begins with ``what``.

    Example:
        >>> from unmask.attacks import FGSM
        >>> check_signature("reference", FGSM)
        Traceback (most recent call last):
            ...
        ValueError: reference: expected one that takes (model, images, labels), got FGSM; a class is to be called first
    """
    if not callable(attack):
        raise ValueError(f"{what}: expected a callable attack(model, images, labels), got {attack!r}")
    wanted = f"{what}: expected one that takes (model, images, labels), got {describe(attack)}"
    if isinstance(attack, type):
        raise ValueError(f"{wanted}; a class is to be called first")
    try:
        signature(attack).bind(None, None, None)
    except TypeError as error:
        raise ValueError(wanted) from error
    except ValueError:  # torch and the like have callables without a signature
        return


def check_attacks(what: str, attacks: object) -> None:
    """Refuse what is not a sequence of attacks, each callable with a model, images and labels.

    Raises:
        ValueError: it is not; the message begins with ``what``.

    Example:
        >>> check_attacks("attacks", print)
        Traceback (most recent call last):
            ...
        ValueError: attacks: expected a list of attacks, got builtin_function_or_method
    """
    if not isinstance(attacks, Sequence):
        raise ValueError(f"{what}: expected a list of attacks, got {type(attacks).__name__}")
    for attack in attacks:
        check_signature(what, attack)


def settings_in_words(attack: object) -> dict[str, str]:
    """Return an attack's settings as words by name, for reports.

    Example:
        >>> from unmask.attacks import FGSM
        >>> settings_in_words(FGSM(0.25))
        {'epsilon': '0.25', 'loss': 'cross entropy'}
    """
    settings = attack.settings if isinstance(attack, Attack) else _settings(attack) if is_dataclass(attack) else {}
    return {name.replace("_", " "): _in_words(value) for name, value in settings.items()}


def _in_words(value: object) -> str:
    """Return a setting in words: attacks and functions with what they are given, networks by their class."""
    if isinstance(value, partial):
        name, given = value.func.__name__, {name: describe(one) for name, one in value.keywords.items()}
    elif isinstance(value, Attack) and not isinstance(value, type):
        name, given = value.name, settings_in_words(value)
    else:
        return type(value).__name__ if isinstance(value, nn.Module) else describe(value)
    return f"{name}: " + ", ".join(f"{key} {one}" for key, one in given.items()) if given else name


def _settings(attack: Any) -> dict[str, Any]:
    values = {one.name: getattr(attack, one.name) for one in fields(attack) if one.init}
    return {name: value for name, value in values.items() if value is not None}


def _usual_cost(settings: Mapping[str, Any]) -> float:
    """Return roughly the gradients per image, from the settings that attacks usually have."""

    def number(name: str) -> float:
        value = settings.get(name, 1)
        return float(value) if isinstance(value, Real) else 1.0

    if "queries" in settings:
        return FORWARD * number("queries") * number("restarts")
    return number("steps") * number("restarts") * number("targets") + FORWARD
