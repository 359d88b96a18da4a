"""What an update minimises: ``objective(model, images, labels, step=...) -> loss``, a scalar in nats.

``step`` is the number of the update: it makes each update's noise fresh, and a resumed run's noise the same. Gradients
never flow through an attack: its images are data. Attacks see the model in evaluation mode; the loss sees it as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from unmask.attacks import FGSM, PGD, RFGSM, Attack
from unmask.gradients import input_gradient
from unmask.losses import Loss, cross_entropy, log_odds
from unmask.numerics import Model, derive_seed, random_signs, undisturbed
from unmask.threat import Linf


class Objective(Protocol):
    """Anything that turns a batch into a loss to be minimised."""

    def __call__(self, model: Model, images: Tensor, labels: Tensor, *, step: int = 0) -> Tensor:
        """The loss of one update."""
        ...


@dataclass(frozen=True, kw_only=True)
class Normal:
    """Training on clean images: ``mean cross_entropy(model(x), y)``.

    Example:
        >>> Normal()(lambda x: x.flatten(1), torch.zeros(3, 1, 1, 2), torch.zeros(3, dtype=torch.int64))
        tensor(0.6931)
    """

    def __call__(self, model: Model, images: Tensor, labels: Tensor, *, step: int = 0) -> Tensor:
        """The loss of one update; ``step`` does not matter."""
        return cross_entropy(model(images), labels).mean()


@dataclass(frozen=True, kw_only=True)
class Adversarial:
    """Adversarial training: ``(1 - c) mean CE(model(x_adv), y) + c mean CE(model(x), y)``, ``c = clean_weight``.

    With FGSM and ``clean_weight=0.5`` it is Goodfellow et al. (2015, section 6); with PGD and 0, Madry et al. (2018).
    Clean and adversarial images go through the model in one pass, so batch norm sees both at once.

    Attributes:
        attack: makes the adversarial images. If it has a ``seed``, each update gets one of its own.

    Raises:
        ValueError: ``clean_weight`` outside [0, 1).

    Example:
        >>> objective = Adversarial(attack=FGSM(epsilon=0.25))
        >>> objective(lambda x: x.flatten(1), torch.full((1, 1, 1, 2), 0.5), torch.tensor([0]))
        tensor(0.9741)
    """

    attack: Attack
    clean_weight: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.clean_weight < 1:
            raise ValueError(f"clean_weight: expected a number from 0 to below 1, got {self.clean_weight}")

    def __call__(self, model: Model, images: Tensor, labels: Tensor, *, step: int = 0) -> Tensor:
        """The loss of one update."""
        adversarial = _at_step(self.attack, step)(model, images, labels)
        if self.clean_weight == 0:
            return cross_entropy(model(adversarial), labels).mean()
        logits = model(torch.cat([adversarial, images]))
        hard, easy = cross_entropy(logits, labels.repeat(2)).chunk(2)
        return (1 - self.clean_weight) * hard.mean() + self.clean_weight * easy.mean()


@dataclass(frozen=True, kw_only=True)
class LogitDistance:
    """Single-step training kept from masking by a regularizer (Vivek, Baburaj & Babu 2019, equation 8).

    ``mean CE(z_fgsm, y) + weight * mean |z_fgsm - z_rfgsm|_2^2``: the logits for the FGSM image of x, and for the
    R-FGSM image that starts from x plus ``alpha`` times random signs, must agree. Both images come from one pass and
    both logits from another; all are cut to [0, 1].

    Attributes:
        weight: the paper's lambda; 0 is its ablation.
        alpha: size of the random offset; the paper does not state it, 0.01 is what the same lab's later code uses.
        step_from_offset: ``"full"`` steps by epsilon, so the R-FGSM image may leave the ball by alpha (the later
            code); ``"remaining"`` steps by ``epsilon - alpha`` (the paper's equation 3).

    Raises:
        ValueError: a setting is out of range.

    Example:
        >>> objective = LogitDistance(epsilon=0.25)
        >>> objective(lambda x: x.flatten(1), torch.zeros(1, 1, 1, 2), torch.tensor([0])) > 0.8
        tensor(True)
    """

    epsilon: float
    weight: float = 5.0
    alpha: float = 0.01
    step_from_offset: Literal["full", "remaining"] = "full"
    loss: Loss = log_odds
    seed: int = 0

    def __post_init__(self) -> None:
        Linf(epsilon=self.epsilon)
        if self.weight < 0 or not 0 <= self.alpha <= 1:
            raise ValueError(f"weight and alpha: expected from 0 up and in [0, 1], got {self.weight} and {self.alpha}")
        if self.step_from_offset not in ("full", "remaining"):
            raise ValueError(f"step_from_offset: expected 'full' or 'remaining', got {self.step_from_offset!r}")

    def __call__(self, model: Model, images: Tensor, labels: Tensor, *, step: int = 0) -> Tensor:
        """The loss of one update."""
        signs = random_signs(images, seed=derive_seed(self.seed, step))
        starts = torch.cat([images, (images + self.alpha * signs).clamp_(0, 1)])
        with undisturbed(model, seed=derive_seed(self.seed, "attack", step)):
            direction = input_gradient(model, starts, labels.repeat(2), loss=self.loss).gradient.sign()
        remaining = self.epsilon if self.step_from_offset == "full" else max(self.epsilon - self.alpha, 0.0)
        fgsm, rfgsm = direction.chunk(2)
        moved = torch.cat([self.epsilon * fgsm, remaining * rfgsm])
        at_fgsm, at_rfgsm = model((starts + moved).clamp_(0, 1)).chunk(2)
        distance = (at_fgsm - at_rfgsm).square().sum(1)
        return cross_entropy(at_fgsm, labels).mean() + self.weight * distance.mean()


def _at_step(attack: Attack, step: int) -> Attack:
    """The attack with random numbers of its own for this update, if it draws any."""
    settings: Any = attack
    return replace(settings, seed=derive_seed(settings.seed, step)) if hasattr(attack, "seed") else attack


PRESETS: Mapping[str, Callable[[float], Objective]] = {
    "normal": lambda epsilon: Normal(),
    "fgsm": lambda epsilon: Adversarial(attack=FGSM(epsilon=epsilon)),
    "fgsm+clean": lambda epsilon: Adversarial(attack=FGSM(epsilon=epsilon), clean_weight=0.5),
    "rfgsm": lambda epsilon: Adversarial(attack=RFGSM(epsilon=epsilon)),
    "rfgsm+clean": lambda epsilon: Adversarial(attack=RFGSM(epsilon=epsilon), clean_weight=0.5),
    "pgd": lambda epsilon: Adversarial(attack=PGD(epsilon=epsilon, keep="last")),
    "logit-distance": lambda epsilon: LogitDistance(epsilon=epsilon),
}
"""Objectives by the name the command line knows, each made from an epsilon."""
