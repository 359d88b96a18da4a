"""Precision: a gradient that float32 has lost, in probabilities, coarse logits or flat functions, and float64 not."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from unmask.gradients import input_gradient
from unmask.numerics import Batches, Model, undisturbed
from unmask.probes.probe import Repair
from unmask.record import Finding


class InFloat64(nn.Module):
    """A copy of a model that computes in float64, whatever the images are in; logits are float64.

    Raises:
        ValueError: the model cannot be copied.

    Example:
        >>> InFloat64(nn.Flatten())(torch.ones(1, 1, 1, 2)).dtype
        torch.float64
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        try:
            self.model = copy.deepcopy(model).double()
        except Exception as error:  # what a user's model holds may refuse to be copied in any way
            raise ValueError(f"model: expected one that can be copied, got {type(error).__name__}: {error}") from error

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K), float64."""
        logits: Tensor = self.model(images.double())
        return logits


@dataclass(frozen=True, kw_only=True)
class Precision:
    """Symptom: the gradient of the log-odds in float32 is zero, or has other signs than in float64.

    Counted are images on which fewer than ``AGREE`` of the pixels with a gradient in float64 have its sign in float32;
    ``value`` is their share. Remedy: the same attack on a float64 copy of the model; what it finds is judged by the
    model itself. Evidence per example: ``agreement``.

    Attributes:
        exact: the copy; None if there is none, since the model is no module, or is float64 already.

    Example:
        >>> from unmask.attacks import FGSM, Trial
        >>> trial, model = Trial(attacks=[FGSM(epsilon=0.1)]), nn.Sequential(nn.Flatten(), nn.Tanh())
        >>> probe = Precision(
        ...     exact=InFloat64(model), repair=Repair(does="float64", against="float32", control=trial, remedy=trial)
        ... )
        >>> probe(lambda x: model(100 * x), torch.ones(1, 1, 1, 2), torch.tensor([0])).fired
        True
    """

    exact: InFloat64
    repair: Repair
    name: str = "too little precision"
    threshold: float = 0.05
    batches: Batches = field(default_factory=Batches)

    AGREE = 0.75
    """Right by chance would be a half."""

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Finding:
        """Measure the symptom on all images, and what the remedy gains."""
        (agreement,) = self.batches(lambda x, y: self._agreement(model, x, y), images, labels)
        value = (agreement < self.AGREE).double().mean().item()
        fired = value > self.threshold
        return Finding(
            name=self.name,
            kind="masking",
            value=value,
            threshold=self.threshold,
            fired=fired,
            symptom=f"On {100 * value:.1f} % of the images the gradient of the log-odds in float32 has lost its "
            "direction or all of itself, next to float64.",
            advice="Return logits, not probabilities or values near a bound or with a large offset; or attack a "
            "float64 copy of the model.",
            evidence={"agreement": agreement.double().tolist()},
            **self.repair(fired, model, images, labels),
        )

    def _agreement(self, model: Model, images: Tensor, labels: Tensor) -> Tensor:
        """The share of pixels with a gradient in float64 whose sign float32 has; 1 where there are none."""
        with undisturbed(model), undisturbed(self.exact):
            coarse = input_gradient(model, images, labels).gradient.flatten(1)
            exact = input_gradient(self.exact, images.double(), labels).gradient.flatten(1)
        counted = exact != 0
        right = ((coarse.sign() == exact.sign().to(coarse)) & counted).sum(1)
        return torch.where(counted.any(1), right / counted.sum(1).clamp_min(1), 1.0)
