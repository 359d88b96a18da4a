"""One step against many, both with an exact gradient direction: an attack may be too weak without any masking."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unmask.attacks import Trial
from unmask.numerics import Model
from unmask.record import Finding


@dataclass(frozen=True, kw_only=True)
class Strength:
    """Symptom: more steps of the same attack fool more than ``threshold`` of the images besides. Remedy: those steps.

    The budgets differ on purpose: what is found is that the claim rests on too weak an attack, not why.

    Example:
        >>> import torch
        >>> from unmask.attacks import FGSM, PGD
        >>> probe = Strength(control=Trial(attacks=[FGSM(epsilon=0.2)]), remedy=Trial(attacks=[PGD(epsilon=0.2)]))
        >>> probe(lambda x: x.flatten(1), torch.ones(1, 1, 1, 2), torch.tensor([0])).kind
        'weak attack'
    """

    control: Trial
    remedy: Trial
    name: str = "single-step attack too weak"
    threshold: float = 0.02

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Finding:
        """Compare the two attacks on the same images."""
        before, after = self.control(model, images, labels).correct, self.remedy(model, images, labels).correct
        value = (before.double().mean() - after.double().mean()).item()
        return Finding(
            name=self.name,
            kind="weak attack",
            value=value,
            threshold=self.threshold,
            fired=value > self.threshold,
            symptom=f"Accuracy is {100 * before.double().mean():.1f} % under one step and "
            f"{100 * after.double().mean():.1f} % under many, both along the exact direction.",
            intervention=f"more steps ({self.remedy.name})",
            control=f"one step ({self.control.name})",
            before=before.tolist(),
            after=after.tolist(),
            advice="Report the multi-step figure. A small gap is usual for models that are robust indeed.",
        )
