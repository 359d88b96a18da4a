"""PGD, I-FGSM and MI-FGSM."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
from attack_cases import CLASSES, EPSILON, SHAPE, Watched, images_for, make, shown
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from unmask.attacks import IFGSM, MIFGSM, PGD, predict


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    steps=st.integers(1, 6),
    step_size=st.floats(0.001, 0.2),
    start=st.sampled_from(["random", "clean"]),
)
def test_with_best_so_far_a_step_more_never_raises_accuracy(seed, steps, step_size, start):
    model, images = make("plain", seed=seed), images_for(12, seed)
    labels = predict(model, images)
    attack = PGD(EPSILON, steps=steps, step_size=step_size, start=start, seed=seed)
    fewer, more = attack(model, images, labels), attack.replace(steps=steps + 1)(model, images, labels)
    assert ((predict(model, fewer) != labels) <= (predict(model, more) != labels)).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), keep=st.sampled_from(["best", "last"]))
def test_a_restart_more_never_raises_accuracy(seed, keep):
    model, images = make("plain", seed=seed), images_for(12, seed)
    labels = predict(model, images)
    attack = PGD(EPSILON, steps=2, restarts=1, keep=keep, seed=seed)
    fewer, more = attack(model, images, labels), attack.replace(restarts=3)(model, images, labels)
    assert ((predict(model, fewer) != labels) <= (predict(model, more) != labels)).all()


@pytest.mark.parametrize("keep", ["best", "last"])
def test_every_restart_starts_elsewhere(keep):
    model, images, seen = make("plain"), images_for(4), []

    def watched(points):
        seen.append(points.detach().clone())
        return model(points)

    PGD(EPSILON, steps=1, restarts=3, keep=keep)(watched, images, torch.zeros(4, dtype=torch.int64))
    starts = seen[::2]  # after each start, a look at where the step led
    assert len(starts) == 3
    assert all(not torch.equal(one, other) for one, other in combinations([images, *starts], 2))


def test_best_keeps_a_misclassified_point_over_one_of_higher_loss():
    """Cross entropy rises towards both ends, but only in a strip near the start is the class wrong."""

    def model(images):
        x = images.flatten(1).mean(1)
        return torch.stack([torch.where((x > 0.52) & (x < 0.58), -1.0, 1.0), x], dim=1)

    images, labels = torch.full((1, *SHAPE), 0.5), torch.tensor([0])
    attack = PGD(0.3, steps=6, step_size=0.05, start="clean")
    assert predict(model, attack(model, images, labels)) == 1
    assert predict(model, attack.replace(keep="last")(model, images, labels)) == 0


def test_the_default_step_is_two_and_a_half_epsilon_over_the_steps():
    model, images, labels = make("plain"), images_for(4), torch.zeros(4, dtype=torch.int64)
    given_size = PGD(0.2, steps=5, step_size=0.1, keep="last")
    assert torch.equal(given_size.replace(step_size=None)(model, images, labels), given_size(model, images, labels))


class Remembering(nn.Module):
    """A convolution, then ``last``; records the strides of its input."""

    def __init__(self, last):
        super().__init__()
        self.convolution, self.dense, self.last, self.strides = nn.Conv2d(1, 4, 3), nn.Linear(64, CLASSES), last, []

    def forward(self, images):
        self.strides.append(images.stride())
        return self.dense(self.last(self.convolution(images)))


def test_a_model_that_fails_on_the_fastest_layout_gets_the_usual_one():
    able, unable = Remembering(lambda x: x.flatten(1)), Remembering(lambda x: x.view(len(x), -1))
    unable.load_state_dict(able.state_dict())
    images, labels = images_for(8), torch.zeros(8, dtype=torch.int64)
    attack = PGD(EPSILON, steps=3)
    torch.testing.assert_close(attack(able, images, labels), attack(unable, images, labels))
    assert set(able.strides) == {(36, 1, 6, 1)}
    assert set(unable.strides[1:]) == {(36, 36, 6, 1)}


def test_ifgsm_is_pgd_from_the_image_that_keeps_the_last_point():
    model, images, labels = make("plain"), images_for(6), torch.zeros(6, dtype=torch.int64)
    equal = PGD(0.2, steps=5, step_size=0.04, start="clean", keep="last")
    assert torch.equal(IFGSM(0.2, steps=5)(model, images, labels), equal(model, images, labels))


def test_mifgsm_without_momentum_is_ifgsm():
    model, images, labels = make("plain"), images_for(6), torch.zeros(6, dtype=torch.int64)
    found = MIFGSM(0.2, steps=5, decay=0.0)(model, images, labels)
    assert torch.equal(found, IFGSM(0.2, steps=5)(model, images, labels))


@pytest.mark.parametrize(("decay", "end"), [(0.4, 0.5), (0.6, 0.7)])
def test_the_momentum_of_mifgsm_adds_normalised_gradients(decay, end):
    """The gradients are (3, 0) and then (-1, -1): normalised, the first pixel's momentum is ``decay - 1/2``."""

    def ridge(images):
        x, other = images.flatten(1).T
        height = torch.where(x < 0.55, 3 * x, -x - other)
        return torch.stack([torch.zeros_like(height), height], dim=1)

    images = torch.full((1, 1, 1, 2), 0.5, dtype=torch.float64)
    attack = MIFGSM(0.2, steps=2, decay=decay, loss=lambda logits, labels: logits[:, 1])
    assert attack(ridge, images, torch.tensor([0])).flatten()[0] == pytest.approx(end)


@pytest.mark.parametrize(
    ("attack", "forwards", "backwards"),
    [
        (IFGSM(EPSILON, steps=5), 5, 5),
        (MIFGSM(EPSILON, steps=5), 5, 5),
        (PGD(EPSILON, steps=5, keep="last"), 5, 5),
        (PGD(EPSILON, steps=5), 6, 5),
        (PGD(EPSILON, steps=5, restarts=2), 12, 10),
    ],
    ids=shown,
)
def test_passes_through_the_model(attack, forwards, backwards):
    model, images = Watched(make("plain")), images_for(4)
    attack(model, images, predict(make("plain"), images))
    assert (len(model.points), model.backwards) == (forwards, backwards)


@pytest.mark.parametrize(
    ("make_attack", "message"),
    [
        (lambda: IFGSM(0.1, steps=0), "^steps: expected a whole number above 0, got 0"),
        (lambda: MIFGSM(0.1, steps=1.5), "^steps: expected a whole number above 0, got 1.5"),
        (lambda: MIFGSM(0.1, decay=-1), "^decay: expected a number from 0 up, got -1"),
        (lambda: PGD(0.1, steps=0), "^steps: expected a whole number above 0, got 0"),
        (lambda: PGD(0.1, restarts=0), "^restarts: expected a whole number above 0, got 0"),
        (lambda: PGD(0.1, step_size=-1), "^step_size: expected a number from 0 up, got -1"),
        (lambda: PGD(0.1, step_size=math.nan), "^step_size: .* got nan"),
        (lambda: PGD(0.1, start="corner"), "^start: expected 'random' or 'clean', got 'corner'"),
        (lambda: PGD(0.1, keep="first"), "^keep: expected 'best' or 'last', got 'first'"),
    ],
)
def test_impossible_settings_are_refused(make_attack, message):
    with pytest.raises(ValueError, match=message):
        make_attack()
