"""What the attacker may do."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unmask.threats import Linf, check_batch, parse_epsilon

EPSILONS = st.floats(0, 1)
SEEDS = st.integers(0, 10**6)


def images_for(seed, count=3):
    return torch.rand(count, 2, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def inside(points, images, epsilon):
    return bool(((points - images).abs() <= epsilon + 1e-12).all() and points.min() >= 0 and points.max() <= 1)


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.3", 0.3), ("8/255", 8 / 255), (" 1/4 ", 0.25), ("1e-2", 0.01), (0, 0.0), (1, 1.0), (0.3, 0.3)],
)
def test_epsilon_is_read_as_people_write_it(text, value):
    assert parse_epsilon(text) == value


@pytest.mark.parametrize("text", ["8", 8, -0.1, "9/8", "nan", math.inf])
def test_epsilon_outside_its_range_is_refused(text):
    with pytest.raises(ValueError, match=rf"^epsilon: expected a number in \[0, 1\], got {text}; .* write .* as 8/255"):
        parse_epsilon(text)


@pytest.mark.parametrize("text", ["", "a", "8/", "1/0", "8 of 255"])
def test_epsilon_that_is_no_number_is_refused(text):
    with pytest.raises(ValueError, match=f"^epsilon: expected a number .* such as 0.3 or 8/255, got '{text}'"):
        parse_epsilon(text)


@settings(max_examples=50, deadline=None)
@given(SEEDS, EPSILONS)
def test_the_projection_is_the_nearest_allowed_point(seed, epsilon):
    images, threat = images_for(seed), Linf(epsilon=epsilon)
    points = images + torch.randn(images.shape, generator=torch.Generator().manual_seed(seed), dtype=images.dtype)
    projected = threat.project(points, images)
    assert inside(projected, images, epsilon)
    assert torch.equal(threat.project(projected, images), projected)
    other = threat.random_start(images, seed=seed)
    assert inside(other, images, epsilon)
    assert ((points - projected).abs() <= (points - other).abs() + 1e-12).all()


@settings(max_examples=50, deadline=None)
@given(SEEDS, EPSILONS, st.floats(0, 1))
def test_a_step_follows_the_sign_and_stays_inside(seed, epsilon, size):
    images, threat = images_for(seed), Linf(epsilon=epsilon)
    direction = (
        torch.tensor([-2.0, -0.0, 0.0, 1e-30, torch.inf, -torch.inf, torch.nan, 3.0]).repeat(12).view(3, 2, 4, 4)
    )
    moved = threat.step(images, direction, size=size)
    assert inside(moved, images, epsilon)
    sign = torch.tensor([-1.0, 0, 0, 1, 1, -1, 0, 1], dtype=images.dtype).repeat(12).view(3, 2, 4, 4)
    torch.testing.assert_close(moved, (images + min(size, epsilon) * sign).clamp(0, 1), rtol=0, atol=1e-12)
    assert torch.equal(moved[sign == 0], images[sign == 0])


@settings(max_examples=50, deadline=None)
@given(SEEDS, EPSILONS)
def test_steps_stay_in_the_ball_around_their_origin(seed, epsilon):
    images, threat = images_for(seed), Linf(epsilon=epsilon)
    point = threat.random_start(images, seed=seed)
    moved = threat.step(point, torch.ones_like(point), size=1.0, origin=images)
    torch.testing.assert_close(moved, (images + epsilon).clamp(0, 1), rtol=0, atol=1e-12)


def test_a_random_start_fills_the_ball():
    images = torch.full((1, 1, 64, 64), 0.5)
    change = Linf(epsilon=0.2).random_start(images, seed=0) - 0.5
    assert change.mean().abs() < 0.01
    assert change.min() < -0.19
    assert change.max() > 0.19


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_dtype_is_kept(dtype):
    images, threat = images_for(0).to(dtype), Linf(epsilon=0.25)
    point = threat.step(threat.random_start(images, seed=0), -images, size=0.1, origin=images)
    assert point.dtype == dtype
    assert point.unique().numel() > 10
    assert (point - images).abs().max() <= 0.25 + 2 * torch.finfo(dtype).eps


@pytest.mark.parametrize("epsilon", [-0.1, 1.1, math.nan, 8])
def test_a_ball_of_impossible_size_is_refused(epsilon):
    with pytest.raises(ValueError, match=r"^epsilon: expected a number in \[0, 1\]"):
        Linf(epsilon=epsilon)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("count", [0, 2])
def test_a_batch_is_accepted(dtype, count):
    check_batch(torch.ones(count, 3, 4, 4, dtype=dtype), torch.zeros(count, dtype=torch.int64))


@pytest.mark.parametrize("pixel", [-0.01, 1.01, math.inf, math.nan])
def test_pixels_outside_their_range_are_refused(pixel):
    images = torch.zeros(2, 1, 4, 4)
    images[1, 0, 2, 2] = pixel
    with pytest.raises(ValueError, match=r"^images: expected pixels in \[0, 1\], got .*; put normalisation inside"):
        check_batch(images, torch.zeros(2, dtype=torch.int64))
