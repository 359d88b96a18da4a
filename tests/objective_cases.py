"""Objectives, networks and a batch that the tests of objectives share."""

from __future__ import annotations

import torch
from torch import nn

from unmask.attacks import FGSM, PGD, RFGSM
from unmask.training.objectives import (
    OBJECTIVES,
    Adversarial,
    Augmented,
    Ensemble,
    GradAlign,
    GuidedAdversarial,
    LogitDistance,
    StepDistance,
    Tempered,
    build,
    needs,
)

EPSILON = 0.1

TWO_PASSES = (StepDistance, GradAlign, GuidedAdversarial)
"""The objectives whose batches do not share one pass."""


def brightest(images):
    """A source for images of any size: it names a pixel."""
    return images.flatten(1)


def darkest(images):
    return -images.flatten(1)


def teacher(images):
    """Sure of one of ten classes."""
    return 40 * images.flatten(1)[:, :10]


NEEDED = {"epsilon": EPSILON, "sources": (brightest, darkest), "teacher": teacher}
"""Arguments for whatever an objective of the registry needs."""


def made(name):
    return build(name, **{one: NEEDED[one] for one in needs(name)})


CASES = {name: made(name) for name in OBJECTIVES} | {
    "pgd": Adversarial(attack=PGD(EPSILON, steps=3)),
    "pgd+clean": Adversarial(attack=PGD(EPSILON, steps=3, keep="last"), clean_weight=0.25),
    "ensemble-rfgsm": Ensemble(attack=RFGSM(EPSILON), sources=(brightest, darkest)),
    "ensemble-no-clean": Ensemble(attack=RFGSM(EPSILON), sources=(brightest,), clean_weight=0.0),
    "logit-distance-remaining": LogitDistance(EPSILON, step_from_offset="remaining"),
    "augmented": Augmented(objective=Adversarial(attack=FGSM(EPSILON)), padding=2),
    "gat-every-other": GuidedAdversarial(EPSILON, alpha=EPSILON, guide_every=2),
    "tempered-20": Tempered(temperature=20.0),
}
"""Every objective of the registry, and some with other settings."""


class Watched(nn.Module):
    """A network with batch norm and dropout, which keeps the images that it gets in training mode."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layers = nn.Sequential(
                nn.Flatten(), nn.Linear(36, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 10)
            )
        self.seen, self.attacked = [], 0

    def forward(self, images):
        if self.training:
            self.seen.append(images)
        self.attacked += not self.training
        return self.layers(images)


def a_batch():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(12, 1, 6, 6, generator=generator), torch.randint(4, (12,), generator=generator)


def linear():
    """Two classes, 9 pixels, float64; the images are so far from 0 and 1 that no pixel is cut."""
    generator = torch.Generator().manual_seed(3)
    images = 0.3 + 0.4 * torch.rand(20, 1, 3, 3, generator=generator, dtype=torch.float64)
    labels = torch.randint(2, (20,), generator=generator)
    weight = torch.randn(2, 9, generator=generator, dtype=torch.float64)
    model = Watched()
    model.layers = nn.Sequential(nn.Flatten(), nn.Linear(9, 2, bias=False).double())
    model.layers[1].weight.data = weight
    return model, images, labels, weight[1 - labels] - weight[labels]


def smooth():
    """A network in float64 without noise of its own, in training mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.Tanh(), nn.Linear(16, 4)).double()
