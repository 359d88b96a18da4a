"""Square."""

from __future__ import annotations

import math

import pytest
import torch
from attack_cases import EPSILON, Watched, images_for, make, never_wrong, shown, unbeatable
from hypothesis import given, settings
from hypothesis import strategies as st

from unmask.attacks import Square, predict
from unmask.models.masked import Quantised


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6), epsilon=st.floats(0.01, 1), label=st.integers(0, 1))
def test_square_finds_the_optimum_of_a_linear_model_that_withstands_it(seed, epsilon, label):
    """Small squares try single pixels: 36 of them, all tried in 800 queries but for a chance of one in 10^7."""
    model, uphill = unbeatable(seed, label)
    images = images_for(2, seed).double()
    found = Square(epsilon, queries=800, seed=seed)(model, images, torch.full((2,), label))
    torch.testing.assert_close(found, (images + epsilon * uphill).clamp(0, 1), rtol=0, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 12), st.integers(1, 12)),
    queries=st.integers(1, 60),
    seed=st.integers(0, 10**6),
)
def test_square_goes_from_stripes_from_corner_to_corner_by_one_square(shape, queries, seed):
    """On flat scores each proposal is taken, so that two points in a row differ by what was proposed."""
    model, images = Watched(never_wrong), torch.full((3, *shape), 0.5)
    Square(0.25, queries=queries, seed=seed)(model, images, torch.zeros(3, dtype=torch.int64))
    clean, stripes, *_ = model.points
    assert len(model.points) == 1 + queries
    assert torch.equal(clean, images)
    assert torch.equal(stripes, stripes[:, :, :1].expand_as(stripes))
    assert all(((points - images).abs() == 0.25).all() for points in model.points[1:])
    for query, (before, after) in enumerate(zip(model.points[1:], model.points[2:], strict=False), start=1):
        halvings = sum(query / queries > mark for mark in (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8))
        side = max(round(math.sqrt(0.8 * shape[1] * shape[2] / 2**halvings)), 1)
        for changed in (before != after).any(1):
            rows, columns = changed.any(1).nonzero(), changed.any(0).nonzero()
            assert 1 <= len(rows) <= rows.max() - rows.min() + 1 <= min(side, shape[1])
            assert 1 <= len(columns) <= columns.max() - columns.min() + 1 <= min(side, shape[2])


def test_the_first_square_covers_its_share_of_the_image_and_may_lie_anywhere():
    """Where it overwrites the other colour, it is seen whole."""
    points = []

    def model(images):
        points.append(images.clone())
        return never_wrong(images) if len(points) < 3 else -never_wrong(images)

    images = torch.full((400, 1, 10, 10), 0.5)
    images[:, 0, 0, 0] = torch.linspace(0.3, 0.6, 400)  # equal images would have equal random numbers
    Square(0.25, p_init=0.36)(model, images, torch.zeros(400, dtype=torch.int64))
    _, before, after = points
    changed = (before != after).squeeze(1)
    assert changed.any(2).sum(1).max() == changed.any(1).sum(1).max() == 6
    assert changed.any(0).all()
    assert changed.flatten(1).any(1).all()


def test_square_attacks_a_black_box():
    """One that knows no autograd, and has no gradient anywhere."""

    def black_box(images):
        level = (images.numpy().reshape(len(images), -1).mean(1) * 50).round()
        return torch.stack([torch.from_numpy(26 - level), torch.zeros(len(images))], dim=1)

    images = torch.full((2, 3, 4, 5), 0.5)
    found = Square(0.1, queries=300)(black_box, images, torch.zeros(2, dtype=torch.int64))
    assert predict(black_box, found).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("attack", "forwards"), [(Square(EPSILON, queries=7), 8), (Square(EPSILON, queries=7, restarts=3), 22)], ids=shown
)
def test_passes_through_a_model_that_is_never_fooled(attack, forwards):
    bare, images = Quantised(make("plain"), levels=2), images_for(4)
    model = Watched(bare)
    attack(model, images, predict(bare, images))
    assert (len(model.points), any(model.recorded)) == (forwards, False)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"queries": 0}, "^queries: expected a whole number above 0, got 0"),
        ({"restarts": 0}, "^restarts: expected a whole number above 0, got 0"),
        ({"p_init": 0}, "^p_init: expected a number above 0 and up to 1, got 0"),
        ({"p_init": 1.5}, "^p_init: .* got 1.5"),
    ],
)
def test_impossible_settings_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Square(0.1, **wrong)
