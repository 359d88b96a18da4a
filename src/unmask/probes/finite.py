"""Finite differences: whether the loss changes as the gradient says it should."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unmask.gradients import input_gradient
from unmask.losses import log_odds
from unmask.numerics import Batches, Model, derive_seed, random_signs, undisturbed
from unmask.probes.ledger import Part
from unmask.probes.probe import Repair
from unmask.record import Finding

DIRECTIONS = 12
"""Random signs along which differences are taken, besides the signs of the gradient."""

DISTANCES = (1 / 64, 1 / 8, 1 / 2)
"""How far the model is asked, as shares of epsilon; where gradient and differences agree best counts."""

AGREE = 0.3
"""A lower correlation between what the gradient says and what happens is none."""


@dataclass(frozen=True, kw_only=True)
class FiniteDifferences:
    """Symptom: along random signs and along its own, the loss does not change as the gradient says.

    For directions d, ``<g, d>`` is set against ``(L(x + h d) - L(x - h d)) / 2h``, with L the log-odds and the image
    cut to [0, 1] nowhere: the gradient is asked about, not the attack. An image counts if the cosine of the two, over
    the directions, is below 0.3 at every h. Measured on a sample; ``value`` is the share of its images.
    Remedy: attacks that use no gradient. Evidence per example of the sample: ``cosine``.

    Attributes:
        some: takes images and labels to a sample of them.

    Example:
        >>> from unmask.attacks import FGSM, Trial
        >>> trial = Trial(attacks=[FGSM(epsilon=0.1)])
        >>> probe = FiniteDifferences(
        ...     epsilon=0.1,
        ...     some=lambda images, labels: Part(torch.arange(len(images)), images, labels),
        ...     repair=Repair(does="queries", against="gradients", control=trial, remedy=trial),
        ... )
        >>> images, labels = torch.rand(2, 1, 4, 4), torch.tensor([0, 1])
        >>> probe(lambda x: x.flatten(1)[:, :2], images, labels).value
        0.0
    """

    epsilon: float
    some: Callable[[Tensor, Tensor], Part]
    repair: Repair
    seed: int = 0
    name: str = "gradients that mislead"
    threshold: float = 0.5
    batches: Batches = field(default_factory=Batches)

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Finding:
        """Measure the symptom on a sample, and what the remedy gains."""
        part = self.some(images, labels)
        (cosine,) = self.batches(lambda x, y: self._cosine(model, x, y), part.images, part.labels)
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
            "differences, queries or a differentiable stand-in.",
            evidence={"cosine": cosine.double().tolist()},
            **self.repair(fired, model, images, labels),
        )

    def _cosine(self, model: Model, images: Tensor, labels: Tensor) -> Tensor:
        """The best correlation over the distances; 0 where the gradient is zero and the loss changes."""
        with undisturbed(model):
            gradient = input_gradient(model, images, labels).gradient
        seeds = [derive_seed(self.seed, "direction", number) for number in range(DIRECTIONS)]
        signs = torch.stack([gradient.sign(), *(random_signs(images, seed=seed) for seed in seeds)])
        said = (signs * gradient).flatten(2).double().sum(2)
        best = torch.full((len(images),), -1.0, dtype=torch.float64, device=images.device)
        for share in DISTANCES:
            h = share * self.epsilon
            found = torch.stack([_change(model, images, labels, h * one) for one in signs]) / (2 * h)
            both = (said.square().sum(0) * found.square().sum(0)).sqrt()
            cosine = torch.where(both > 0, (said * found).sum(0) / both.clamp_min(1e-300), 0.0)
            best = torch.maximum(best, torch.where((said == 0).all(0) & (found == 0).all(0), 1.0, cosine))
        return best


def _change(model: Model, images: Tensor, labels: Tensor, way: Tensor) -> Tensor:
    with undisturbed(model), torch.no_grad():
        up = log_odds(model(images + way), labels).double()
    with undisturbed(model), torch.no_grad():
        down = log_odds(model(images - way), labels).double()
    return (up - down).nan_to_num()
