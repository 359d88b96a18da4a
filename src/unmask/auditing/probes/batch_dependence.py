"""Dependence on the batch: logits of an image that change with the other images of its batch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from unmask.attacks import logits_of
from unmask.auditing.context import Context
from unmask.auditing.preflight import ROUNDING
from unmask.auditing.probes.probe import Probe
from unmask.numerics import Model
from unmask.reports.record import Finding


@dataclass(frozen=True, kw_only=True)
class BatchDependence(Probe):
    """Symptom: the logits of an image change when the images beside it, every other one, become their negatives.

    Batch normalisation with the batch's own statistics does that. An attack then fools a batch, not an image, and
    accuracy depends on how the images are put together. It decides nothing by itself. Models that answer at random are
    not asked: their draws, too, depend on the batch. ``value`` is the share of images concerned.

    Example:
        >>> from unmask.auditing.context import prepare
        >>> images, labels = torch.rand(8, 1, 2, 2), torch.zeros(8, dtype=torch.int64)
        >>> BatchDependence()(prepare(lambda x: x.flatten(1) - x.mean(), images, labels, epsilon=0.1)).fired
        True
    """

    name: str = "dependence on the batch"
    threshold: float = 0.01
    needs_gradients: bool = False

    def __call__(self, context: Context) -> Finding:
        """Measure the symptom on all images."""
        (differs,) = context.evaluator.measure(partial(_differs, context.model))
        value = differs.double().mean().item()
        return Finding(
            name=self.name,
            kind="symptom",
            value=value,
            threshold=self.threshold,
            fired=value > self.threshold,
            symptom=f"The logits of {100 * value:.1f} % of the images depend on which other images share their batch.",
            remedy="each image in a batch of its own",
            control="batches as they are",
            before=[],
            after=[],
            advice="Evaluate with statistics that are fixed, as in evaluation mode, or image by image; say in which "
            "batches an accuracy was measured.",
        )


def _differs(model: Model, images: Tensor, labels: Tensor) -> Tensor:
    """Return whether each image's logits differ when the others of its batch are replaced by their negatives."""
    rows = torch.arange(len(images), device=images.device)
    differs = torch.zeros(len(images), dtype=torch.bool, device=images.device)
    first = logits_of(model, images)
    if not torch.equal(first, logits_of(model, images, seed=1)):
        return differs
    for odd in (0, 1):
        stays = rows % 2 == odd
        mixed = torch.where(stays[:, None, None, None], images, 1 - images)
        apart = (logits_of(model, mixed) - first).abs().amax(1)
        differs |= stays & (apart > ROUNDING * first.abs().amax(1))
    return differs
