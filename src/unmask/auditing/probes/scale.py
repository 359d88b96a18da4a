"""The scale of logits: so small that cross entropy takes all rivals for equally near, whatever the image."""

from __future__ import annotations

from dataclasses import dataclass

from unmask.auditing.context import Context
from unmask.auditing.losses import saturates
from unmask.auditing.probes.probe import Probe
from unmask.auditing.proxies import LEAST
from unmask.auditing.repair import Repair
from unmask.auditing.trial import Proxy
from unmask.losses import log_odds
from unmask.reports.record import Finding

MODERATE = 5.0
"""The median lead, in nats, to which logits are rescaled: the rivals are told apart and nothing saturates."""


@dataclass(frozen=True, kw_only=True)
class Scale(Probe):
    """Symptom: the median lead of the highest logit over the next is less than 5 nats, ``threshold`` times and more.

    With tiny logits softmax gives every rival the same weight, and the attack heads for the mean of all. (Huge ones are
    another probe's: they saturate.) Remedy: the same attack on logits rescaled to a median lead of 5 nats. It does not
    apply to losses that do not change with the scale. ``value`` is 5 nats over the median lead.

    Example:
        >>> import torch
        >>> from unmask.auditing.context import prepare
        >>> images = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
        >>> Scale()(prepare(lambda x: x.flatten(1) / 100, images, torch.tensor([0]), epsilon=0.1)).fired
        True
    """

    name: str = "logit scale"
    threshold: float = 20.0

    def __call__(self, context: Context) -> Finding:
        """Compare the lead with 5 nats, and measure what the remedy gains."""
        value = min(MODERATE / max(context.lead, LEAST), 1 / LEAST)
        applies = saturates(context.reference) or context.reference.settings.get("loss") is log_odds
        fired = applies and value > self.threshold
        rescaled = Proxy(f"logits with a median lead of {MODERATE:g} nats", context.with_lead(MODERATE))
        repair = Repair(
            does="the same attack on logits of moderate size",
            against="the attack as it is",
            control=context.trials.reference_on_logits,
            remedy=context.evaluator.trial("reference, logits rescaled", context.reference, proxy=rescaled),
        )
        return Finding(
            name=self.name,
            kind="masking",
            value=value,
            threshold=self.threshold,
            fired=fired,
            symptom=f"The highest logit leads the next by {context.lead:.3g} nats (median).",
            advice="Attack with a loss that does not depend on the scale of logits (a margin, DLR), or rescale them.",
            **repair(fired, context.evaluator),
        )
