"""Defensive distillation: trained at a high temperature and used at 1, so that the logits saturate float32."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor
from torch.nn import functional

from unmask.losses import cross_entropy
from unmask.numerics import Model, undisturbed
from unmask.training.objectives.objective import in_words


def soft_labels(teacher: Model, images: Tensor, temperature: float) -> Tensor:
    """Return a finished model's probabilities, ``softmax(teacher(x) / temperature)``, (N, K), without a gradient.

    The teacher works in evaluation mode and is left as it was.

    Example:
        >>> soft_labels(lambda x: 40 * x.flatten(1), torch.tensor([[[[1.0, 0.0]]]]), temperature=20.0)
        tensor([[0.8808, 0.1192]])
    """
    with undisturbed(teacher), torch.no_grad():
        return torch.softmax(teacher(images) / temperature, dim=1)


@dataclass(frozen=True, kw_only=True)
class Tempered:
    """Training at a temperature T: ``mean cross_entropy(model(x) / T, y)`` (Papernot et al. 2016).

    The network learns logits T times as large as at temperature 1. Used at 1, its cross entropy saturates in float32:
    it is ``ScaledLogits`` by training. Accuracy does not change; divided by T, its logits are as usual. The loss is
    not multiplied by T^2, so that without an optimizer like Adam the learning rate has to grow with T.

    The teacher of ``Distilled`` is trained so. Cost: 3 passes.

    Raises:
        ValueError: ``temperature`` is not a number above 0.

    Example:
        >>> objective = Tempered(temperature=20.0)
        >>> objective(lambda x: 40 * x.flatten(1), torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([0]))
        tensor(0.1269)
    """

    temperature: float = 100.0

    def __post_init__(self) -> None:
        if not (isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"temperature: expected a number above 0, got {self.temperature}")

    def __call__(self, model: Model, images: Tensor, labels: Tensor, *, step: int = 0) -> Tensor:
        """Return the loss of one update; ``step`` does not matter."""
        return cross_entropy(model(images) / self.temperature, labels).mean()


@dataclass(frozen=True, kw_only=True, repr=False)
class Distilled:
    """Defensive distillation: ``mean cross_entropy(model(x) / T, softmax(teacher(x) / T))`` (Papernot et al. 2016).

    The teacher is trained with ``Tempered`` at the same temperature, on the same images, and has the same shape as the
    network. Labels have no part in it. Carlini & Wagner (2017, section IX-B) broke it: the network saturates and
    is no more robust. Logits divided by T, or a loss of differences of logits, is the remedy.

    Cost: 4 passes, if the teacher costs what the network costs; training the teacher comes on top.

    Attributes:
        teacher: a finished model, on the device and in the dtype of the one in training.

    Raises:
        ValueError: ``temperature`` is not a number above 0; the teacher knows other classes than the model.

    Example:
        >>> objective = Distilled(teacher=lambda x: 40 * x.flatten(1), temperature=20.0)
        >>> objective(lambda x: 0 * x.flatten(1), torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([0]))
        tensor(0.6931)
    """

    teacher: Model
    temperature: float = 100.0

    def __post_init__(self) -> None:
        Tempered(temperature=self.temperature)

    def __call__(self, model: Model, images: Tensor, labels: Tensor, *, step: int = 0) -> Tensor:
        """Return the loss of one update; neither ``labels`` nor ``step`` matters."""
        wanted = soft_labels(self.teacher, images, self.temperature)
        logits = model(images)
        if logits.shape != wanted.shape:
            raise ValueError(f"teacher: expected the model's {logits.shape[1]} classes, got {wanted.shape[1]}")
        return functional.cross_entropy(logits / self.temperature, wanted)

    def __repr__(self) -> str:
        """Return the settings in words, with a digest of the teacher's weights, which torch's own words leave out."""
        return f"Distilled(teacher={in_words(self.teacher)}, temperature={self.temperature})"
