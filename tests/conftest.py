"""The embedded digits, networks that learned them, and a small effort for audits. No test may change them."""

from __future__ import annotations

import numpy as np
import pytest

from unmask.auditing import Effort
from unmask.data import load
from unmask.models import build
from unmask.training import Trainer


@pytest.fixture(scope="session")
def digits():
    """1,078 images to train on."""
    return load("digits", "train")


@pytest.fixture(scope="session")
def few(digits):
    """The first 120 images to train on."""
    return digits.take(np.arange(120))


@pytest.fixture(scope="session")
def held_out():
    """359 images that no network was trained on."""
    return load("digits", "test")


@pytest.fixture(scope="session")
def perceptron(digits):
    """A network of one hidden layer, right on 97 % of ``held_out``; its log-odds are within a few nats."""
    model = build("mlp", inputs=(1, 8, 8), classes=10, widths=(64,), seed=0)
    for _ in Trainer(updates=200, learning_rate=0.003)(model, digits):
        pass
    model.zero_grad()
    return model.eval()


@pytest.fixture(scope="session")
def linear(digits):
    """A linear model of the digits: nothing in it can mask."""
    model = build("linear", inputs=(1, 8, 8), classes=10, seed=0)
    for _ in Trainer(updates=200, learning_rate=0.02)(model, digits):
        pass
    model.zero_grad()
    return model.eval()


@pytest.fixture(scope="session")
def tiny():
    """The effort of an audit in which every stage runs, and none for long."""
    return Effort(steps=5, draws=2, glance=20, few=20, queries=40, sample=40, search=1, shown=10)
