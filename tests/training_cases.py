"""A training run with everything that draws random numbers or keeps a state, and networks for it."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from unmask.attacks import RFGSM
from unmask.models import build
from unmask.training import Checkpoint, Steps, Trainer
from unmask.training.objectives import Adversarial

RESUMED = Trainer(  # everything that draws random numbers or keeps a state; 4 updates per epoch, and 2 in the last
    updates=10,
    batch_size=30,
    objective=Adversarial(attack=RFGSM(epsilon=0.1), clean_weight=0.5),
    learning_rate=0.01,
    weight_decay=0.001,
    schedule=Steps(at=(5,), factors=(0.5,)),
)


def dropping(seed=0):
    """A network with dropout and batch norm."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 10)
        )


def convolutional(seed=0):
    return build("lenet+", inputs=(1, 8, 8), classes=10, width=4, seed=seed)


def deep():
    return build("mlp", inputs=(1, 8, 8), classes=10, widths=(32, 32, 32, 32))


def run(trainer, model, data, **options):
    return list(trainer(model, data, **options))


def assert_same(one, other):
    ours, theirs = one.state_dict(), other.state_dict()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


class Scaled:
    """An objective of someone's own, which does not show what it holds."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, model, images, labels, *, step=0):
        return self.factor * functional.cross_entropy(model(images), labels)


def save_filled(folder, update, *, value, width=4):
    """Write a checkpoint with weights that are all ``value``, and an optimizer's state of -``value``."""
    model = nn.Linear(width, 100)
    optimizer = torch.optim.SGD(model.parameters(), momentum=0.9)
    for one in model.parameters():
        one.data.fill_(value)
        optimizer.state[one]["momentum_buffer"] = torch.full_like(one, -value)
    Checkpoint(folder=folder, settings={}).save(model, optimizer, update)


def filled(folder, *, width=4):
    """Return the update and the value that a checkpoint of ``save_filled`` holds; fail if it holds two values."""
    model = nn.Linear(width, 100)
    optimizer = torch.optim.SGD(model.parameters(), momentum=0.9)
    update = Checkpoint(folder=folder, settings={}).restore(model, optimizer)
    tensors = [*model.state_dict().values(), *(-one["momentum_buffer"] for one in optimizer.state.values())]
    (value,) = torch.cat([one.flatten() for one in tensors]).unique().tolist()
    return update, value
