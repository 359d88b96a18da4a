"""A loss surface too rough for one step: the full step fails where a shorter one along the same line succeeds."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from unmask.attacks import FGSM, Trial
from unmask.attacks.trial import predict
from unmask.numerics import Batches, Model
from unmask.record import Finding


@dataclass(frozen=True, kw_only=True)
class Smoothness:
    """Symptom: more than ``threshold`` of the images withstand FGSM's full step but fall to a part of it.

    Where the loss is near linear within the ball, as gradient attacks assume, the full step is the strongest on its
    line. Single-step adversarial training that masks bends the loss back just there (Kim, Lee & Lee 2021 call it
    boundary distortion). Remedy: many small steps. Evidence per example: ``falls within``, the least part of the step
    that fools it, 0 if misclassified clean, 2 if none does.

    Example:
        >>> from unmask.attacks import PGD
        >>> probe = Smoothness(
        ...     epsilon=0.2, control=Trial(attacks=[FGSM(epsilon=0.2)]), remedy=Trial(attacks=[PGD(epsilon=0.2)])
        ... )
        >>> linear = lambda x: x.flatten(1)
        >>> probe(linear, torch.tensor([0.7, 0.3]).view(1, 1, 1, 2), torch.tensor([0])).value
        0.0
    """

    epsilon: float
    control: Trial
    remedy: Trial
    parts: int = 8
    threshold: float = 0.05
    batches: Batches = field(default_factory=Batches)

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Finding:
        """Measure the symptom on all images, and what the remedy gains."""
        falls_within, withstands = self.batches(lambda x, y: self._measure(model, x, y), images, labels)
        bent = withstands & (falls_within > 0) & (falls_within < 1)
        value = bent.double().mean().item()
        return Finding(
            name="non-smooth loss surface",
            kind="masking",
            value=value,
            threshold=self.threshold,
            fired=value > self.threshold,
            symptom=f"{100 * value:.1f} % of the images withstand FGSM's full step but fall to a shorter one along the "
            "same line.",
            intervention=f"many small steps ({self.remedy.name})",
            control=f"single steps with as many gradients ({self.control.name})",
            before=self.control(model, images, labels).correct.tolist(),
            after=self.remedy(model, images, labels).correct.tolist(),
            advice="Do not trust single-step attacks on this model; report PGD with many small steps and restarts. If "
            "it was trained with FGSM, train with the logit-distance objective or with PGD instead.",
            evidence={"falls within": falls_within.tolist()},
        )

    def _measure(self, model: Model, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        parts = [step / self.parts for step in range(self.parts + 1)]
        falls_within = torch.full((len(images),), 2.0, device=images.device)
        points = FGSM.sweep(model, images, labels, epsilons=[self.epsilon * part for part in parts])
        for part, point in zip(parts, points, strict=True):
            wrong = predict(model, point) != labels
            falls_within = torch.where(wrong & (falls_within > 1), part, falls_within)
        return falls_within, ~wrong
