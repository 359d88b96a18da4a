"""Random signs against the gradient's signs: if noise fools as many, gradients say nothing."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unmask.attacks import Trial
from unmask.auditing.probes.probe import Repair
from unmask.numerics import Model
from unmask.reports.record import Finding

FEWEST = 20
"""With fewer images fooled by noise, chance could make it look as good as gradients."""

CLEARED = 0.05
"""Where gradients leave less than this standing, they need no defence against noise."""


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Symptom: random sign noise fools at least ``threshold`` times as many as gradients do.

    It takes ``FEWEST`` images fooled by noise to tell. Remedy: attacks that use no gradient; the control has as many
    looks at the model.

    ``value`` is the number fooled by noise over the number fooled by gradients, both in excess of clean errors;
    0 where noise fools none.

    Attributes:
        noise: random signs, several draws; ``gradients``: an attack with as many steps; ``clean``: no attack.

    Example:
        >>> import torch
        >>> from unmask.attacks import FGSM, FRSM
        >>> from unmask.models.masked import RandomSignBackward
        >>> model = RandomSignBackward(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Identity()), seed=0)
        >>> probe = Noise(
        ...     noise=(noise := Trial(attacks=[FRSM(epsilon=0.2)])),
        ...     gradients=(step := Trial(attacks=[FGSM(epsilon=0.2)])),
        ...     clean=Trial(attacks=[lambda model, images, labels: images]),
        ...     repair=Repair(does="noise", against="a step", control=step, remedy=noise),
        ... )
        >>> images = torch.tensor([0.6, 0.4]).repeat(64, 1).view(64, 1, 1, 2)
        >>> probe(model, images, torch.zeros(64, dtype=torch.int64)).name
        'gradients no better than noise'
    """

    noise: Trial
    gradients: Trial
    clean: Trial
    repair: Repair
    name: str = "gradients no better than noise"
    threshold: float = 0.8

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Finding:
        """Compare how many noise and gradient fool, and what the remedy gains."""
        right = self.clean(model, images, labels).correct
        noise, held = (trial(model, images, labels).correct for trial in (self.noise, self.gradients))
        by_noise, by_gradient = int((right & ~noise).sum()), int((right & ~held).sum())
        value = by_noise / max(by_gradient, 1)
        fired = value >= self.threshold and by_noise >= FEWEST and not held.double().mean() < CLEARED
        return Finding(
            name=self.name,
            kind="masking",
            value=value,
            threshold=self.threshold,
            fired=fired,
            symptom=f"Of {int(right.sum())} images that are classified correctly, {self.noise.name} fool {by_noise}, "
            f"and gradients ({self.gradients.name}) {by_gradient}.",
            **self.repair(fired, model, images, labels),
            advice="The gradients do not point towards errors: look for layers whose backward pass does not match "
            "their forward pass, and attack with queries or by transfer.",
        )
