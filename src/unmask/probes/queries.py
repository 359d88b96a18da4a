"""The reference attack against a search by queries, for models that give no gradients."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unmask.attacks import Trial
from unmask.numerics import Model
from unmask.record import Finding


@dataclass(frozen=True, kw_only=True)
class Queries:
    """Symptom: a search by queries fools more than ``threshold`` of the images besides. Remedy: that search.

    The budgets differ on purpose: what is found is that the claim rests on too weak an attack. Without gradients there
    is no telling whether any are masked.

    Example:
        >>> import torch
        >>> from unmask.attacks import FRSM, Square
        >>> probe = Queries(control=Trial(attacks=[FRSM(epsilon=0.2)]), remedy=Trial(attacks=[Square(epsilon=0.2)]))
        >>> probe(lambda x: x.flatten(1), torch.ones(1, 1, 1, 2), torch.tensor([0])).kind
        'weak attack'
    """

    control: Trial
    remedy: Trial
    name: str = "reference attack weaker than queries"
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
            symptom=f"Accuracy is {100 * before.double().mean():.1f} % under the reference attack and "
            f"{100 * after.double().mean():.1f} % under a search that asks for scores alone.",
            intervention=f"a search by queries ({self.remedy.name})",
            control=f"the reference attack ({self.control.name})",
            before=before.tolist(),
            after=after.tolist(),
            advice="Report the lower figure. More queries, or gradients of the model itself, may lower it further.",
        )
