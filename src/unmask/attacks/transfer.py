"""An attack that works on a stand-in of the model; what it finds is for the model itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from unmask.attacks.trial import Attack
from unmask.numerics import Model, evaluating


@dataclass(frozen=True, kw_only=True)
class Through:
    """``attack(stand_in(model), images, labels)``: for a trial it is an attack on the model like any other.

    The stand-in has what the model lacks. For randomness it is its mean, ``partial(Averaged, draws=16)``; for steps,
    slopes, ``straight_through``; and for gradients that cannot be had at all, another network, such as a ``surrogate``,
    which makes the attack one by transfer. What comes back is the image that fools the stand-in most.

    Attributes:
        attack: any callable ``attack(model, images, labels) -> images``.
        stand_in: a network to be attacked in the model's place; or a function that makes it of the model, called for
            each batch.

    Example:
        >>> import torch
        >>> from unmask.attacks import FGSM
        >>> attack = Through(attack=FGSM(epsilon=0.25), stand_in=lambda model: lambda x: x.flatten(1))
        >>> rounded = lambda x: x.flatten(1).round()
        >>> images, labels = torch.tensor([0.75, 0.25]).view(1, 1, 1, 2), torch.tensor([0])
        >>> FGSM(epsilon=0.25)(rounded, images, labels).flatten(), attack(rounded, images, labels).flatten()
        (tensor([0.7500, 0.2500]), tensor([0.5000, 0.5000]))
    """

    attack: Attack
    stand_in: nn.Module | Callable[[Model], Model]

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Tensor:
        """Adversarial images, shaped as ``images``."""
        stand_in = self.stand_in if isinstance(self.stand_in, nn.Module) else self.stand_in(model)
        with evaluating(stand_in):
            return self.attack(stand_in, images, labels)
