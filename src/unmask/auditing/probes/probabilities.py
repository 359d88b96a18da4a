"""Probabilities in place of logits: a loss that takes their softmax once more is nearly flat."""

from __future__ import annotations

from dataclasses import dataclass

from unmask.auditing.context import Context
from unmask.auditing.probes.probe import Probe
from unmask.auditing.repair import Repair
from unmask.reports.record import Finding


@dataclass(frozen=True, kw_only=True)
class Probabilities(Probe):
    """Symptom: the model returns probabilities, and the reference attack takes them for logits.

    Remedy: the same attack on their logarithms, which are logits. ``value`` is 1 or 0.

    Example:
        >>> import torch
        >>> from unmask.auditing.context import prepare
        >>> context = prepare(torch.nn.Flatten(), torch.rand(1, 1, 1, 2), torch.tensor([0]), epsilon=0.1)
        >>> Probabilities()(context).fired
        False
    """

    name: str = "outputs are probabilities"
    threshold: float = 0.5
    needs_gradients: bool = False

    def skip(self, context: Context) -> str | None:
        """Return that a search needs no logits, for a model without gradients."""
        return None if context.gradients else "scores serve a search as well"

    def __call__(self, context: Context) -> Finding:
        """Say what the model returns, and what the remedy gains."""
        returned = context.audited.given is not context.model
        repair = Repair(
            does="the same attack on the logarithms of the probabilities",
            against="the attack as it is",
            control=context.trials.claimed,
            remedy=context.trials.reference_on_logits,
        )
        return Finding(
            name=self.name,
            kind="masking",
            value=float(returned),
            threshold=self.threshold,
            fired=returned,
            symptom="The model returns probabilities." if returned else "The model returns logits.",
            advice="Return logits; where probabilities are wanted, take the softmax outside the model.",
            **repair(returned, context.evaluator),
        )
