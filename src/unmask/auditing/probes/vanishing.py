"""Vanishing gradients: none reaches the image although the loss does not saturate, or what arrives is not finite."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from unmask.attacks import Trial
from unmask.auditing.probes.probe import Repair
from unmask.gradients import input_gradient
from unmask.numerics import Batches, Model, undisturbed
from unmask.reports.record import Finding


@dataclass(frozen=True, kw_only=True)
class Vanishing:
    """Symptom: no gradient of the log-odds to follow, on images that withstand gradient attacks.

    None is a gradient that is zero throughout, subnormal throughout (below 1.2e-38 in float32, where numbers lose their
    digits), or not finite; at the image itself, or where many steps have ended. ``value`` is the share of all images.
    Remedy: a search that uses none. Evidence per example: ``zero gradient``,
    ``non-finite gradient``, ``no way on``, where many steps have ended.

    Attributes:
        attack: many steps along the gradient; it must keep its images.

    Example:
        >>> from unmask.attacks import FGSM, FRSM
        >>> step, noise = Trial(attacks=[FGSM(epsilon=0.2)]), Trial(attacks=[FRSM(epsilon=0.2)])
        >>> repair = Repair(does="noise", against="a step", control=step, remedy=noise)
        >>> probe = Vanishing(attack=step, repair=repair)
        >>> probe(lambda x: x.flatten(1).round(), torch.ones(1, 1, 1, 2), torch.tensor([0])).value
        1.0
    """

    attack: Trial
    repair: Repair
    name: str = "vanishing gradients"
    threshold: float = 0.02
    batches: Batches = field(default_factory=Batches)

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Finding:
        """Measure the symptom on all images, and what the remedy gains."""
        held = self.attack(model, images, labels)
        zero, broken = self.batches(lambda x, y: _measure(model, x, y), images, labels)
        stuck, torn = self.batches(lambda x, y: _measure(model, x, y), held.images, labels)
        value, after = (
            (lost & held.correct).double().mean().item() for lost in (zero | broken | stuck | torn, stuck | torn)
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
            "detached tensors, dead or saturated units. Attack a differentiable stand-in for it, or query only.",
            evidence={
                "zero gradient": zero.tolist(),
                "non-finite gradient": broken.tolist(),
                "no way on": (stuck | torn).tolist(),
            },
            blinding=True,
            **self.repair(fired, model, images, labels),
        )


def _measure(model: Model, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    with undisturbed(model):
        gradient = input_gradient(model, images, labels).gradient.flatten(1)
    tiny = torch.finfo(gradient.dtype).tiny
    return (gradient.abs() < tiny).all(1), ~gradient.isfinite().all(1)
