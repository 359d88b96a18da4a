"""Finite differences: whether the loss changes as the gradient says it should."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from unmask.auditing.context import Context
from unmask.auditing.probes.probe import Probe
from unmask.gradients import directional_derivatives, input_gradient
from unmask.numerics import Model, derive_seed, random_signs, undisturbed
from unmask.reports.record import Finding

DIRECTIONS = 12
"""Random signs along which differences are taken, besides the signs of the gradient."""

DISTANCES = (1 / 64, 1 / 8, 1 / 2)
"""Distances at which the model is asked, as shares of epsilon; where gradient and differences agree best counts."""

LEAST = 1e-4
"""No smaller distance, in pixel units: float32 rounds differences away."""

AGREE = 0.3
"""A lower correlation between what the gradient says and what happens is none."""


@dataclass(frozen=True, kw_only=True)
class FiniteDifferences(Probe):
    """Symptom: along random signs and along its own, the loss does not change as the gradient says.

    For directions d, ``<g, d>`` is set against ``(L(x + h d) - L(x - h d)) / 2h``, with L the log-odds. An image counts
    if the cosine of the two, over the directions, is below 0.3 at every h. Measured on a sample; ``value`` is the share
    of its images. Remedy: attacks that use no gradient. Values per example of the sample: ``cosine``.

    Example:
        >>> from unmask.auditing.context import prepare
        >>> images, labels = torch.rand(2, 1, 4, 4), torch.tensor([0, 1])
        >>> FiniteDifferences()(prepare(lambda x: x.flatten(1)[:, :2], images, labels, epsilon=0.1)).value
        0.0
    """

    name: str = "gradients that mislead"
    threshold: float = 0.5
    calls_for_queries: bool = True

    def __call__(self, context: Context) -> Finding:
        """Measure the symptom on a sample, and what the remedy gains."""
        measure = partial(_cosine, context.model, epsilon=context.epsilon, seed=context.seed)
        (cosine,) = context.evaluator.measure(measure, context.few())
        value = (cosine < AGREE).double().mean().item()
        fired = value > self.threshold
        return Finding(
            name=self.name,
            kind="masking",
            value=value,
            threshold=self.threshold,
            fired=fired,
            symptom=f"On {100 * value:.0f} % of {len(cosine)} images the loss does not change as its gradient says "
            f"(median correlation with finite differences {cosine.double().median():.2f}).",
            advice="A backward pass does not match its forward pass, or the loss jumps at every scale: attack with "
            "differences, with queries or by BPDA.",
            values={"cosine": cosine.double().tolist()},
            **context.queries_against_gradients()(fired, context.evaluator),
        )


def _cosine(model: Model, images: Tensor, labels: Tensor, *, epsilon: float, seed: int) -> Tensor:
    """Return the best correlation over the distances; 0 where one of the two is 0, 1 where both are."""
    with undisturbed(model):
        own = input_gradient(model, images, labels).gradient.sign()
    seeds = [derive_seed(seed, "direction", number) for number in range(DIRECTIONS)]
    directions = torch.stack([own, *(random_signs(images, seed=one) for one in seeds)])
    tried = [min(max(share * epsilon, LEAST), 1.0) for share in DISTANCES]
    slopes = (directional_derivatives(model, images, labels, directions, step=step, seed=seed) for step in tried)
    return torch.stack([_alike(*pair) for pair in slopes]).amax(0)


def _alike(measured: Tensor, promised: Tensor) -> Tensor:
    measured = measured.nan_to_num()
    size = (measured.square().sum(0) * promised.square().sum(0)).sqrt()
    cosine = torch.where(size > 0, (measured * promised).sum(0) / size.clamp_min(1e-300), 0.0)
    return torch.where((measured == 0).all(0) & (promised == 0).all(0), 1.0, cosine)
