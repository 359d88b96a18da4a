"""DeepFool."""

from __future__ import annotations

import math

import pytest
import torch
from attack_cases import CLASSES, EPSILON, Watched, images_for, make, two_classes
from hypothesis import given, settings
from hypothesis import strategies as st

from unmask.attacks import DeepFool, predict
from unmask.models.masked import Quantised


@pytest.mark.parametrize("norm", [2, math.inf])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), lead=st.floats(0.01, 1))
def test_deepfool_comes_near_the_smallest_change(norm, seed, lead):
    """On a linear model the nearest boundary is ``lead / |w|_q`` away, if [0, 1] is not in the way."""
    images = 0.4 + 0.2 * images_for(1, seed).double()
    _, direction = two_classes(seed)
    model, _ = two_classes(seed, shift=lead + float((images * direction).sum()))
    found = DeepFool(norm=norm)(model, images, torch.tensor([0]))
    assert predict(model, found) == 1
    change = (found - images).flatten()
    distance = lead / direction.norm(p=1 if norm == math.inf else 2)
    assert distance < change.norm(p=norm) <= 1.02 * (distance + 1.1e-4)


def test_deepfool_returns_a_misclassified_example_as_it_is():
    model, images = make("plain"), images_for(4)
    labels = (predict(model, images) + 1) % CLASSES
    assert torch.equal(DeepFool()(model, images, labels), images)


@pytest.mark.parametrize("norm", [2, math.inf])
def test_deepfool_without_a_bound_fools_every_example(norm):
    model, images = make("plain"), images_for(12)
    labels = predict(model, images)
    assert (predict(model, DeepFool(norm=norm)(model, images, labels)) != labels).all()


def test_by_default_only_the_range_of_pixels_bounds_it():
    assert DeepFool() == DeepFool(1.0) == DeepFool("1/1")
    with pytest.raises(TypeError, match="positional"):
        DeepFool(1.0, 5)


def test_it_takes_a_backward_pass_for_each_candidate_and_a_sweep_searches_once():
    bare, images = Quantised(make("plain"), levels=2), images_for(4)  # never fooled
    labels, model = predict(bare, images), Watched(bare)
    attack = DeepFool(EPSILON, steps=5, candidates=3, overshoot=0)
    attack(model, images, labels)
    assert (len(model.points), model.backwards) == (5, 15)
    list(attack.sweep(model, images, labels, epsilons=[0.1, 0.2, 0.3]))
    assert (len(model.points), model.backwards) == (10, 30)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "^steps: expected a whole number above 0, got 0"),
        ({"candidates": 1}, "^candidates: expected at least 2, got 1"),
        ({"overshoot": -1}, "^overshoot: expected a number from 0 up, got -1"),
        ({"norm": 1}, "^norm: expected 2 or math.inf, got 1"),
    ],
)
def test_impossible_settings_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        DeepFool(**wrong)
