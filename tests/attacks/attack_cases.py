"""Attacks, models and images that the tests of attacks share."""

from __future__ import annotations

import copy
import math
import re
from dataclasses import fields
from functools import partial

import torch
from torch import nn

from unmask.attacks import APGD, ATTACKS, EOT, PGD, DeepFool, Square, Transfer, bpda, build, predict
from unmask.losses import dlr, log_odds
from unmask.models.masked import ScaledLogits

EPSILON = 0.1
SHAPE = (1, 6, 6)
CLASSES = 4

SMALL = {"steps": 4, "queries": 12, "samples": 24, "targets": 2}
"""Settings that make an attack quick, for the attacks that have them."""


def small(name, epsilon=EPSILON, **settings):
    """Return an attack by name, made quick."""
    quick = {one.name: SMALL[one.name] for one in fields(ATTACKS[name]) if one.name in SMALL}
    return build(name, epsilon, **quick | settings)


CASES = {name: small(name) for name in ATTACKS} | {
    "pgd, log-odds": PGD(EPSILON, steps=4, loss=log_odds),
    "pgd, last": PGD(EPSILON, steps=4, keep="last"),
    "pgd, restarts": PGD(EPSILON, steps=3, restarts=2),
    "pgd, last, restarts": PGD(EPSILON, steps=3, restarts=2, keep="last"),
    "deepfool, linf": DeepFool(EPSILON, steps=10, norm=math.inf),
    "square, restarts": Square(EPSILON, queries=12, restarts=2),
    "apgd, dlr, restarts": APGD(EPSILON, steps=5, restarts=2, loss=dlr),
    "transfer, eot": Transfer(attack=PGD(EPSILON, steps=4), proxy=partial(EOT, draws=3), passes=3),
    "transfer, bpda": Transfer(attack=PGD(EPSILON, steps=4), proxy=bpda),
}
"""Every attack of the registry, and variants that take other paths."""


def plain():
    """Return a network whose log-odds are within a few nats."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(SHAPE), 16), nn.ReLU(), nn.Linear(16, CLASSES))


def saturated():
    """Return a network whose cross entropy has no gradient left in float32."""
    return ScaledLogits(plain(), 300.0)


def normalised():
    """Return batch norm with running statistics, and dropout; all in training mode but for the last layer."""
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(64, CLASSES)
    )
    with torch.no_grad():
        model(torch.rand(64, *SHAPE))
    model[1].weight.requires_grad_(False)
    model[5].eval()
    return model


NETWORKS = {"plain": plain, "saturated": saturated, "batch-norm": normalised}
DTYPES = {"float32": torch.float32, "float64": torch.float64}


def shown(value):
    """Return the repr without addresses, so that a test has the same name in every process."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def make(network, dtype=torch.float32, seed=0):
    """Return one of ``NETWORKS``."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return NETWORKS[network]().to(dtype)


def images_for(count, seed=0, shape=SHAPE):
    """Return images with pixels over all of [0, 1], a fifth of them at its ends."""
    pixels = torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))
    return (1.25 * pixels - 0.125).clamp(0, 1)


def two_classes(seed, shift=0.0):
    """Return a linear model in float64, and the direction that raises class 1 over class 0: no weight is near 0."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(36, generator=generator, dtype=torch.float64)
    weights = weights.sign() * (0.1 + weights.abs())
    return lambda images: torch.stack(
        [-0.5 * (images.flatten(1) @ weights.to(images)) + shift, 0.5 * (images.flatten(1) @ weights.to(images))], dim=1
    ), weights.view(SHAPE)


def unbeatable(seed, label):
    """Return a linear model that never leaves the label, and the signs that lead away from it.

    It has two classes that matter, some 5 nats apart, and two that do not.
    """
    linear, direction = two_classes(seed, shift=100.0 if label == 0 else -100.0)
    ballast = torch.full((1, 2), -1000.0, dtype=torch.float64)

    def model(images):
        return torch.cat([linear(images), ballast.to(images).expand(len(images), -1)], dim=1) / 20

    return model, (1 - 2 * label) * direction.sign()


def never_wrong(images):
    """Return the same scores for every image."""
    return torch.tensor([1.0, 0.0]).to(images).expand(len(images), -1)


def by_brightness(images):
    """Return scores of class 0 below a brightness of 0.5, else of class 1."""
    level = images.flatten(1).mean(1)
    return torch.stack([0.5 - level, level - 0.5], dim=1)


class Watched(nn.Module):
    """A model that records its inputs, and the passes with a gradient."""

    def __init__(self, model):
        super().__init__()
        self.model, self.points, self.recorded, self.backwards = model, [], [], 0

    def forward(self, images):
        self.points.append(images.detach().clone())
        self.recorded.append(images.requires_grad and torch.is_grad_enabled())
        logits = self.model(images)
        if logits.requires_grad:
            logits.register_hook(self.count)
        return logits

    def count(self, _):
        self.backwards += 1


def arranged(name, dtype="float32", network="plain"):
    """Return an attack, a model, images and labels; all labels but the first are the model's predictions."""
    attack, model = CASES[name], make(network, DTYPES[dtype])
    if network == "saturated" and "loss" in fields_of(attack):
        attack = attack.replace(loss=log_odds)  # cross entropy leaves rounding errors there
    images = images_for(12).to(DTYPES[dtype])
    labels = predict(copy.deepcopy(model), images)
    labels[0] = (labels[0] + 1) % CLASSES
    return attack, model, images, labels


def fields_of(attack):
    """Return the settings of an attack, or of the attack that a transfer makes."""
    return fields_of(attack.attack) if isinstance(attack, Transfer) else attack.settings


def accuracy(model, attack, images, labels):
    """Return the accuracy of a model under an attack."""
    return (predict(model, attack(model, images, labels)) == labels).double().mean()
