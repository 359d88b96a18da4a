"""Images, audits and contexts that several files share. No test may change them."""

from __future__ import annotations

import pytest

from unmask.auditing import FULL, audit, prepare, runner

EPSILON = 0.1


@pytest.fixture(scope="session")
def task(held_out):
    """100 images and their labels: one batch, and enough for a gain of ten points to be told apart."""
    return held_out.images[:100], held_out.labels[:100]


@pytest.fixture(scope="session")
def tiny_audit(task, tiny):
    """An audit of a model on ``task`` at epsilon 0.1 with little effort."""

    def run(model, **options):
        return audit(model, *task, **{"epsilon": EPSILON, "effort": tiny} | options)

    return run


@pytest.fixture(scope="session")
def tiny_plain(tiny_audit, perceptron):
    """The report of an audit of the perceptron with little effort."""
    return tiny_audit(perceptron)


@pytest.fixture(params=["tiny", pytest.param("full", marks=pytest.mark.slow)])
def effort(request, tiny):
    """Little effort in the quick tier, and the default effort besides."""
    return tiny if request.param == "tiny" else FULL


@pytest.fixture
def context_of(task, tiny):
    """The context of an audit on ``task`` at epsilon 0.1 with little effort; nothing has been run on it."""

    def make(model, images=None, labels=None, **options):
        given = task if images is None else (images, labels)
        return prepare(model, *given, **{"epsilon": EPSILON, "effort": tiny} | options)

    return make


@pytest.fixture
def last_context(monkeypatch):
    """A list to which each audit adds its context."""
    contexts = []

    def noted(*arguments, **options):
        contexts.append(prepare(*arguments, **options))
        return contexts[-1]

    monkeypatch.setattr(runner, "prepare", noted)
    return contexts
