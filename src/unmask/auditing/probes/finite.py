"""Finite differences: whether the loss changes as the gradient says it should."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unmask.auditing.ledger import Part
from unmask.auditing.probes.probe import Repair
from unmask.gradients import Slopes, directional_derivatives, input_gradient
from unmask.numerics import Batches, Model, derive_seed, random_signs, undisturbed
from unmask.reports.record import Finding

DIRECTIONS = 12
"""Random signs along which differences are taken, besides the signs of the gradient."""

DISTANCES = (1 / 64, 1 / 8, 1 / 2)
"""How far the model is asked, as shares of epsilon; where gradient and differences agree best counts."""

LEAST = 1e-4
"""No smaller distance, in pixel units: float32 rounds differences away."""

AGREE = 0.3
"""A lower correlation between what the gradient says and what happens is none."""


@dataclass(frozen=True, kw_only=True)
class FiniteDifferences:
    """Symptom: along random signs and along its own, the loss does not change as the gradient says.

    For directions d, ``<g, d>`` is set against ``(L(x + h d) - L(x - h d)) / 2h``, with L the log-odds. An image counts
    if the cosine of the two, over the directions, is below 0.3 at every h. Measured on a sample; ``value`` is the share
    of its images. Remedy: attacks that use no gradient. Evidence per example of the sample: ``cosine``.

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
        """The best correlation over the distances; 0 where one of the two is 0, 1 where both are."""
        with undisturbed(model):
            own = input_gradient(model, images, labels).gradient.sign()
        seeds = [derive_seed(self.seed, "direction", number) for number in range(DIRECTIONS)]
        directions = torch.stack([own, *(random_signs(images, seed=seed) for seed in seeds)])
        tried = [max(share * self.epsilon, LEAST) for share in DISTANCES]
        return torch.stack([_alike(*self._slopes(model, images, labels, directions, step)) for step in tried]).amax(0)

    def _slopes(self, model: Model, images: Tensor, labels: Tensor, directions: Tensor, step: float) -> Slopes:
        return directional_derivatives(model, images, labels, directions, step=min(step, 1.0), seed=self.seed)


def _alike(measured: Tensor, promised: Tensor) -> Tensor:
    measured = measured.nan_to_num()
    size = (measured.square().sum(0) * promised.square().sum(0)).sqrt()
    cosine = torch.where(size > 0, (measured * promised).sum(0) / size.clamp_min(1e-300), 0.0)
    return torch.where((measured == 0).all(0) & (promised == 0).all(0), 1.0, cosine)
