"""Attacks of foolbox, torchattacks and the Adversarial Robustness Toolbox (ART), with our signature.

Each library is loaded when one of its attacks is called. Its random numbers are seeded, but belong to the batch: other
than those of our own attacks, they change with the batch's size and order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any, Self

import torch
from torch import Tensor, nn

from unmask.adapters.wrapped import WrappedModel, isolated
from unmask.attacks import FORWARD
from unmask.numerics import Model
from unmask.threats import check_batch, parse_epsilon

__all__ = ["ART", "Foolbox", "Torchattacks", "art_attack", "foolbox_attack", "torchattacks_attack"]


@dataclass(frozen=True, kw_only=True)
class LibraryAttack:
    """An attack of another library, with the declarations of `Attack`; subclasses say how it is called.

    Attributes:
        attack: the library's attack: an instance for foolbox, else a class.
        epsilon: the bound, a number in [0, 1]; None if the library's attack takes none, which cannot be changed then.
        options: the library's other settings.
        seed: of its random numbers.
        needs_gradients: False for a search by queries.
        cost: gradients per image.
    """

    attack: Any
    epsilon: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    needs_gradients: bool = True
    cost: float = 1 + FORWARD

    def __post_init__(self) -> None:
        if self.epsilon is not None:
            object.__setattr__(self, "epsilon", parse_epsilon(self.epsilon))

    @property
    def name(self) -> str:
        """The library's name."""
        return type(self).__name__

    @property
    def settings(self) -> Mapping[str, Any]:
        """The attack and its settings by name, without those that it does not have."""
        given = {"attack": self.attack, "epsilon": self.epsilon, "options": self.options or None}
        return {name: value for name, value in given.items() if value is not None} | {"seed": self.seed}

    def replace(self, **settings: Any) -> Self:
        """Return the same attack with some settings changed."""
        return replace(self, **settings)

    def sweep(self, model: Model, images: Tensor, labels: Tensor, *, epsilons: Sequence[float]) -> Iterator[Tensor]:
        """Yield adversarial images for each epsilon in turn."""
        for epsilon in epsilons:
            yield self.replace(epsilon=epsilon)(model, images, labels)

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Tensor:
        """Return adversarial images, shaped as ``images``."""
        check_batch(images, labels)
        with isolated(model, seed=self.seed):
            found = self._attacked(WrappedModel(model, images), images.detach(), labels)
            return torch.as_tensor(found).detach().to(images)

    def _attacked(self, model: WrappedModel, images: Tensor, labels: Tensor) -> Any:
        """Return what the library makes of the images."""
        raise NotImplementedError

    def _keywords(self) -> dict[str, Any]:
        return dict(self.options) if self.epsilon is None else {"eps": self.epsilon, **self.options}


@dataclass(frozen=True, kw_only=True)
class Foolbox(LibraryAttack):
    """An attack of foolbox. Its images are cut to epsilon by foolbox itself, in the attack's own norm.

    Example:
        >>> Foolbox(attack="LinfPGD", epsilon="1/4").name
        'Foolbox'
    """

    def _attacked(self, model: WrappedModel, images: Tensor, labels: Tensor) -> Any:
        foolbox = _library("foolbox")
        wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device=images.device)
        _, found, _ = self.attack(wrapped, images, labels, epsilons=self.epsilon)
        return found


@dataclass(frozen=True, kw_only=True)
class Torchattacks(LibraryAttack):
    """An attack of torchattacks: ``attack(model, eps=epsilon, **options)``, made anew for each batch.

    Example:
        >>> Torchattacks(attack=print, options={"steps": 10}).settings["options"]
        {'steps': 10}
    """

    def _attacked(self, model: WrappedModel, images: Tensor, labels: Tensor) -> Any:
        return self.attack(model, **self._keywords())(images, labels)


@dataclass(frozen=True, kw_only=True)
class ART(LibraryAttack):
    """An evasion attack of ART: ``attack(classifier, eps=epsilon, **options)``, made anew for each batch, in float32.

    Example:
        >>> ART(attack=print, epsilon=0.25).replace(epsilon=0.5).epsilon
        0.5
    """

    def _attacked(self, model: WrappedModel, images: Tensor, labels: Tensor) -> Any:
        estimators = _library("art.estimators.classification", package="adversarial-robustness-toolbox")
        classifier = estimators.PyTorchClassifier(
            model=model,
            loss=nn.CrossEntropyLoss(),
            input_shape=tuple(images.shape[1:]),
            nb_classes=model(images[:1]).shape[1],
            clip_values=(0.0, 1.0),
            device_type="cpu" if images.device.type == "cpu" else "gpu",
        )
        quiet = {"verbose": False} if "verbose" in self.attack.attack_params else {}
        attack = self.attack(classifier, **quiet, **self._keywords())
        return attack.generate(images.cpu().numpy(), labels.cpu().numpy())


def foolbox_attack(attack: Any, epsilon: float | str, *, seed: int = 0, needs_gradients: bool = True) -> Foolbox:
    """Wrap an attack of foolbox: ``foolbox_attack(foolbox.attacks.LinfPGD(steps=40), "8/255")``.

    Args:
        attack: an instance, for the L-infinity norm.
        epsilon: the bound in [0, 1], a number or text such as ``"8/255"``.
        seed: of its random numbers.
        needs_gradients: False for a search by queries.

    Raises:
        ValueError: epsilon is not in [0, 1], or on the call, foolbox is not installed.

    Example:
        >>> foolbox_attack("LinfPGD", 0.1).epsilon
        0.1
    """
    return Foolbox(attack=attack, epsilon=parse_epsilon(epsilon), seed=seed, needs_gradients=needs_gradients)


def torchattacks_attack(attack: Any, *, seed: int = 0, needs_gradients: bool = True, **options: Any) -> Torchattacks:
    """Wrap an attack of torchattacks: ``torchattacks_attack(torchattacks.PGD, eps="8/255", alpha=2 / 255, steps=10)``.

    Args:
        attack: the class, since torchattacks wants the model when an attack is made.
        seed: of its random numbers.
        needs_gradients: False for a search by queries.
        options: what the class takes besides the model, ``eps`` included.

    Example:
        >>> torchattacks_attack(print, eps=0.1, steps=10).epsilon
        0.1
    """
    epsilon = options.pop("eps", None)
    return Torchattacks(attack=attack, epsilon=epsilon, options=options, seed=seed, needs_gradients=needs_gradients)


def art_attack(attack: Any, *, seed: int = 0, needs_gradients: bool = True, **options: Any) -> ART:
    """Wrap an evasion attack of ART: ``art_attack(ProjectedGradientDescent, eps="8/255", eps_step=2 / 255)``.

    Args:
        attack: the class, since ART wants its classifier when an attack is made.
        seed: of its random numbers.
        needs_gradients: False for a search by queries.
        options: what the class takes besides the classifier, ``eps`` included.

    Raises:
        ValueError: on the call, ART is not installed.

    Example:
        >>> art_attack(print, eps=0.1, max_iter=10).options
        {'max_iter': 10}
    """
    epsilon = options.pop("eps", None)
    return ART(attack=attack, epsilon=epsilon, options=options, seed=seed, needs_gradients=needs_gradients)


def _library(name: str, *, package: str = "") -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        package = package or name
        raise ValueError(f"{package}: not installed, or broken ({error}); pip install 'unmask[peers]'") from error
