"""Random signs against gradient signs: if noise fools as many, the gradients say nothing."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unmask.attacks import Trial
from unmask.numerics import Model
from unmask.record import Finding

FEWEST = 20
"""With fewer images fooled by noise, chance could make it look as good as gradients."""

CLEARED = 0.05
"""Where gradients leave less than this standing, they need no defence against noise."""


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Symptom: random sign noise fools at least ``threshold`` times as many as gradients do. Remedy: the noise itself.

    It takes ``FEWEST`` images fooled by noise to tell. Noise is a weak attack, so that where it settles nothing the
    verdict stays open.

    ``value`` is the number fooled by noise over the number fooled by the control, both in excess of clean errors;
    0 where noise fools none.

    Example:
        >>> import torch
        >>> from unmask.attacks import FGSM, FRSM
        >>> from unmask.models.masked import RandomSignBackward
        >>> model = RandomSignBackward(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Identity()), seed=0)
        >>> probe = Noise(
        ...     control=Trial(attacks=[FGSM(epsilon=0.2)]),
        ...     remedy=Trial(attacks=[FRSM(epsilon=0.2)]),
        ...     clean=Trial(attacks=[lambda model, images, labels: images]),
        ... )
        >>> images = torch.tensor([0.6, 0.4]).repeat(64, 1).view(64, 1, 1, 2)
        >>> probe(model, images, torch.zeros(64, dtype=torch.int64)).name
        'gradients no better than noise'
    """

    control: Trial
    remedy: Trial
    clean: Trial
    threshold: float = 0.8

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Finding:
        """Compare how many each fools, and what noise gains."""
        right = self.clean(model, images, labels).correct
        control, remedy = self.control(model, images, labels).correct, self.remedy(model, images, labels).correct
        by_noise, by_gradient = int((right & ~remedy).sum()), int((right & ~control).sum())
        value = by_noise / max(by_gradient, 1)
        return Finding(
            name="gradients no better than noise",
            kind="masking",
            value=value,
            threshold=self.threshold,
            fired=value >= self.threshold and by_noise >= FEWEST and not control.double().mean() < CLEARED,
            symptom=f"Of {int(right.sum())} images that are classified correctly, random signs fool {by_noise} and "
            f"gradient signs {by_gradient}.",
            intervention=f"random sign noise ({self.remedy.name})",
            control=f"gradient attacks with as many queries ({self.control.name})",
            before=control.tolist(),
            after=remedy.tolist(),
            advice="The gradients do not point towards errors: look for layers whose backward pass does not match "
            "their forward pass, and attack with queries or by transfer.",
            blinding=True,
        )
