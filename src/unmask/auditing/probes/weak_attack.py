"""A weak attack against a strong one, both sound: a claim may rest on too little without any masking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unmask.auditing.context import Context
from unmask.auditing.probes.probe import Probe
from unmask.auditing.trial import Trial
from unmask.reports.record import Finding


@dataclass(frozen=True, kw_only=True)
class SingleStepWeak(Probe):
    """Symptom: many steps fool more than ``threshold`` of the images besides those that one step fools.

    The budgets differ on purpose: the finding is that the claim rests on too weak an attack, not why.

    Example:
        >>> import torch
        >>> from unmask.auditing.context import prepare
        >>> task = (torch.ones(1, 1, 1, 2), torch.tensor([0]))
        >>> SingleStepWeak()(prepare(lambda x: x.flatten(1), *task, epsilon=0.2)).kind
        'weak attack'
    """

    name: str = "single-step attack too weak"
    threshold: float = 0.02

    def trials(self, context: Context) -> Sequence[Trial]:
        """Return the two that are compared."""
        return [context.trials.one, context.trials.many]

    def __call__(self, context: Context) -> Finding:
        """Compare the two on the same images."""
        return _compared(
            self,
            context,
            does="more steps",
            against="one step",
            symptom="Accuracy is {:.1f} % under one step and {:.1f} % under many, both along the exact direction.",
            advice="Report the multi-step figure. A small gap is usual for models that are robust indeed.",
        )


@dataclass(frozen=True, kw_only=True)
class WeakerThanQueries(Probe):
    """Symptom, at a model without gradients: a search by queries fools more images than the reference attack.

    Example:
        >>> import torch
        >>> from unmask.auditing.context import prepare
        >>> context = prepare(lambda x: x.flatten(1), torch.ones(1, 1, 1, 2), torch.tensor([0]), epsilon=0.2)
        >>> WeakerThanQueries().skip(context)
        ''
    """

    name: str = "reference attack weaker than queries"
    threshold: float = 0.02
    needs_gradients: bool = False

    def skip(self, context: Context) -> str | None:
        """Leave out models that have gradients."""
        return "" if context.gradients else None

    def trials(self, context: Context) -> Sequence[Trial]:
        """Return the two that are compared."""
        return [context.trials.claimed, context.trials.sound]

    def __call__(self, context: Context) -> Finding:
        """Compare the two on the same images."""
        return _compared(
            self,
            context,
            does="a search by queries",
            against="the reference attack",
            symptom="Accuracy is {:.1f} % under the reference attack and {:.1f} % under a search that asks for scores.",
            advice="Report the lower figure. More queries, or gradients of the model itself, may lower it further.",
        )


def _compared(probe: Probe, context: Context, *, does: str, against: str, symptom: str, advice: str) -> Finding:
    """Return the finding that compares the probe's two trials."""
    control, remedy = probe.trials(context)
    before, after = (context.evaluator.run(trial).correct for trial in (control, remedy))
    shares = [held.double().mean().item() for held in (before, after)]
    value = shares[0] - shares[1]
    return Finding(
        name=probe.name,
        kind="weak attack",
        value=value,
        threshold=probe.threshold,
        fired=value > probe.threshold,
        symptom=symptom.format(*(100 * share for share in shares)),
        remedy=f"{does} ({remedy.name})",
        control=f"{against} ({control.name})",
        before=before.tolist(),
        after=after.tolist(),
        advice=advice,
    )
