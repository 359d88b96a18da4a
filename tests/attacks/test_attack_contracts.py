"""The contracts that every attack of the registry keeps, in both precisions and on several networks."""

from __future__ import annotations

import copy
import math
import pickle
import traceback
from dataclasses import FrozenInstanceError
from itertools import product
from pathlib import Path

import pytest
import torch
from attack_cases import (
    CASES,
    CLASSES,
    DTYPES,
    EPSILON,
    SHAPE,
    Watched,
    arranged,
    images_for,
    make,
    small,
    unbeatable,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import unmask
from unmask.attacks import ATTACKS, FORWARD, Attack, Transfer, predict

OURS = str(Path(unmask.__file__).parent)
CALLS = list(product(CASES, DTYPES, ("plain", "saturated", "batch-norm")))


@pytest.fixture(params=CALLS, ids="-".join)
def case(request):
    """Return an attack, a model, images and labels; all labels but the first are the model's predictions."""
    name, dtype, network = request.param
    return arranged(name, dtype, network)


# --- images


def test_the_result_is_in_the_ball_and_in_range_and_has_the_images_dtype(case):
    attack, model, images, labels = case
    found = attack(model, images, labels)
    assert found.shape == images.shape
    assert found.dtype == images.dtype
    assert found.min() >= 0
    assert found.max() <= 1
    assert 0 < (found - images).abs().max() <= EPSILON + torch.finfo(images.dtype).eps


def test_epsilon_zero_returns_the_input(case):
    attack, model, images, labels = case
    assert torch.equal(attack.replace(epsilon=0.0)(model, images, labels), images)


def test_epsilon_one_leaves_only_the_range_of_pixels(case):
    attack, model, images, labels = case
    found = attack.replace(epsilon=1)(model, images, labels)
    assert found.min() >= 0
    assert found.max() <= 1


def test_no_images_give_no_images(case):
    attack, model, images, labels = case
    found = attack(model, images[:0], labels[:0])
    assert found.shape == (0, *SHAPE)
    assert found.dtype == images.dtype


# --- random numbers


def test_an_example_has_the_same_result_in_any_batch_and_order(case):
    attack, model, images, labels = case
    together = attack(model, images, labels)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(3))
    shuffled = torch.empty_like(images)
    shuffled[order] = attack(model, images[order], labels[order])
    alone = torch.cat([attack(model, images[row : row + 1], labels[row : row + 1]) for row in range(len(images))])
    rounding = 1000 * torch.finfo(images.dtype).eps
    torch.testing.assert_close(shuffled, together, rtol=0, atol=rounding)
    torch.testing.assert_close(alone, together, rtol=0, atol=rounding)


def test_a_second_call_gives_the_same_result(case):
    attack, model, images, labels = case
    first = attack(model, images, labels)
    torch.rand(1)  # the caller's own random numbers must not matter
    assert torch.equal(attack(model, images, labels), first)


@pytest.mark.parametrize("attack", CASES.values(), ids=CASES)
def test_both_precisions_draw_the_same_random_numbers(attack):
    model, _ = unbeatable(0, 0)
    images, labels = images_for(6), torch.zeros(6, dtype=torch.int64)
    single, double = (attack(model, images.to(dtype), labels) for dtype in DTYPES.values())
    torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-3)


# --- settings


def test_a_sweep_equals_the_single_calls(case):
    attack, model, images, labels = case
    epsilons = [0.0, "1/50", 0.1, 0.3]
    swept = list(attack.sweep(model, images, labels, epsilons=epsilons))
    assert len(swept) == len(epsilons)
    for epsilon, found in zip(epsilons, swept, strict=True):
        assert torch.equal(found, attack.replace(epsilon=epsilon)(model, images, labels))


@pytest.mark.parametrize("name", ATTACKS)
def test_epsilon_leads_as_a_number_or_text_and_the_rest_is_given_by_name(name):
    kind = ATTACKS[name]
    attack = kind("8/255")
    assert attack == kind(epsilon=8 / 255) == kind(8 / 255)
    assert attack.epsilon == attack.threat.epsilon == attack.settings["epsilon"] == 8 / 255
    with pytest.raises(TypeError, match="positional"):
        kind(0.1, 3)
    with pytest.raises(ValueError, match=r"^epsilon: expected a number in \[0, 1\], got 8"):
        kind(8)


@pytest.mark.parametrize("attack", CASES.values(), ids=CASES)
def test_it_is_an_attack_with_frozen_settings_that_can_be_replaced(attack):
    assert isinstance(attack, Attack)
    assert attack.name == type(attack).__name__
    assert None not in attack.settings.values()
    with pytest.raises(FrozenInstanceError):
        attack.epsilon = 0.2
    other = attack.replace(epsilon="1/4")
    assert type(other) is type(attack)
    assert other != attack
    assert other.replace(epsilon=EPSILON) == attack
    with pytest.raises(TypeError, match="nonsense"):
        attack.replace(nonsense=1)
    if not isinstance(attack, Transfer):
        assert other.settings == {**attack.settings, "epsilon": 0.25}


