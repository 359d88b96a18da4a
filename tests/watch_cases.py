"""A training run that masks, and a watch for it."""

from __future__ import annotations

from unmask.models import build
from unmask.training import Reading, Rule, Trainer, Watch
from unmask.training.objectives import build as build_objective

HEALTHY = Reading(
    update=1, clean_accuracy=0.99, fgsm_accuracy=0.9, pgd_accuracy=0.8, fgsm_loss=0.3, pgd_loss=0.5, logit_distance=0.1
)
MASKS = Trainer(  # a wide network and a large epsilon: with each of six seeds masking sets in within 350 updates
    updates=1000, batch_size=64, learning_rate=0.01, objective=build_objective("fgsm-log-odds", epsilon=0.3)
)


def network(seed=0):
    return build("mlp", inputs=(1, 8, 8), classes=10, widths=(128,), seed=seed)


def watching(digits, **changed):
    few = digits.images[:200], digits.labels[:200]
    settings = {"epsilon": 0.3, "images": few[0], "labels": few[1], "every": 50, "rule": Rule(gap=0.2)}
    return Watch(**settings | changed)
