"""Float32 saturation: the model is so sure that cross entropy's gradient has lost its direction, or all of itself."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from unmask.auditing.probes.probe import Repair
from unmask.gradients import input_gradient
from unmask.losses import cross_entropy, log_odds
from unmask.numerics import Batches, Model, undisturbed
from unmask.reports.record import Finding


@dataclass(frozen=True, kw_only=True)
class Saturation:
    """Symptom: ``p_y`` rounds to 1 on more than ``threshold`` of the images. Remedy: the log-odds loss, same attack.

    It does not apply where the audited attack does not use cross entropy: then nothing is claimed that saturation could
    have spoilt.

    Evidence per example: ``log odds`` for the true class; ``saturated``, whether ``p_y`` is exactly 1; ``zero
    gradient``, of cross entropy; ``fidelity``, the share of pixels where cross entropy's gradient has the sign of
    log-odds', over those where the latter is not 0 (1 where it is 0 throughout).

    Example:
        >>> from unmask.attacks import FGSM, Trial
        >>> blunt, exact = FGSM(epsilon=0.2, loss=cross_entropy), FGSM(epsilon=0.2)
        >>> control, remedy = Trial(attacks=[blunt]), Trial(attacks=[exact])
        >>> probe = Saturation(repair=Repair(does="log-odds", against="as it is", control=control, remedy=remedy))
        >>> sure = lambda x: 100 * x.flatten(1)
        >>> probe(sure, torch.tensor([0.65, 0.35]).view(1, 1, 1, 2), torch.tensor([0])).fired
        True
    """

    repair: Repair
    applies: bool = True
    name: str = "float32 saturation"
    threshold: float = 0.01
    batches: Batches = field(default_factory=Batches)

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Finding:
        """Measure the symptom on all images, and what the remedy gains."""
        lead, saturated, zero, fidelity = self.batches(lambda x, y: _measure(model, x, y), images, labels)
        value = saturated.double().mean().item()
        fired = value > self.threshold and self.applies
        return Finding(
            name=self.name,
            kind="masking",
            value=value,
            threshold=self.threshold,
            fired=fired,
            symptom=f"On {100 * value:.1f} % of the images the true class's probability rounds to 1, so that cross "
            f"entropy's gradient leaves it out; on {100 * zero.double().mean():.1f} % that gradient is all zero. "
            f"Its signs are right in {100 * fidelity.double().mean():.1f} % of the pixels (median log-odds "
            f"{lead.double().median():.1f}).",
            **self.repair(fired, model, images, labels),
            advice="Attack with the log-odds loss (the default in unmask) or in float64; do not report accuracies from "
            "cross-entropy gradients in float32. Training shorter, with weight decay or a lower learning rate keeps "
            "the log-odds small.",
            evidence={
                "log odds": lead.double().tolist(),
                "saturated": saturated.tolist(),
                "zero gradient": zero.tolist(),
                "fidelity": fidelity.double().tolist(),
            },
        )


def _measure(model: Model, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    with undisturbed(model):
        coarse = input_gradient(model, images, labels, loss=cross_entropy)
        exact = input_gradient(model, images, labels, loss=log_odds)
    used, wanted = coarse.gradient.flatten(1), exact.gradient.flatten(1)
    counted = wanted != 0
    agree = ((used.sign() == wanted.sign()) & counted).sum(1)
    fidelity = torch.where(counted.any(1), agree / counted.sum(1).clamp_min(1), 1.0)
    true = exact.logits.softmax(1).gather(1, labels[:, None]).squeeze(1)
    return -exact.loss, true == 1, (used == 0).all(1), fidelity
