"""Updates of our ``Trainer`` beside the bare PyTorch loop: the same weights at the end, in how much more time."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from benchmarks import bare_loop
from benchmarks.data import digits_like
from benchmarks.measure import Comparison, alternate
from unmask.data import Dataset
from unmask.models import build
from unmask.numerics import derive_seed
from unmask.training import Trainer

BATCH_SIZE, LEARNING_RATE, SEED = 125, 0.01, 0


@dataclass(frozen=True, kw_only=True)
class Contest:
    """A network as it is before the first update, trained for one pass over the data."""

    network: nn.Module
    data: Dataset
    channels_last: bool = False

    @property
    def updates(self) -> int:
        """The number of batches in the data."""
        return len(self.data) // BATCH_SIZE

    def ours(self) -> nn.Module:
        """Train with ``Trainer``."""
        model = copy.deepcopy(self.network)
        train = Trainer(
            updates=self.updates,
            batch_size=BATCH_SIZE,
            learning_rate=LEARNING_RATE,
            channels_last=self.channels_last,
            seed=SEED,
        )
        for _ in train(model, self.data):
            pass
        return model

    def bare(self) -> nn.Module:
        """Train with the bare loop, in the order of batches that ``Trainer`` takes."""
        model = copy.deepcopy(self.network)
        bare_loop.train(
            model,
            self.data.images,
            self.data.labels,
            updates=self.updates,
            batch_size=BATCH_SIZE,
            learning_rate=LEARNING_RATE,
            generator=torch.Generator().manual_seed(derive_seed(SEED, "order", 0)),
            channels_last=self.channels_last,
        )
        return model


def perceptron(*, rounds: int, updates: int = 100) -> Comparison:
    """784-600-128-10, Adam, batches of 125."""
    network = build("mlp", inputs=(1, 28, 28), classes=10, seed=SEED)
    contest = Contest(network=network, data=digits_like(updates * BATCH_SIZE, seed=SEED))
    candidates: dict[str, Callable[[], object]] = {"unmask": contest.ours, "bare loop": contest.bare}
    return Comparison(
        name=f"{updates} updates of the perceptron 784-600-128-10, batch {BATCH_SIZE}, Adam",
        seconds=alternate(candidates, rounds=rounds),
        checks=[same_weights(contest)],
    )


def convolutional(*, rounds: int, updates: int = 30) -> Comparison:
    """LeNet+, Adam, batches of 125, in both memory formats."""
    network = build("lenet+", inputs=(1, 28, 28), classes=10, seed=SEED)
    data = digits_like(updates * BATCH_SIZE, seed=SEED)
    plain = Contest(network=network, data=data)
    last = Contest(network=network, data=data, channels_last=True)
    candidates: dict[str, Callable[[], object]] = {
        "unmask, channels last": last.ours,
        "bare loop, channels last": last.bare,
        "unmask": plain.ours,
        "bare loop": plain.bare,
    }
    return Comparison(
        name=f"{updates} updates of LeNet+, batch {BATCH_SIZE}, Adam",
        seconds=alternate(candidates, rounds=rounds),
        checks=[same_weights(plain)],
    )


def same_weights(contest: Contest) -> str:
    """Say in words if both end with the same weights.

    Raises:
        AssertionError: they differ by more than rounding, so the times compare nothing.
    """
    ours, bare = contest.ours().state_dict(), contest.bare().state_dict()
    if all(torch.equal(ours[name], bare[name]) for name in bare):
        return "Both end with the same weights, bit for bit."
    for name in bare:
        torch.testing.assert_close(ours[name], bare[name], rtol=1e-3, atol=1e-4)
    return "Both end with the same weights but for rounding."
