"""Vanishing gradients: none reaches the image although the loss does not saturate, or what arrives is not finite."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from unmask.attacks import Trial
from unmask.gradients import input_gradient
from unmask.numerics import Batches, Model, undisturbed
from unmask.record import Finding


@dataclass(frozen=True, kw_only=True)
class Vanishing:
    """Symptom: log-odds' gradient is zero throughout, or not finite, on images that withstand the control.

    ``value`` is their share of all images. Remedy: random signs, which need no gradient; they are a weak attack,
    so that where they settle nothing the verdict stays open. Evidence per example: ``zero gradient``,
    ``non-finite gradient``.

    Example:
        >>> import torch
        >>> from unmask.attacks import FGSM, FRSM
        >>> probe = Vanishing(control=Trial(attacks=[FGSM(epsilon=0.2)]), remedy=Trial(attacks=[FRSM(epsilon=0.2)]))
        >>> probe(lambda x: x.flatten(1).round(), torch.ones(1, 1, 1, 2), torch.tensor([0])).value
        1.0
    """

    control: Trial
    remedy: Trial
    threshold: float = 0.02
    batches: Batches = field(default_factory=Batches)

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Finding:
        """Measure the symptom on all images, and what the remedy gains."""
        zero, broken = self.batches(lambda x, y: _measure(model, x, y), images, labels)
        withstand = self.control(model, images, labels).correct
        value = ((zero | broken) & withstand).double().mean().item()
        return Finding(
            name="vanishing gradients",
            kind="masking",
            value=value,
            threshold=self.threshold,
            fired=value > self.threshold,
            symptom=f"With a loss that does not saturate, the gradient at the image is zero throughout on "
            f"{100 * zero.double().mean():.1f} % of the images and not finite on {100 * broken.double().mean():.1f} %; "
            f"{100 * value:.1f} % are such and withstand gradient attacks.",
            intervention=f"attacks that use no gradient ({self.remedy.name})",
            control=f"gradient attacks with as many queries ({self.control.name})",
            before=withstand.tolist(),
            after=self.remedy(model, images, labels).correct.tolist(),
            advice="Something between the image and the logits stops the gradient: a rounding or thresholding step, "
            "detached tensors, dead or saturated units. Attack a differentiable stand-in for it, or query only.",
            evidence={"zero gradient": zero.tolist(), "non-finite gradient": broken.tolist()},
            blinding=True,
        )


def _measure(model: Model, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    with undisturbed(model):
        gradient = input_gradient(model, images, labels).gradient.flatten(1)
    return (gradient == 0).all(1), ~gradient.isfinite().all(1)
