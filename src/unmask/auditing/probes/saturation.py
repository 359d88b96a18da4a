"""Float32 saturation: the model is so sure that cross entropy's gradient has lost its direction, or all of itself."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from unmask.attacks import FGSM
from unmask.auditing.context import Context
from unmask.auditing.losses import is_own, saturates
from unmask.auditing.probes.probe import Probe
from unmask.auditing.repair import Repair
from unmask.gradients import input_gradient
from unmask.losses import cross_entropy, log_odds
from unmask.numerics import Model, undisturbed
from unmask.reports.record import Finding


@dataclass(frozen=True, kw_only=True)
class Saturation(Probe):
    """Symptom: ``p_y`` rounds to 1 on more than ``threshold`` of the images. Remedy: the log-odds loss, same attack.

    It does not apply where the reference attack uses a loss that does not saturate: then nothing is claimed that
    saturation could have spoilt. A reference attack with a loss of its own is followed by one step, with cross entropy
    in the control and with log-odds in the remedy.

    Values per example: ``log odds`` for the true class; ``saturated``, 1 where ``p_y`` is exactly 1; ``zero
    gradient``, of cross entropy; ``fidelity``, the share of pixels where cross entropy's gradient has the sign of
    log-odds', over those where the latter is not 0 (1 where it is 0 throughout).

    Example:
        >>> from unmask.auditing.context import prepare
        >>> images = torch.tensor([0.65, 0.35]).view(1, 1, 1, 2)
        >>> Saturation()(prepare(lambda x: 100 * x.flatten(1), images, torch.tensor([0]), epsilon=0.2)).fired
        True
    """

    name: str = "float32 saturation"
    threshold: float = 0.01

    def __call__(self, context: Context) -> Finding:
        """Measure the symptom on all images, and what the remedy gains."""
        lead, saturated, zero, fidelity = context.evaluator.measure(partial(_measure, context.model))
        value = saturated.double().mean().item()
        fired = value > self.threshold and saturates(context.reference)
        return Finding(
            name=self.name if context.evaluator.images.dtype == torch.float32 else "saturation",
            kind="masking",
            value=value,
            threshold=self.threshold,
            fired=fired,
            symptom=f"On {100 * value:.1f} % of the images the true class's probability rounds to 1, so that cross "
            f"entropy's gradient leaves it out; on {100 * zero.double().mean():.1f} % that gradient is all zero. "
            f"Its signs are right in {100 * fidelity.double().mean():.1f} % of the pixels (median log-odds "
            f"{lead.double().median():.1f}).",
            advice="Attack with the log-odds loss or in float64; do not report accuracies "
            "from cross-entropy gradients in float32. Training shorter, with weight decay or a lower learning rate "
            "keeps the log-odds small.",
            values={
                "log odds": lead.double().tolist(),
                "saturated": saturated.tolist(),
                "zero gradient": zero.tolist(),
                "fidelity": fidelity.double().tolist(),
            },
            **_repair(context)(fired, context.evaluator),
        )


def _repair(context: Context) -> Repair:
    reference, epsilon, trial = context.reference, context.epsilon, context.evaluator.trial
    if is_own(reference.settings.get("loss")):
        given, repaired = [reference], [reference.replace(loss=log_odds)]
    else:
        given = [reference, FGSM(epsilon, loss=cross_entropy)]
        repaired = [reference, FGSM(epsilon, loss=log_odds)]
    return Repair(
        does="the log-odds loss, which does not saturate",
        against="the attack as it is",
        control=trial("reference, then one step, cross entropy", *given),
        remedy=trial("reference, then one step, log-odds", *repaired),
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
