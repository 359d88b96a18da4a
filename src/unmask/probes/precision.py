"""Precision: a gradient that float32 has lost, in probabilities, coarse logits or flat functions, and float64 not."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from unmask.numerics import Batches
from unmask.probes.direction import Direction
from unmask.probes.probe import Repair

PRECISION = "too little precision"
"""The suspected cause."""


class InFloat64(nn.Module):
    """A copy of a model that computes in float64, whatever the images are in; logits are float64.

    Raises:
        ValueError: the model cannot be copied.

    Example:
        >>> import torch
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


def precision(exact: InFloat64, repair: Repair, batches: Batches) -> Direction:
    """The probe that compares the gradient in float32 with that of a float64 copy.

    Example:
        >>> from unmask.attacks import FGSM, Trial
        >>> trial = Trial(attacks=[FGSM(epsilon=0.1)])
        >>> repair = Repair(does="float64", against="float32", control=trial, remedy=trial)
        >>> precision(InFloat64(nn.Flatten()), repair, Batches()).name
        'too little precision'
    """
    return Direction(
        name=PRECISION,
        what="a copy of the model in float64",
        advice="Return logits, not probabilities or values near a bound or with a large offset; or attack a float64 "
        "copy of the model.",
        stand_in=exact,
        repair=repair,
        batches=batches,
    )
