"""Training on clean images, on those of one attack, or on those of several at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.attacks.attack import check_signature
from unmask.losses import cross_entropy
from unmask.numerics import Model
from unmask.training.objectives.objective import AnyAttack, made_images


@dataclass(frozen=True, kw_only=True)
class Normal:
    """Training on clean images: ``mean cross_entropy(model(x), y)``.

    Cost: 3 passes.

    Example:
        >>> Normal()(lambda x: x.flatten(1), torch.zeros(3, 1, 1, 2), torch.zeros(3, dtype=torch.int64))
        tensor(0.6931)
    """

    def __call__(self, model: Model, images: Tensor, labels: Tensor, *, step: int = 0) -> Tensor:
        """Return the loss of one update; ``step`` does not matter."""
        return cross_entropy(model(images), labels).mean()


@dataclass(frozen=True, kw_only=True)
class Adversarial:
    """Adversarial training: ``(1 - c) mean CE(model(x_adv), y) + c mean CE(model(x), y)``, ``c = clean_weight``.

    With FGSM and ``clean_weight=0.5`` it is Goodfellow et al. (2015, section 6); with PGD and 0, Madry et al. (2018);
    with RS-FGSM, Wong et al. (2020). Clean and adversarial images go through the model in one pass.

    Cost: with an attack of one step 5 passes, with clean images too 8; with PGD of k steps that keeps the last, 3 + 2k.
    Published for MNIST at epsilon 0.3 (Vivek et al. 2019, Table 3, which leaves open whether there were clean images
    too), accuracy on clean images, under FGSM and under PGD-100: trained on FGSM 99.34, 89.04 and 0.01; R-FGSM 93.92,
    57.06 and 28.76; PGD 98.41, 95.56 and 91.13.

    Attributes:
        attack: makes the adversarial images, of this package or any callable ``attack(model, images, labels)``. If it
            is a dataclass with a ``seed``, each update gets one of its own.

    Raises:
        ValueError: ``clean_weight`` outside [0, 1), or what is given is no attack.

    Example:
        >>> from unmask.attacks import FGSM
        >>> objective = Adversarial(attack=FGSM(epsilon=0.25))
        >>> objective(lambda x: x.flatten(1), torch.full((1, 1, 1, 2), 0.5), torch.tensor([0]))
        tensor(0.9741)
    """

    attack: AnyAttack
    clean_weight: float = 0.0

    def __post_init__(self) -> None:
        check_signature("attack", self.attack)
        if not 0 <= self.clean_weight < 1:
            raise ValueError(f"clean_weight: expected a number from 0 to below 1, got {self.clean_weight}")

    def __call__(self, model: Model, images: Tensor, labels: Tensor, *, step: int = 0) -> Tensor:
        """Return the loss of one update."""
        adversarial = made_images(self.attack, model, images, labels, step=step)
        return loss_beside_clean(model, adversarial, images, labels, clean_weight=self.clean_weight)


def loss_beside_clean(
    model: Model, adversarial: Tensor, images: Tensor, labels: Tensor, *, clean_weight: float
) -> Tensor:
    """Return ``(1 - clean_weight) CE(model(adversarial), labels) + clean_weight CE(model(images), labels)``.

    Both batches share one pass; ``CE`` is the mean cross entropy.

    Example:
        >>> images, labels = torch.zeros(1, 1, 1, 2), torch.tensor([0])
        >>> loss_beside_clean(lambda x: x.flatten(1), images + 1, images, labels, clean_weight=0.5)
        tensor(0.6931)
    """
    if clean_weight == 0:
        return cross_entropy(model(adversarial), labels).mean()
    logits = model(torch.cat([adversarial, images]))
    hard, easy = cross_entropy(logits, labels.repeat(2)).chunk(2)
    return (1 - clean_weight) * hard.mean() + clean_weight * easy.mean()


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Training on several attacks at once: the mean of ``CE(model(x_a), y)`` over the images and the attacks a.

    With FGSM and R-FGSM it is an ablation of ``LogitDistance``: images of the same two kinds, cross entropy on both,
    and no term that holds their logits together. All images go through the model in one pass.

    Cost: with n attacks of one step, 5 n passes. Published for FGSM and R-FGSM on MNIST at epsilon 0.3
    (Vivek et al. 2019, Table 3), accuracy on clean images, under FGSM and under PGD-100: 95.39, 61.60 and 33.41.

    Attributes:
        attacks: make the adversarial images. Those that have a ``seed`` get one of their own in each update.

    Raises:
        ValueError: there is no attack, or something else among them.

    Example:
        >>> from unmask.attacks import FGSM, RFGSM
        >>> objective = Mixture(attacks=(FGSM(epsilon=0.25), RFGSM(epsilon=0.25, alpha=0.0)))
        >>> objective(lambda x: x.flatten(1), torch.full((1, 1, 1, 2), 0.5), torch.tensor([0]))
        tensor(0.9741)
    """

    attacks: Sequence[AnyAttack]

    def __post_init__(self) -> None:
        if not isinstance(self.attacks, Sequence):
            raise ValueError(f"attacks: expected a list of attacks, got {type(self.attacks).__name__}")
        if not self.attacks:
            raise ValueError("attacks: expected at least one, got none")
        for attack in self.attacks:
            check_signature("attacks", attack)

    def __call__(self, model: Model, images: Tensor, labels: Tensor, *, step: int = 0) -> Tensor:
        """Return the loss of one update."""
        adversarial = torch.cat([made_images(one, model, images, labels, step=step) for one in self.attacks])
        return cross_entropy(model(adversarial), labels.repeat(len(self.attacks))).mean()
