"""The data and networks that several files share; no test may change them."""

from __future__ import annotations

import pytest

from unmask.data import load
from unmask.models import build
from unmask.training import Trainer


def pytest_configure(config):
    """Register the marker here too, so that these tests run without the project's settings."""
    config.addinivalue_line("markers", "slow: takes more than three seconds")


def pytest_collection_modifyitems(items):
    """Mark the tests of a whole reproduction or of a whole zoo as slow."""
    for item in items:
        if {"reproduction", "records", "small_zoo"} & set(item.fixturenames):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def held_out():
    """Return 359 images of digits that no network was trained on."""
    return load("digits", "test")


@pytest.fixture(scope="session")
def perceptron():
    """Return a network of one hidden layer that is right on 97 % of ``held_out``."""
    return trained("mlp", learning_rate=0.003, widths=(64,))


@pytest.fixture(scope="session")
def linear():
    """Return a linear model of the digits: nothing in it can mask."""
    return trained("linear", learning_rate=0.02)


def trained(name, *, learning_rate, **options):
    model = build(name, inputs=(1, 8, 8), classes=10, seed=0, **options)
    for _ in Trainer(updates=200, learning_rate=learning_rate)(model, load("digits", "train")):
        pass
    model.zero_grad()
    return model.eval()
