"""Other people's attacks with our signature: foolbox, torchattacks and the Adversarial Robustness Toolbox (ART).

Each library is loaded when one of its attacks is called. Its random numbers are seeded, but belong to the batch: other
than those of our own attacks, they change with the batch's size and order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from unmask.adapters.stand_in import StandIn, isolated
from unmask.numerics import Model
from unmask.threats import Linf, check_batch


@dataclass(frozen=True, kw_only=True)
class Foolbox:
    """An attack of foolbox. What it returns is cut to epsilon by foolbox itself, in the attack's own norm."""

    attack: Any
    epsilon: float
    seed: int = 0

    def __post_init__(self) -> None:
        Linf(epsilon=self.epsilon)

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Tensor:
        """Adversarial images, shaped as ``images``."""
        check_batch(images, labels)
        foolbox = _library("foolbox")
        with isolated(model, seed=self.seed):
            wrapped = foolbox.PyTorchModel(StandIn(model, images), bounds=(0, 1), device=images.device)
            _, found, _ = self.attack(wrapped, images.detach(), labels, epsilons=self.epsilon)
        return _tensor(found, images)


def foolbox_attack(attack: Any, epsilon: float, *, seed: int = 0) -> Foolbox:
    """An attack of foolbox: ``foolbox_attack(foolbox.attacks.LinfPGD(steps=40), 8 / 255)``.

    Args:
        attack: an instance, for the L-infinity norm.

    Raises:
        ValueError: epsilon is not in [0, 1], or on the call, foolbox is not installed.

    Example:
        >>> foolbox_attack("LinfPGD", 0.1).epsilon
        0.1
    """
    return Foolbox(attack=attack, epsilon=epsilon, seed=seed)


@dataclass(frozen=True, kw_only=True)
class Torchattacks:
    """An attack of torchattacks: ``attack(model, eps=epsilon, **settings)``, made anew for each batch."""

    attack: Any
    epsilon: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Tensor:
        """Adversarial images, shaped as ``images``."""
        check_batch(images, labels)
        with isolated(model, seed=self.seed):
            attack = self.attack(StandIn(model, images), **_with_eps(self.settings, self.epsilon))
            return _tensor(attack(images.detach(), labels), images)


def torchattacks_attack(attack: Any, *, seed: int = 0, **settings: Any) -> Torchattacks:
    """An attack of torchattacks: ``torchattacks_attack(torchattacks.PGD, eps=8 / 255, alpha=2 / 255, steps=10)``.

    Args:
        attack: the class, since torchattacks wants the model when an attack is made.
        settings: what the class takes besides the model, ``eps`` included.

    Example:
        >>> torchattacks_attack(print, eps=0.1, steps=10).epsilon
        0.1
    """
    epsilon = settings.pop("eps", None)
    return Torchattacks(attack=attack, epsilon=epsilon, settings=settings, seed=seed)


@dataclass(frozen=True, kw_only=True)
class ART:
    """An evasion attack of ART: ``attack(classifier, eps=epsilon, **settings)``, made anew for each batch."""

    attack: Any
    epsilon: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Tensor:
        """Adversarial images, shaped as ``images``; ART computes them in float32."""
        check_batch(images, labels)
        estimators = _library("art.estimators.classification", package="adversarial-robustness-toolbox")
        with isolated(model, seed=self.seed):
            stand_in = StandIn(model, images)
            classifier = estimators.PyTorchClassifier(
                model=stand_in,
                loss=nn.CrossEntropyLoss(),
                input_shape=tuple(images.shape[1:]),
                nb_classes=stand_in(images[:1].detach()).shape[1],
                clip_values=(0.0, 1.0),
                device_type="cpu" if images.device.type == "cpu" else "gpu",
            )
            quiet = {"verbose": False} if "verbose" in self.attack.attack_params else {}
            attack = self.attack(classifier, **quiet, **_with_eps(self.settings, self.epsilon))
            return _tensor(attack.generate(images.detach().cpu().numpy(), labels.cpu().numpy()), images)


def art_attack(attack: Any, *, seed: int = 0, **settings: Any) -> ART:
    """An evasion attack of ART: ``art_attack(ProjectedGradientDescent, eps=8 / 255, eps_step=2 / 255, max_iter=10)``.

    Args:
        attack: the class, since ART wants its classifier when an attack is made.
        settings: what the class takes besides the classifier, ``eps`` included.

    Raises:
        ValueError: on the call, ART is not installed.

    Example:
        >>> art_attack(print, eps=0.1, max_iter=10).settings
        {'max_iter': 10}
    """
    epsilon = settings.pop("eps", None)
    return ART(attack=attack, epsilon=epsilon, settings=settings, seed=seed)


def _with_eps(settings: Mapping[str, Any], epsilon: float | None) -> dict[str, Any]:
    return dict(settings) if epsilon is None else {"eps": epsilon, **settings}


def _library(name: str, *, package: str = "") -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        package = package or name
        raise ValueError(f"{package}: not installed, or broken ({error}); pip install {package}") from error


def _tensor(found: Any, images: Tensor) -> Tensor:
    """What a library returned, as images like those it was given."""
    return torch.as_tensor(found).detach().to(images)
