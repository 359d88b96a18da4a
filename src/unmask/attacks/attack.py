"""The shape of an attack: settings that are called with a model, images and labels, and say what they cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from inspect import signature
from numbers import Real
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

from torch import Tensor, nn

from unmask.numerics import Model, describe
from unmask.threats import Epsilon, Linf, Threat

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
        """What it is called in a report."""

    @property
    def cost(self) -> float:
        """Gradients per image; a forward pass alone counts as ``FORWARD``."""

    @property
    def needs_gradients(self) -> bool:
        """Whether it asks the model for gradients."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Its settings by name, without those that are None."""

    def replace(self, **settings: Any) -> Attack:
        """Return the same attack with some settings changed."""

    def sweep(self, model: Model, images: Tensor, labels: Tensor, *, epsilons: Sequence[float]) -> Iterator[Tensor]:
        """Yield adversarial images for each epsilon in turn."""

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Tensor:
        """Return adversarial images."""


@dataclass(frozen=True)
class BoundedAttack:
    """What the attacks of this package share: an epsilon, and the declarations of `Attack`.

    Attributes:
        epsilon: the bound of the threat model, a number in [0, 1] or text such as ``"8/255"``.
    """

    epsilon: Epsilon = Epsilon()

    needs_gradients: ClassVar[bool] = True

    @property
    def threat(self) -> Threat:
        """The threat model."""
        return Linf(self.epsilon)

    @property
    def name(self) -> str:
        """The class's name."""
        return type(self).__name__

    @property
    def cost(self) -> float:
        """One gradient and one forward pass, where a subclass does not say otherwise."""
        return 1 + FORWARD

    @property
    def settings(self) -> Mapping[str, Any]:
        """Its settings by name, without those that are None."""
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


@dataclass(frozen=True, kw_only=True)
class ForeignAttack:
    """An attack from elsewhere with the declarations of `Attack`; ``as_attack`` makes it.

    Attributes:
        function: the attack itself, called as it was given.
        name, cost, needs_gradients: as in `Attack`.
    """

    function: Callable[[Model, Tensor, Tensor], Tensor]
    name: str
    cost: float
    needs_gradients: bool = True

    @property
    def settings(self) -> Mapping[str, Any]:
        """The function's settings, if it is a dataclass."""
        return _settings(self.function) if is_dataclass(self.function) else {}

    def replace(self, **settings: Any) -> ForeignAttack:
        """Return the same attack with some settings of the function changed."""
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
            say, else one.
        name: by default the function's or the class's.
        needs_gradients: whether it asks the model for gradients.

    Raises:
        ValueError: ``function`` cannot be called with a model, images and labels.

    Example:
        >>> attack = as_attack(lambda model, images, labels: images, cost=10, name="nothing")
        >>> attack.name, attack.cost
        ('nothing', 10)
    """
    if isinstance(function, Attack) and not isinstance(function, type):
        return function
    check_signature("attack", function)
    return ForeignAttack(
        function=function,
        name=name or str(getattr(function, "__name__", type(function).__name__)),
        cost=_usual_cost(_settings(function) if is_dataclass(function) else {}) if cost is None else cost,
        needs_gradients=needs_gradients,
    )


def check_signature(what: str, attack: object) -> None:
    """Refuse what cannot be called with a model, images and labels.

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
    try:
        signature(attack).bind(None, None, None)
    except TypeError as error:
        hint = "; a class is to be called first" if isinstance(attack, type) else ""
        raise ValueError(
            f"{what}: expected one that takes (model, images, labels), got {describe(attack)}{hint}"
        ) from error
    except ValueError:  # torch and the like have callables without a signature
        return


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
    """A setting in words: attacks and functions with what they are given, networks by the name of their class."""
    if isinstance(value, partial):
        name, given = value.func.__name__, {name: describe(one) for name, one in value.keywords.items()}
    elif isinstance(value, Attack) and not isinstance(value, type):
        name, given = value.name, settings_in_words(value)
    else:
        return type(value).__name__ if isinstance(value, nn.Module) else describe(value)
    return f"{name}: " + ", ".join(f"{key} {one}" for key, one in given.items())


def _settings(attack: Any) -> dict[str, Any]:
    values = {one.name: getattr(attack, one.name) for one in fields(attack) if one.init}
    return {name: value for name, value in values.items() if value is not None}


def _usual_cost(settings: Mapping[str, Any]) -> float:
    """Gradients per image, roughly, from the settings that attacks usually have."""

    def number(name: str) -> float:
        value = settings.get(name, 1)
        return float(value) if isinstance(value, Real) else 1.0

    if "queries" in settings:
        return FORWARD * number("queries") * number("restarts")
    return number("steps") * number("restarts") * number("targets") + FORWARD
