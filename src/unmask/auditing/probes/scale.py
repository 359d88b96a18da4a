"""The scale of logits: so small that cross entropy takes all rivals for equally near, whatever the image."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from unmask.attacks.trial import examined
from unmask.auditing.probes.probe import Repair
from unmask.numerics import Batches, Model
from unmask.reports.record import Finding

MODERATE = 5.0
"""The median lead, in nats, to which logits are rescaled: the rivals are told apart and nothing saturates."""

LEAST = 1e-30
"""A median lead below it is none."""

SHARP = 10.0
"""The median lead, in nats, at which the worst case is searched for: the loss sees the nearest rival above others.

On 400 validation images of MNIST, a plain network and its logits times 0.3 and 0.001: twenty steps of Auto-PGD on the
log-odds leave 142, 169 and 223 of them as they are, and 142, 144 and 146 at ten nats; at five and at twenty more.
"""


class Rescaled:
    """A model whose logits are multiplied by a factor; a function of images, no module.

    Example:
        >>> import torch
        >>> Rescaled(lambda x: x.flatten(1), 4.0)(torch.tensor([[[[0.25, 0.5]]]]))
        tensor([[1., 2.]])
    """

    def __init__(self, model: Model, factor: float) -> None:
        self.model, self.factor = model, factor

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (N, K)."""
        return self.factor * self.model(images)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Symptom: the median lead of the highest logit over the next is less than 5 nats, ``threshold`` times and more.

    With tiny logits softmax gives every rival the same weight, and the attack heads for the mean of all. (Huge ones are
    another probe's: they saturate.) Remedy: the same attack on logits rescaled to a median lead of 5 nats. It does not
    apply to losses that do not change with the scale. ``value`` is 5 nats over the median lead.

    Example:
        >>> import torch
        >>> from unmask.attacks import FGSM, Trial
        >>> trial = Trial(attacks=[FGSM(epsilon=0.1)])
        >>> probe = Scale(repair=Repair(does="rescale", against="as it is", control=trial, remedy=trial))
        >>> probe(lambda x: x.flatten(1) / 100, torch.tensor([1.0, 0.0]).view(1, 1, 1, 2), torch.tensor([0])).fired
        True
    """

    repair: Repair
    applies: bool = True
    name: str = "logit scale"
    threshold: float = 20.0
    batches: Batches = field(default_factory=Batches)

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Finding:
        """Measure the symptom on all images, and what the remedy gains."""
        lead = median_lead(model, images, labels, self.batches)
        value = min(MODERATE / max(lead, LEAST), 1 / LEAST)
        fired = self.applies and value > self.threshold
        return Finding(
            name=self.name,
            kind="masking",
            value=value,
            threshold=self.threshold,
            fired=fired,
            symptom=f"The highest logit leads the next by {lead:.3g} nats (median).",
            advice="Attack with a loss that does not depend on the scale of logits (a margin, DLR), or rescale them.",
            **self.repair(fired, model, images, labels),
        )


def median_lead(model: Model, images: Tensor, labels: Tensor, batches: Batches) -> float:
    """The median over images of the highest logit minus the next, in nats.

    Example:
        >>> import torch
        >>> images = torch.tensor([0.75, 0.25]).view(1, 1, 1, 2)
        >>> median_lead(lambda x: x.flatten(1), images, torch.tensor([0]), Batches())
        0.5
    """

    def lead(x: Tensor, y: Tensor) -> Tensor:
        first, second = examined(model, x).topk(2, dim=1).values.unbind(1)
        return first - second

    (leads,) = batches(lead, images, labels)
    return leads.double().median().item()
