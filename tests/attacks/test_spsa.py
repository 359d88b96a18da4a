"""SPSA."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from attack_cases import EPSILON, SHAPE, Watched, images_for, make, never_wrong, shown, unbeatable
from hypothesis import given, settings
from hypothesis import strategies as st

from unmask.attacks import PGD, SPSA, predict
from unmask.losses import log_odds, margin
from unmask.models.masked import Quantised, ZeroBackward


def near_one(seed, pixels=8):
    """A linear model in float64 with weights of a size between 0.5 and 1.5, which never leaves class 0."""
    generator = torch.Generator().manual_seed(seed)
    weights = 3 * torch.rand(pixels, generator=generator, dtype=torch.float64) - 1.5
    weights = weights.sign() * (0.5 + weights.abs() / 1.5)
    return lambda images: torch.stack([0 * images.flatten(1).sum(1) + 99, images.flatten(1) @ weights], dim=1), weights


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), epsilon=st.floats(0.001, 1), delta=st.floats(0.001, 1))
def test_a_step_of_spsa_on_a_linear_model_goes_along_the_gradients_signs(seed, epsilon, delta):
    """The estimate errs by at most |w| sqrt(8 / 4096), a tenth of the smallest weight, in one case of three."""
    model, weights = near_one(seed)
    images = images_for(2, seed, (1, 2, 4)).double()
    attack = SPSA(epsilon, steps=1, samples=4096, delta=delta, learning_rate=epsilon, seed=seed)
    found = attack(model, images, torch.zeros(2, dtype=torch.int64))
    best = (images + epsilon * weights.sign().view(1, 2, 4)).clamp(0, 1)
    torch.testing.assert_close(found, best, rtol=0, atol=1e-9)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), label=st.integers(0, 1))
def test_spsa_comes_near_the_optimum_of_a_linear_model_that_withstands_it(seed, label):
    model, uphill = unbeatable(seed, label)
    images, labels = images_for(2, seed).double(), torch.full((2,), label)
    attack = SPSA(0.2, steps=60, delta=0.05, learning_rate=0.05, seed=seed)
    found, best = attack(model, images, labels), (images + 0.2 * uphill).clamp(0, 1)
    clean, reached, possible = (margin(model(x), labels) for x in (images, found, best))
    assert (reached - clean >= 0.95 * (possible - clean)).all()


def test_spsa_asks_along_signs_at_even_odds_that_no_two_samples_share():
    model, images = Watched(never_wrong), torch.full((2, *SHAPE), 0.5, dtype=torch.float64)
    images[1] += 0.1
    SPSA(0.1, steps=2, samples=100, delta=0.25)(model, images, torch.zeros(2, dtype=torch.int64))
    asked = [points.view(2, 2, -1, *SHAPE) for points in model.points if len(points) > 2]
    plus, minus = (torch.cat([points[end] for points in asked], dim=1) - images[:, None] for end in (0, 1))
    assert plus.shape[1] == 200
    assert torch.allclose(plus, -minus)
    assert torch.allclose(plus.abs(), torch.tensor(0.25).double())
    rows = plus.sign().flatten(2).flatten(0, 1)
    assert len(rows.unique(dim=0)) == 400
    assert (rows.mean(0).abs() < 0.2).all()  # four deviations of the mean of 400


@pytest.mark.parametrize("hidden", [ZeroBackward, partial(Quantised, levels=21)], ids=["zero gradient", "rounding"])
def test_spsa_needs_no_gradient(perceptron, held_out, hidden):
    """``delta`` is twice the rounding's step of 0.05; gradients find nothing here, and on the bare network the same."""
    images, labels = held_out.images[:60], held_out.labels[:60]
    masked = hidden(perceptron)
    wrong = {
        name: (predict(model, attack(model, images, labels)) != labels).double().mean()
        for name, model, attack in [
            ("bare", perceptron, PGD(0.15, loss=log_odds)),
            ("blind", masked, PGD(0.15, start="clean", loss=log_odds)),
            ("estimated", masked, SPSA(0.15, steps=30, delta=0.1, learning_rate=0.02)),
        ]
    }
    assert wrong["blind"] < 0.1 < 0.5 < wrong["bare"]
    assert wrong["estimated"] > wrong["bare"] - 0.07


@pytest.mark.parametrize(
    ("attack", "forwards"),
    [(SPSA(EPSILON, steps=5, samples=32), 11), (SPSA(EPSILON, steps=5, samples=33), 16)],
    ids=shown,
)
def test_passes_through_a_model_that_is_never_fooled(attack, forwards):
    bare, images = Quantised(make("plain"), levels=2), images_for(4)
    model = Watched(bare)
    attack(model, images, predict(bare, images))
    assert (len(model.points), any(model.recorded)) == (forwards, False)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "^steps: expected a whole number above 0, got 0"),
        ({"samples": 0}, "^samples: expected a whole number above 0, got 0"),
        ({"delta": 0}, "^delta: expected a number above 0 and up to 1, got 0"),
        ({"learning_rate": math.nan}, "^learning_rate: .* got nan"),
    ],
)
def test_impossible_settings_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        SPSA(0.1, **wrong)
