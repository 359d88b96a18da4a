"""The flags of other libraries."""

from __future__ import annotations

import pytest

from unmask.models.masked import InputNoise, SoftmaxOutput, ZeroBackward
from unmask.numerics import undisturbed
from unmask_experiments.zoo import peers
from unmask_experiments.zoo.cases import Case
from unmask_experiments.zoo.networks import audited_images


@pytest.mark.parametrize(
    ("model", "flag"),
    [
        (lambda base: base, None),
        (SoftmaxOutput, "probabilities"),
        (ZeroBackward, "zero gradient"),
        (lambda base: InputNoise(base, 0.5), "randomised"),
    ],
)
def test_each_flag_is_raised_where_it_belongs(model, flag, perceptron):
    base, data = perceptron, audited_images("digits", 20)
    with undisturbed(base):
        raised = {
            "randomised": peers.randomised(model(base), data.images),
            "probabilities": peers.probabilities(model(base), data.images),
            "zero gradient": peers.zero_gradient(model(base), data, 0.1, 0),
        }
    assert [name for name, up in raised.items() if up] == ([flag] if flag else [])


def test_a_search_wins_where_gradients_are_gone(perceptron, monkeypatch):
    monkeypatch.setattr(peers, "QUERIES", 100)
    case, data = Case(epsilon=0.2), audited_images("digits", 40)
    assert peers.search_wins(case, ZeroBackward(perceptron), data)
    assert not peers.search_wins(case, perceptron, data)
