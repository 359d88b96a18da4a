"""Threat models, epsilons as people write them, and the checks of batches and adversarial images."""

from __future__ import annotations

import contextlib
import copy
import math
import pickle
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unmask.attacks import PGD, DeepFool
from unmask.threats import Epsilon, Linf, Threat, check_adversarial, check_batch, parse_epsilon, rounding

EPSILONS = st.floats(0, 1)
SEEDS = st.integers(0, 10**6)


def images_for(seed, count=3):
    return torch.rand(count, 2, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def inside(points, images, epsilon):
    return bool(((points - images).abs() <= epsilon + 1e-12).all() and points.min() >= 0 and points.max() <= 1)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("0.3", 0.3), ("8/255", 8 / 255), (" 1/4 ", 0.25), ("1e-2", 0.01), (0, 0.0), (1, 1.0), (0.3, 0.3)],
        *[(np.float64(0.3), 0.3), (np.float32(0.25), 0.25), (np.int64(1), 1.0), (torch.tensor(0.5), 0.5)],
        *[(Fraction(8, 255), 8 / 255), (Decimal("0.3"), 0.3)],
    ],
)
def test_epsilon_is_read_as_people_write_it(text, value):
    assert parse_epsilon(text) == value


@pytest.mark.parametrize("text", ["8", 8, -0.1, "9/8", "nan", math.inf])
def test_epsilon_outside_its_range_is_refused(text):
    with pytest.raises(ValueError, match=rf"^epsilon: expected a number in \[0, 1\], got {text}; .* write .* as 8/255"):
        parse_epsilon(text)


@pytest.mark.parametrize("text", ["", "a", "8/", "1/0", "8 of 255", "1/2/3", None, [0.1], 10**400, f"1{'0' * 400}/3"])
def test_epsilon_that_is_no_number_is_refused(text):
    with pytest.raises(ValueError, match=r"^epsilon: expected a number .* such as 0.3 or 8/255, got ") as error:
        parse_epsilon(text)
    assert str(error.value).endswith(f"got {text!r}")


@given(EPSILONS)
def test_any_number_is_read_back_from_its_text(epsilon):
    assert parse_epsilon(epsilon) == parse_epsilon(repr(epsilon)) == parse_epsilon(np.float64(epsilon)) == epsilon


@given(st.integers(1, 10**6), st.data())
def test_any_fraction_is_the_nearest_number(denominator, data):
    numerator = data.draw(st.integers(0, denominator))
    assert parse_epsilon(f"{numerator}/{denominator}") == numerator / denominator


@given(st.text(max_size=8))
def test_any_text_is_a_number_in_range_or_refused(text):
    with contextlib.suppress(ValueError):
        assert 0 <= parse_epsilon(text) <= 1


# --- Epsilon as a field


@dataclass(frozen=True)
class Base:
    """An epsilon that must be given."""

    epsilon: Epsilon = Epsilon()


@dataclass(frozen=True, kw_only=True)
class Derived(Base):
    """A further setting, by name."""

    steps: int = 3


BOUNDED = [Base("1/4"), Derived("1/4", steps=5), Linf("1/4"), PGD("1/4", steps=5), DeepFool("1/4", steps=5)]


@pytest.mark.parametrize("bounded", BOUNDED, ids=repr)
def test_a_field_is_set_with_text_or_a_number_and_read_as_a_number(bounded):
    kind = type(bounded)
    assert bounded.epsilon == 0.25
    assert type(kind(np.float32(0.25)).epsilon) is float
    assert kind(0.25) == kind("1/4") == kind(epsilon="0.25")
    assert hash(kind(0.25)) == hash(kind("1/4"))
    assert kind(0.25) != kind(0.5)
    assert fields(kind)[0].name == "epsilon"
    assert "epsilon=0.25" in repr(bounded)


@pytest.mark.parametrize("bounded", BOUNDED, ids=repr)
def test_copies_of_a_field_are_equal(bounded):
    for one in (pickle.loads(pickle.dumps(bounded)), copy.copy(bounded), copy.deepcopy(bounded), replace(bounded)):
        assert one == bounded
        assert one.epsilon == 0.25
        assert vars(one) == vars(bounded)
    assert replace(bounded, epsilon="1/2").epsilon == 0.5
    with pytest.raises(ValueError, match=r"^epsilon: expected a number in \[0, 1\], got 8"):
        replace(bounded, epsilon=8)


@pytest.mark.parametrize("kind", [Base, Derived, Linf, PGD])
def test_a_field_without_a_default_must_be_given(kind):
    with pytest.raises(TypeError, match="epsilon"):
        kind()


def test_a_field_may_have_a_default():
    assert DeepFool().epsilon == 1.0
    assert DeepFool.epsilon == 1.0
    assert DeepFool("8/255").epsilon == 8 / 255


def test_a_field_is_frozen_in_a_frozen_dataclass():
    with pytest.raises(AttributeError, match="epsilon"):
        Derived(0.1).epsilon = 0.2


# --- Linf


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


# --- adversarial images


def test_rounding_is_allowed_and_more_is_not():
    images, threat = torch.full((2, 1, 2, 2), 0.5), Linf(0.25)
    check_adversarial("an attack", images + 0.25 + rounding(images.dtype) / 2, images, threat)
    check_adversarial("an attack", images[:0], images[:0], threat)
    for wrong, found in ((images + 0.26, "moved by 0.26"), (images * math.nan, "nan")):
        with pytest.raises(ValueError, match=f"^an attack: expected images .* within epsilon 0.25, got .*{found}"):
            check_adversarial("an attack", wrong, images, threat)
    with pytest.raises(ValueError, match=r"in \[-0.2, -0.2\]; give the attack this epsilon"):
        check_adversarial("an attack", images * 0 - 0.2, images * 0, threat)


def test_a_threat_scales_to_another_epsilon():
    threat: Threat = Linf(0.25)
    assert threat.scaled(0.5) == Linf(0.5)
    assert threat.scaled("1/8").epsilon == 0.125
    assert torch.equal(threat.size(torch.tensor([[[[0.1, -0.3]]]])), torch.tensor([0.3]))
