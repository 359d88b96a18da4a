"""Probabilities in place of logits: a loss that takes their softmax once more is nearly flat."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unmask.auditing.probes.probe import Repair
from unmask.numerics import Model
from unmask.reports.record import Finding


@dataclass(frozen=True, kw_only=True)
class Probabilities:
    """Symptom: the model returns probabilities, and the reference attack takes them for logits.

    Remedy: the same attack on their logarithms, which are logits. ``value`` is 1 or 0.

    Attributes:
        returned: whether the model returns probabilities, as was seen when it was examined.

    Example:
        >>> import torch
        >>> from unmask.attacks import FGSM, Trial
        >>> trial = Trial(attacks=[FGSM(epsilon=0.1)])
        >>> repair = Repair(does="logarithms", against="probabilities", control=trial, remedy=trial)
        >>> task = (lambda x: x.flatten(1), torch.ones(1, 1, 1, 2), torch.tensor([0]))
        >>> Probabilities(returned=False, repair=repair)(*task).fired
        False
    """

    returned: bool
    repair: Repair
    name: str = "outputs are probabilities"
    threshold: float = 0.5

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Finding:
        """Say what the model returns, and what the remedy gains."""
        return Finding(
            name=self.name,
            kind="masking",
            value=float(self.returned),
            threshold=self.threshold,
            fired=self.returned,
            symptom="The model returns probabilities." if self.returned else "The model returns logits.",
            advice="Return logits; where probabilities are wanted, take the softmax outside the model.",
            **self.repair(self.returned, model, images, labels),
        )
