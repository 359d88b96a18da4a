"""A weak attack against a strong one, both sound: a claim may rest on too little without any masking."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unmask.attacks import Trial
from unmask.numerics import Model
from unmask.reports.record import Finding


@dataclass(frozen=True, kw_only=True)
class Strength:
    """Symptom: a stronger attack fools more than ``threshold`` of the images besides. Remedy: that attack.

    The budgets differ on purpose: what is found is that the claim rests on too weak an attack, not why.

    Attributes:
        control: the weaker attack, by default one step; ``remedy``: the stronger one, by default many.
        does, against: the two in words; ``symptom``: what is said of the two accuracies, in per cent.

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
    does: str = "more steps"
    against: str = "one step"
    symptom: str = "Accuracy is {:.1f} % under one step and {:.1f} % under many, both along the exact direction."
    advice: str = "Report the multi-step figure. A small gap is usual for models that are robust indeed."

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Finding:
        """Compare the two attacks on the same images."""
        before, after = (trial(model, images, labels).correct for trial in (self.control, self.remedy))
        shares = [held.double().mean().item() for held in (before, after)]
        value = shares[0] - shares[1]
        return Finding(
            name=self.name,
            kind="weak attack",
            value=value,
            threshold=self.threshold,
            fired=value > self.threshold,
            symptom=self.symptom.format(*(100 * share for share in shares)),
            intervention=f"{self.does} ({self.remedy.name})",
            control=f"{self.against} ({self.control.name})",
            before=before.tolist(),
            after=after.tolist(),
            advice=self.advice,
        )


def queries(*, control: Trial, remedy: Trial) -> Strength:
    """The probe that compares the reference attack with a search, of models that give no gradients.

    Example:
        >>> from unmask.attacks import FRSM, Square
        >>> queries(control=Trial(attacks=[FRSM(epsilon=0.2)]), remedy=Trial(attacks=[Square(epsilon=0.2)])).name
        'reference attack weaker than queries'
    """
    return Strength(
        control=control,
        remedy=remedy,
        name="reference attack weaker than queries",
        does="a search by queries",
        against="the reference attack",
        symptom="Accuracy is {:.1f} % under the reference attack and {:.1f} % under a search that asks for scores.",
        advice="Report the lower figure. More queries, or gradients of the model itself, may lower it further.",
    )
