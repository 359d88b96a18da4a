"""The network of the two papers on perceptrons, with its objectives, its data and its cost."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from unmask.data import Dataset
from unmask.models import build
from unmask.numerics import Model, derive_seed
from unmask.training import Trainer
from unmask.training.objectives import Objective


@dataclass(frozen=True, kw_only=True)
class WeightPenalty:
    """An objective with L2 regularisation: ``objective + weight / 2 sum_W |W|_F^2`` over the weight matrices.

    Biases are left out, as in TensorFlow's ``l2_loss`` on the weights; torch's ``weight_decay`` takes them in.

    Example:
        >>> from unmask.training.objectives import Normal
        >>> objective = WeightPenalty(objective=Normal(), weight=2.0)
        >>> layer = nn.Linear(2, 2)
        >>> nn.init.ones_(layer.weight).shape, nn.init.zeros_(layer.bias).shape
        (torch.Size([2, 2]), torch.Size([2]))
        >>> objective(nn.Sequential(nn.Flatten(), layer), torch.zeros(1, 1, 1, 2), torch.tensor([0])).item()
        4.6931471824646
    """

    objective: Objective
    weight: float

    def __call__(self, model: Model, images: Tensor, labels: Tensor, *, step: int = 0) -> Tensor:
        """Return the loss of one update."""
        assert isinstance(model, nn.Module)
        squares = [matrix.square().sum() for matrix in model.parameters() if matrix.ndim > 1]
        return self.objective(model, images, labels, step=step) + self.weight / 2 * torch.stack(squares).sum()


def perceptron(data: Dataset, widths: tuple[int, ...], seed: int) -> nn.Module:
    """Build the papers' network: ReLU layers of these widths, Xavier-uniform weights, zero biases.

    Example:
        >>> from unmask.data import load
        >>> len(perceptron(load("digits", "test"), (32, 16), seed=0))
        6
    """
    shape = data.images.shape[1:]
    return build(
        "mlp",
        inputs=(shape[0], shape[1], shape[2]),
        classes=len(data.classes),
        widths=widths,
        initialisation="xavier",
        seed=seed,
    )


def surrogate_network(data: Dataset, widths: tuple[int, ...], *, updates: int, seed: int) -> nn.Module:
    """Train another network of the same kind shortly, with Adam at 0.001, from weights and an order of its own."""
    own = derive_seed(seed, "surrogate") % 2**31
    model = perceptron(data, widths, own)
    for _ in Trainer(updates=updates, seed=own)(model, data):
        pass
    return model.eval()


def with_label_noise(data: Dataset, share: float, seed: int) -> Dataset:
    """Return the data with this share of the labels replaced by another class, drawn evenly.

    Example:
        >>> from unmask.data import load
        >>> data = load("digits", "test")
        >>> noisy = with_label_noise(data, 0.5, seed=0)
        >>> round((noisy.labels != data.labels).double().mean().item(), 1)
        0.5
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "label noise"))
    chosen = torch.randperm(len(data), generator=generator)[: round(share * len(data))]
    shift = torch.randint(1, len(data.classes), (len(chosen),), generator=generator)
    labels = data.labels.clone()
    labels[chosen] = (labels[chosen] + shift) % len(data.classes)
    return replace(data, labels=labels)


SIZES = {"mnist": (50_000, 784), "digits": (1_078, 64)}
"""Training images and pixels of each data set."""


def operations(
    data: str, widths: tuple[int, ...], *, images: int, passes: float = 1.0, precision: str = "float32"
) -> float:
    """Estimate the floating-point operations of training on so many images (updates times batch size).

    Two for each weight in the forward pass and four in the backward pass; ``passes`` in units of that; float64 counts
    double.

    Example:
        >>> operations("mnist", (600, 128), images=125) / 1e6
        411.36
    """
    sizes = (SIZES[data][1], *widths, 10)
    weights = sum(before * after for before, after in pairwise(sizes))
    return 6.0 * weights * images * passes * (2.0 if precision == "float64" else 1.0)


def speed(updates: int = 20) -> float:
    """Measure for a moment how many floating-point operations per second the training of a perceptron reaches here."""
    data = Dataset(
        name="noise",
        images=torch.rand(125 * updates, 1, 28, 28),
        labels=torch.zeros(125 * updates, dtype=torch.int64),
        classes=tuple("0123456789"),
    )
    model = perceptron(data, (600, 128), 0)
    (epoch,) = Trainer(updates=updates)(model, data)
    return operations("mnist", (600, 128), images=125 * updates) / epoch.seconds
