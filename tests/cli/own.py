"""Factories of the user's own, to be named on the command line as ``own:FACTORY``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from unmask.adapters import black_box
from unmask.attacks import FGSM
from unmask.models import build, load_weights
from unmask.models.masked import InputNoise, ScaledLogits, SoftmaxOutput

# --- factories of models


def fixed(classes=10):
    """A linear model that is right on some digits; in evaluation mode."""
    return build("linear", inputs=(1, 8, 8), classes=classes).eval()


def three():
    return fixed(classes=3)


def in_training_mode():
    return fixed().train()


def probabilities():
    return SoftmaxOutput(fixed()).eval()


def not_a_number():
    return nn.Sequential(fixed(), nn.Threshold(float("inf"), float("nan"))).eval()


def for_other_images():
    return nn.Sequential(nn.Flatten(), nn.Linear(49, 10)).eval()


def just_a_function():
    return lambda images: images.flatten(1)[:, 20:30]


def drawn():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def raises():
    raise RuntimeError("no luck\nand no more")


def a_number():
    return 3


def masked():
    """Sure of itself; stands for a network that was trained too long."""
    return ScaledLogits(trained(), 300.0).eval()


def trained():
    model = build("mlp", inputs=(1, 8, 8), classes=10, widths=(64,))
    load_weights(model, Path("weights.safetensors"))  # in ``folder``
    return model.eval()


def noisy():
    return InputNoise(trained(), sigma=0.1).eval()


def at_random():
    return lambda images: torch.rand(len(images), 10)


def behind_a_wall():
    model = trained()

    def answer(images):
        with torch.no_grad():
            return model(torch.from_numpy(images)).numpy()

    return black_box(answer)


# --- factories of attacks, and an objective


def step(epsilon):
    return FGSM(epsilon)


def inverted(epsilon):
    return lambda model, images, labels: 1 - images


def careless(epsilon):
    return lambda model, images, labels: (images + epsilon).clamp(0, 1)


@dataclass(frozen=True, kw_only=True)
class Smoothed:
    """An objective of one's own: cross entropy with smoothed labels, on images in a ball."""

    epsilon: float = 0.0
    smoothing: float = 0.1

    def __call__(self, model, images, labels, *, step=0):
        moved = (images + self.epsilon).clamp(0, 1)
        return nn.functional.cross_entropy(model(moved), labels, label_smoothing=self.smoothing)