@pytest.mark.parametrize("attack", CASES.values(), ids=CASES)
def test_copies_are_equal(attack):
    again = pickle.loads(pickle.dumps(attack)) if not isinstance(attack, Transfer) else attack.replace()
    for one in (again, copy.copy(attack)):
        assert one == attack
        assert hash(one) == hash(attack)
        assert repr(one) == repr(attack)


# --- declarations


@pytest.mark.parametrize("attack", CASES.values(), ids=CASES)
def test_the_declared_cost_and_need_of_gradients_are_true(attack):
    """On a model that is never fooled the passes are those declared, up to one forward pass for each run."""
    attack = attack.replace(candidates=CLASSES) if "candidates" in attack.settings else attack
    model = Watched(unbeatable(0, 0)[0])
    images = images_for(3).double()
    attack(model, images, torch.zeros(3, dtype=torch.int64))
    passes = [
        len(points) * (1.0 if asked else FORWARD) for points, asked in zip(model.points, model.recorded, strict=True)
    ]
    spent = sum(passes) / len(images) + FORWARD
    runs = attack.settings.get("restarts", 1) * attack.settings.get("targets", 1)
    assert abs(attack.cost - spent) <= FORWARD * (1 + runs) + 1e-9
    assert any(model.recorded) == attack.needs_gradients


# --- closed form

LEADS = {"rfgsm": {"alpha": 0.0}, "rs-fgsm": {"step_size": 2.0}}
"""Settings with which the random starts leave the optimum to the gradient."""

ASCENDING = [name for name, kind in ATTACKS.items() if kind.needs_gradients and name != "deepfool"]
"""The attacks that look for the strongest change; DeepFool looks for the smallest."""


@pytest.mark.parametrize("name", ASCENDING)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), epsilon=st.floats(0, 1), label=st.integers(0, 1))
def test_the_optimum_of_a_linear_model_is_reached(name, seed, epsilon, label):
    model, uphill = unbeatable(seed, label)
    images = images_for(3, seed).double()
    found = small(name, epsilon, **LEADS.get(name, {}))(model, images, torch.full((3,), label))
    torch.testing.assert_close(found, (images + epsilon * uphill).clamp(0, 1), rtol=0, atol=1e-9)


NOISY = [name for name, attack in CASES.items() if "seed" in attack.settings]


@pytest.mark.parametrize("name", NOISY)
def test_another_seed_draws_other_numbers(name):
    model, images = make("plain"), images_for(4)
    labels = predict(model, images)
    attack = CASES[name].replace(epsilon=0.3)
    assert not torch.equal(attack(model, images, labels), attack.replace(seed=1)(model, images, labels))


# --- the call stack

FRAMES = {
    "fgsm": ["__call__", "input_gradient"],
    "pgd": ["__call__", "input_gradient"],
    "mi-fgsm": ["__call__", "input_gradient"],
    "apgd": ["__call__", "_climb", "input_gradient"],
}


@pytest.mark.parametrize("name", FRAMES)
def test_few_frames_lie_between_an_attack_and_the_model(name):
    found = []

    def model(images):
        if images.requires_grad:
            found.append([frame.name for frame in traceback.extract_stack() if frame.filename.startswith(OURS)])
        return unbeatable(0, 0)[0](images)

    images, labels = images_for(2), torch.zeros(2, dtype=torch.int64)
    CASES[name](model, images, labels)
    assert found[0] == FRAMES[name]
    Transfer(attack=CASES[name], proxy=lambda model: model)(model, images, labels)
    assert found[-1] == ["__call__", *FRAMES[name]]


# --- what is refused


@pytest.mark.parametrize("attack", CASES.values(), ids=CASES)
@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(2, 6, 6), torch.zeros(2, dtype=torch.int64), "^images: expected a floating tensor"),
        (torch.zeros(2, *SHAPE, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64), "^images: .* got torch.uint8"),
        (torch.full((2, *SHAPE), 255.0), torch.zeros(2, dtype=torch.int64), r"^images: expected pixels in \[0, 1\]"),
        (torch.full((2, *SHAPE), math.nan), torch.zeros(2, dtype=torch.int64), "^images: .* got nan to nan"),
        (torch.zeros(2, *SHAPE), torch.zeros(3, dtype=torch.int64), r"^labels: expected int64 of shape \(2,\), got"),
        (torch.zeros(2, *SHAPE), torch.zeros(2), "^labels: expected int64 .* got torch.float32"),
    ],
    ids=["no channels", "bytes", "grey levels", "nan", "too many labels", "float labels"],
)
def test_tensors_that_are_no_batch_of_images_are_refused(attack, images, labels, message):
    with pytest.raises(ValueError, match=message):
        attack(make("plain"), images, labels)
