"""Auto-PGD, and what it shares with the attacks that leave an example once it is misclassified."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from attack_cases import (
    EPSILON,
    SHAPE,
    Watched,
    by_brightness,
    images_for,
    make,
    never_wrong,
    shown,
    unbeatable,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from unmask.attacks import APGD, PGD, SPSA, Square, TargetedAPGD, predict
from unmask.losses import dlr
from unmask.models.masked import Quantised


@pytest.mark.parametrize(
    "attack",
    [
        APGD(0, steps=4),
        APGD(0, steps=4, restarts=2, loss=dlr),
        TargetedAPGD(0, steps=4),
        TargetedAPGD(0, steps=4, targets=1),
    ],
    ids=shown,
)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), epsilon=st.floats(0, 1), label=st.integers(0, 1))
def test_the_optimum_of_a_linear_model_is_reached(attack, seed, epsilon, label):
    model, uphill = unbeatable(seed, label)
    images = images_for(3, seed).double()
    found = attack.replace(epsilon=epsilon)(model, images, torch.full((3,), label))
    torch.testing.assert_close(found, (images + epsilon * uphill).clamp(0, 1), rtol=0, atol=1e-9)


@pytest.mark.parametrize("attack", [Square(0.1, queries=40, restarts=2), APGD(0.1, restarts=2)], ids=shown)
def test_examples_leave_once_they_are_misclassified(attack):
    model, images = Watched(by_brightness), torch.stack([torch.full(SHAPE, level) for level in (0.1, 0.45, 0.6)])
    found = attack(model, images, torch.zeros(3, dtype=torch.int64))
    counts = [len(points) for points in model.points]
    assert counts[:2] == [3, 2]
    assert sorted(counts, reverse=True) == counts
    assert counts[-1] == 1
    assert torch.equal(found[2], images[2])
    assert predict(by_brightness, found).tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    "attack",
    [Square(0.3, queries=10**9), APGD(0.3, steps=10**9), SPSA(0.3, steps=10**9)],
    ids=shown,
)
def test_the_attack_ends_when_no_example_is_left(attack):
    model, images = Watched(by_brightness), torch.full((2, *SHAPE), 0.49)
    attack(model, images, torch.zeros(2, dtype=torch.int64))
    assert len(model.points) < 100


@pytest.mark.parametrize(
    ("attack", "more"),
    [
        (Square(EPSILON, queries=6), {"restarts": 3}),
        (APGD(EPSILON, steps=3), {"restarts": 3}),
        (TargetedAPGD(EPSILON, steps=3, targets=1), {"restarts": 2}),
        (TargetedAPGD(EPSILON, steps=3, targets=1), {"targets": 3}),
    ],
    ids=shown,
)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_more_runs_never_raise_accuracy(attack, more, seed):
    model, images = make("plain", seed=seed), images_for(12, seed)
    labels, attack = predict(model, images), attack.replace(seed=seed)
    fewer, more = attack(model, images, labels), attack.replace(**more)(model, images, labels)
    assert ((predict(model, fewer) != labels) <= (predict(model, more) != labels)).all()


def test_apgd_halves_its_steps_until_it_meets_the_top_of_a_hill():
    """A step of one size for all time goes back and forth over it."""
    tops = torch.tensor([0.42, 0.5, 0.61], dtype=torch.float64).view(3, 1)

    def hill(images):
        height = 1 + (images.flatten(1) - tops[: len(images)]).abs().sum(1)
        return torch.stack([height, torch.zeros_like(height)], dim=1)

    images, labels = torch.full((3, 1, 1, 2), 0.5, dtype=torch.float64), torch.zeros(3, dtype=torch.int64)
    images[:, 0, 0, 0] += torch.tensor([0.01, 0.02, 0.03])  # equal images would have equal starts
    attack = APGD(0.25, steps=100)
    error = (attack(hill, images, labels).flatten(1) - tops).abs().amax(1)
    fixed = PGD(0.25, steps=100, step_size=0.1)(hill, images, labels)
    assert (error < 0.005).all()
    assert (error < 0.2 * (fixed.flatten(1) - tops).abs().amax(1)).all()


@pytest.mark.parametrize("epsilon", [0.1, 0.3])
def test_a_restart_of_apgd_starts_elsewhere_in_the_ball(epsilon):
    model, images = Watched(never_wrong), images_for(4)
    APGD(epsilon, steps=1, restarts=3)(model, images, torch.zeros(4, dtype=torch.int64))
    starts = model.points[1::2]
    assert len(starts) == 3
    assert all((start - images).abs().max() <= epsilon + 1e-6 for start in starts)
    assert all(not torch.equal(one, other) for one, other in combinations([images, *starts], 2))


def test_each_target_has_a_run_of_its_own_in_the_order_of_the_logits():
    """The one step of each run raises the target's pixel the most."""
    images = torch.tensor([0.9, 0.1, 0.3, 0.2, 0.15]).view(1, 1, 1, 5).double()
    model = Watched(lambda x: x.flatten(1))
    TargetedAPGD(0.01, steps=1, targets=3)(model, images, torch.tensor([0]))
    assert len(model.points) == 1 + 3 * 2
    starts, ends = model.points[1::2], model.points[2::2]
    raised = [int((end - start).flatten().argmax()) for start, end in zip(starts, ends, strict=True)]
    assert raised == [2, 3, 4]


def test_targets_beyond_the_classes_are_left_out():
    model, images = make("plain"), images_for(6)
    labels = predict(model, images)
    attack = TargetedAPGD(0.02, steps=3, targets=3)
    assert torch.equal(attack.replace(targets=9)(model, images, labels), attack(model, images, labels))


def test_the_targeted_loss_needs_four_classes():
    with pytest.raises(ValueError, match=r"^targeted_dlr: expected at least 4 classes, got 2"):
        TargetedAPGD(0.1)(by_brightness, images_for(2) * 0.5, torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize(
    ("attack", "forwards", "backwards"),
    [
        (APGD(EPSILON, steps=5), 7, 5),
        (APGD(EPSILON, steps=5, restarts=3), 19, 15),
        (TargetedAPGD(EPSILON, steps=5, targets=2), 13, 10),
        (TargetedAPGD(EPSILON, steps=5, restarts=2), 37, 30),
    ],
    ids=shown,
)
def test_passes_through_a_model_that_is_never_fooled(attack, forwards, backwards):
    bare, images = Quantised(make("plain"), levels=2), images_for(4)
    model = Watched(bare)
    attack(model, images, predict(bare, images))
    assert (len(model.points), model.backwards) == (forwards, backwards)


@pytest.mark.parametrize(
    ("make_attack", "message"),
    [
        (lambda: APGD(0.1, steps=0), "^steps: expected a whole number above 0, got 0"),
        (lambda: APGD(0.1, restarts=0), "^restarts: expected a whole number above 0, got 0"),
        (lambda: TargetedAPGD(0.1, steps=0), "^steps: expected a whole number above 0, got 0"),
        (lambda: TargetedAPGD(0.1, targets=0), "^targets: expected a whole number above 0, got 0"),
    ],
)
def test_impossible_settings_are_refused(make_attack, message):
    with pytest.raises(ValueError, match=message):
        make_attack()
