"""The direction of the gradient against that of a proxy: in float64, or with a backward pass where there is none."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from unmask.auditing.context import OPERATIONS, PRECISION, Context
from unmask.auditing.probes.probe import Probe
from unmask.gradients import input_gradient
from unmask.numerics import Model, undisturbed
from unmask.reports.record import Finding

AGREE = 0.95
"""With fewer signs alike the two gradients lead elsewhere; by chance a half would be alike.

On digits, of networks without anything to repair, all are alike; of k winners 83 to 88 % (median), of networks trained
with a jump 95 to 97 %.
"""


@dataclass(frozen=True, kw_only=True)
class Direction(Probe):
    """Symptom: the gradient of the log-odds is zero, or has other signs than that of a proxy that decides alike.

    Counted are images on which fewer than 95 % of the pixels in which the proxy has a gradient have its sign; ``value``
    is their share. Remedy: the same attack on the proxy; the model itself judges the images that it finds. Values per
    example: ``agreement``.

    Attributes:
        what: the proxy in words, and ``advice``: what to do if it wins; ``{}`` stands for the operations it replaces.

    Example:
        >>> from unmask.auditing.context import prepare
        >>> probe = Direction(name=OPERATIONS, what="the model without {}", advice="Do without {}.")
        >>> probe(prepare(lambda x: x.flatten(1).round(), torch.ones(1, 1, 1, 2), torch.tensor([0]), epsilon=0.1)).fired
        True
    """

    what: str
    advice: str
    threshold: float = 0.05

    def skip(self, context: Context) -> str | None:
        """Return why there is no proxy."""
        return context.missing.get(self.name)

    def __call__(self, context: Context) -> Finding:
        """Measure the symptom on all images, and what the remedy gains."""
        proxy, names = context.proxies[self.name], ", ".join(context.replaced)
        (alike,) = context.evaluator.measure(partial(agreement, context.model, proxy.model))
        value = (alike < AGREE).double().mean().item()
        fired = value > self.threshold
        return Finding(
            name=self.name,
            kind="masking",
            value=value,
            threshold=self.threshold,
            fired=fired,
            symptom=f"On {100 * value:.1f} % of the images the gradient of the log-odds leads elsewhere, or nowhere, "
            f"next to that of {self.what.format(names)}.",
            advice=self.advice.format(names),
            values={"agreement": alike.double().tolist()},
            **context.proxy_against_model(proxy)(fired, context.evaluator),
        )


PRECISION_PROBE = Direction(
    name=PRECISION,
    what="a copy of the model in float64",
    advice="Return logits, not probabilities or values near a bound or with a large offset; or attack a float64 copy "
    "of the model.",
)
"""Precision: a gradient that float32 has lost, in probabilities, coarse logits or flat functions, and float64 not."""

OPERATIONS_PROBE = Direction(
    name=OPERATIONS,
    what="the BPDA model, which replaces operations without a useful derivative ({})",
    advice="Attack by BPDA, with a derivative in place of {}, as was done here; report that figure.",
)
"""Operations without a useful derivative: rounding, thresholds, winners, jumps, probabilities that have saturated."""


def agreement(model: Model, proxy: Model, images: Tensor, labels: Tensor) -> Tensor:
    """Return the share of pixels with a gradient in the proxy whose sign the model's has, (N,); 1 if there are none.

    Example:
        >>> images, labels = torch.ones(1, 1, 1, 2), torch.tensor([0])
        >>> agreement(lambda x: x.flatten(1), lambda x: -x.flatten(1), images, labels)
        tensor([0.])
    """
    with undisturbed(model):
        given = input_gradient(model, images, labels).gradient.flatten(1)
    with undisturbed(proxy):  # which draws the same numbers again
        wanted = input_gradient(proxy, images, labels).gradient.flatten(1)
    counted = wanted != 0
    right = ((given.sign() == wanted.sign().to(given)) & counted).sum(1)
    return torch.where(counted.any(1), right / counted.sum(1).clamp_min(1), 1.0)
