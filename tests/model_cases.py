"""Narrow networks of every name, and images for them."""

from __future__ import annotations

from inspect import signature

import torch

from unmask.models import MODELS, build

MNIST, CIFAR, DIGITS = (1, 28, 28), (3, 32, 32), (1, 8, 8)
TAKES_WIDTH = [name for name in MODELS if "width" in signature(MODELS[name]).parameters]


def small(name, inputs, classes=10, seed=0, **options):
    """Build a narrow network of the name, in evaluation mode."""
    if name in TAKES_WIDTH:
        options.setdefault("width", 4)
    elif name == "mlp":
        options.setdefault("widths", (16, 8))
    return build(name, inputs=inputs, classes=classes, seed=seed, **options).eval()


def images_for(inputs, count=3, seed=0):
    return torch.rand(count, *inputs, generator=torch.Generator().manual_seed(seed))
