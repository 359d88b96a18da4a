"""Vanishing gradients: none reaches the image although the loss does not saturate, or what arrives is not finite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from unmask.auditing.context import Context
from unmask.auditing.probes.probe import Probe
from unmask.auditing.trial import Trial
from unmask.gradients import input_gradient
from unmask.numerics import Model, undisturbed
from unmask.reports.record import Finding


@dataclass(frozen=True, kw_only=True)
class Vanishing(Probe):
    """Symptom: no gradient of the log-odds to follow, on images that withstand gradient attacks.

    None is a gradient that is zero throughout, subnormal throughout (below 1.2e-38 in float32, where numbers lose their
    digits), or not finite; at the image itself, or where many steps have ended. ``value`` is the share of all images.
    Remedy: a search that uses none. Values per example: ``zero gradient``, ``non-finite gradient``, and ``no way on``,
    where many steps have ended. The symptom alone leaves the verdict open.

    Example:
        >>> from unmask.auditing.context import prepare
        >>> context = prepare(lambda x: x.flatten(1).round(), torch.ones(1, 1, 1, 2), torch.tensor([0]), epsilon=0.2)
        >>> Vanishing()(context).value
        1.0
    """

    name: str = "vanishing gradients"
    threshold: float = 0.02
    calls_for_queries: bool = True

    def trials(self, context: Context) -> Sequence[Trial]:
        """Return many steps, whose end points are looked at."""
        return [context.trials.many]

    def __call__(self, context: Context) -> Finding:
        """Measure the symptom on all images, and what the remedy gains."""
        end, measure = context.evaluator.run(context.trials.many), partial(_measure, context.model)
        zero, broken = context.evaluator.measure(measure)
        stuck, torn = context.evaluator.measure(measure, images=end.images)
        value, after = (
            (lost & end.correct).double().mean().item() for lost in (zero | broken | stuck | torn, stuck | torn)
        )
        fired = value > self.threshold
        return Finding(
            name=self.name,
            kind="masking",
            value=value,
            threshold=self.threshold,
            fired=fired,
            symptom=f"With a loss that does not saturate, the gradient at the image is zero throughout on "
            f"{100 * zero.double().mean():.1f} % of the images and not finite on {100 * broken.double().mean():.1f} %; "
            f"{100 * value:.1f} % withstand gradient attacks and have none there or, {100 * after:.1f} %, where the "
            "attack ends.",
            advice="Something between the image and the logits stops the gradient: a rounding or thresholding step, "
            "detached tensors, dead or saturated units. Attack by BPDA with a derivative in its place, or by queries.",
            values={
                "zero gradient": zero.tolist(),
                "non-finite gradient": broken.tolist(),
                "no way on": (stuck | torn).tolist(),
            },
            blinding=True,
            **context.queries_against_gradients()(fired, context.evaluator),
        )


def _measure(model: Model, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    with undisturbed(model):
        gradient = input_gradient(model, images, labels).gradient.flatten(1)
    tiny = torch.finfo(gradient.dtype).tiny
    return (gradient.abs() < tiny).all(1), ~gradient.isfinite().all(1)
