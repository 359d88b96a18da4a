"""FGSM, R-FGSM, RS-FGSM and FRSM."""

from __future__ import annotations

import math

import pytest
import torch
from attack_cases import SHAPE, Watched, images_for, make, two_classes
from hypothesis import given, settings
from hypothesis import strategies as st

from unmask.attacks import FGSM, FRSM, RFGSM, RSFGSM
from unmask.numerics import random_signs
from unmask.threats import Linf


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), epsilon=st.floats(0, 1), alpha=st.floats(0, 1))
def test_rfgsm_has_a_closed_form_of_its_own(seed, epsilon, alpha):
    model, direction = two_classes(seed)
    images = images_for(3, seed).double()
    alpha_used = min(alpha, epsilon)
    offset = (images + alpha_used * random_signs(images, seed=seed)).clamp(0, 1)
    expected = (offset + (epsilon - alpha_used) * direction.sign()).clamp(0, 1)
    found = RFGSM(epsilon, alpha=alpha, seed=seed)(model, images, torch.zeros(3, dtype=torch.int64))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_the_offset_of_rfgsm_is_half_of_epsilon_by_default():
    model, images, labels = make("plain"), images_for(4), torch.zeros(4, dtype=torch.int64)
    assert torch.equal(RFGSM(0.2)(model, images, labels), RFGSM(0.2, alpha=0.1)(model, images, labels))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), epsilon=st.floats(0, 1), step_size=st.none() | st.floats(0, 2))
def test_rsfgsm_has_a_closed_form_of_its_own(seed, epsilon, step_size):
    model, direction = two_classes(seed)
    images = images_for(3, seed).double()
    start = Linf(epsilon=epsilon).random_start(images, seed=seed)
    moved = start + (1.25 * epsilon if step_size is None else step_size) * direction.sign()
    expected = moved.clamp(images - epsilon, images + epsilon).clamp(0, 1)
    found = RSFGSM(epsilon, step_size=step_size, seed=seed)(model, images, torch.zeros(3, dtype=torch.int64))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_frsm_adds_random_signs():
    images = torch.full((2, *SHAPE), 0.5)
    found = FRSM(0.25, seed=5)(None, images, torch.zeros(2, dtype=torch.int64))
    assert torch.equal(found, 0.5 + 0.25 * random_signs(images, seed=5))


@pytest.mark.parametrize("attack", [FGSM(0.1), RFGSM(0.1, alpha=0.05), FRSM(0.1)])
def test_a_sweep_takes_one_gradient(attack):
    model, images = Watched(make("plain")), images_for(4)
    list(attack.sweep(model, images, torch.zeros(4, dtype=torch.int64), epsilons=[0.05, 0.1, 0.2, 0.3]))
    taken = int(attack.needs_gradients)
    assert (len(model.points), model.backwards) == (taken, taken)


@pytest.mark.parametrize(
    ("make_attack", "message"),
    [
        (lambda: FGSM(math.nan), "^epsilon: .* got nan"),
        (lambda: RFGSM(0.1, alpha=-0.1), r"^alpha: expected a number in \[0, 1\], got -0.1"),
        (lambda: RFGSM(0.1, alpha=math.nan), "^alpha: .* got nan"),
        (lambda: RSFGSM(0.1, step_size=-1), "^step_size: expected a number from 0 up, got -1"),
        (lambda: RSFGSM(0.1, step_size=math.nan), "^step_size: .* got nan"),
    ],
)
def test_impossible_settings_are_refused(make_attack, message):
    with pytest.raises(ValueError, match=message):
        make_attack()
