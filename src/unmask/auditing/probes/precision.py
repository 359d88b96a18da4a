"""Precision: a gradient that float32 has lost, in probabilities, coarse logits or flat functions, and float64 not."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from unmask.attacks.trial import examined
from unmask.auditing.probes.direction import Direction
from unmask.auditing.probes.probe import Repair
from unmask.auditing.probes.randomness import twice
from unmask.numerics import Batches, Model

PRECISION = "too little precision"
"""The suspected cause."""


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


def in_float64(model: Model, images: Tensor, labels: Tensor, batches: Batches) -> InFloat64:
    """A float64 copy of a model that was tried on images.

    Raises:
        ValueError: there is none: the model is no module, is not float32, draws lots, or cannot be copied or run so.

    Example:
        >>> image, label = torch.rand(1, 1, 2, 2), torch.tensor([0])
        >>> in_float64(nn.Flatten(), image, label, Batches())(image).dtype
        torch.float64
        >>> in_float64(lambda x: x.flatten(1), image, label, Batches())
        Traceback (most recent call last):
        ...
        ValueError: the model is no torch module in float32
    """
    if not isinstance(model, nn.Module) or images.dtype != torch.float32:
        raise ValueError("the model is no torch module in float32")
    exact = InFloat64(model)
    try:
        differs, infinite = batches(
            lambda x, y: (twice(model, x)[1], examined(exact, x).isinf().any(1)), images, labels
        )
    except Exception as error:  # a user's model may raise anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"a float64 copy of the model fails: {reason}") from error
    if bool(infinite.any()):
        raise ValueError("a float64 copy of the model returns infinite logits")
    if bool(differs.any()):
        raise ValueError("the model answers at random, so that a copy's gradient differs by chance")
    return exact


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
