"""An attack computed on a model made from the one that is attacked: repaired, averaged, or a substitute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from unmask.attacks.trial import Attack
from unmask.numerics import Model


@dataclass(frozen=True, kw_only=True)
class OnModel:
    """``attack(prepare(model), images, labels)``: whatever is prepared, the model itself judges what was found.

    Attributes:
        prepare: takes the model to the one that is attacked in its place.

    Example:
        >>> import torch
        >>> from unmask.attacks import FGSM
        >>> doubled = OnModel(attack=FGSM(epsilon=0.25), prepare=lambda model: lambda images: 2 * model(images))
        >>> doubled(lambda x: x.flatten(1), torch.tensor([0.75, 0.25]).view(1, 1, 1, 2), torch.tensor([0])).flatten()
        tensor([0.5000, 0.5000])
    """

    attack: Attack
    prepare: Callable[[Model], Model]

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Tensor:
        """Adversarial images, shaped as ``images``."""
        return self.attack(self.prepare(model), images, labels)
