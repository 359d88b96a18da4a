"""Data for the report: the examples that are chosen, and the loss around them, exact where theory has the answer."""

from __future__ import annotations

import base64
import copy
import math
from collections import Counter

import pytest
import torch
from torch import nn

from unmask.attacks import Outcome
from unmask.auditing import prepare
from unmask.auditing.report_data import EXAMPLES, STEPS, environment, examples, log_odds_histogram, loss_surfaces
from unmask.auditing.worst import Worst
from unmask.models.masked import InputNoise, ZeroBackward

EPSILON = 0.1


def outcome(images, correct, loss):
    return Outcome(images, torch.where(correct, 0, 1), correct, *2 * [torch.full((len(images),), loss)])


def chosen(fallen, *, size=8, samples=200):
    """Of that many examples, the attack of each number felled those named; the first is the reference attack."""
    images = torch.zeros(samples, 1, size, size)
    everything = torch.ones(samples, dtype=torch.bool)
    clean = outcome(images, everything, -1.0)
    worst, outcomes = Worst(clean), []
    for number, rows in enumerate(fallen):
        correct = everything.clone()
        correct[list(rows)] = False
        outcomes.append(outcome(images, correct, float(number)))
        worst.add(outcomes[-1])
    names = [f"attack {number}" for number in range(len(fallen))]
    return examples(images, torch.zeros(samples, dtype=torch.int64), clean, outcomes[0], worst, attacks=names)


def test_examples_of_every_kind_and_of_every_attack_are_shown():
    shown = chosen([range(10, 40), range(100, 103), range(40, 100)])
    assert Counter(one.attack for one in shown) == {"attack 0": 6, "attack 1": 3, "attack 2": 15, None: 6}
    assert [one.attack for one in shown[:6]] == ["attack 2", "attack 1"] * 3
    assert len({one.index for one in shown}) == sum(EXAMPLES)


def test_kinds_with_few_examples_leave_room_for_others():
    assert Counter(one.attack for one in chosen([range(10), range(0)])) == {"attack 0": 10, None: 20}


@pytest.mark.parametrize(("size", "count"), [(32, 30), (224, 7), (640, 1)])
def test_large_images_are_few(size, count):
    assert len(chosen([range(10), range(10, 30)], size=size, samples=40)) == count


def around(model, task, rows=(0, 7), epsilon=EPSILON):
    return loss_surfaces(prepare(model, *task, epsilon=epsilon), rows)


@pytest.fixture
def greys():
    """Nine images away from 0 and 1, in float64, and their labels."""
    generator = torch.Generator().manual_seed(1)
    images = 0.3 + 0.4 * torch.rand(9, 1, 8, 8, generator=generator, dtype=torch.float64)
    return images, torch.zeros(9, dtype=torch.int64)


def test_surface_of_two_linear_classes_is_a_plane(greys):
    """L = z_1 - z_0 is linear, and its slope along the sign of its gradient is the gradient's L1 norm."""
    weight = torch.randn(64, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def model(images):
        score = images.flatten(1) @ weight
        return torch.stack([-score / 2, score / 2], 1)

    step = 2 * EPSILON / (STEPS - 1)
    steepest = step * float(weight.abs().sum())
    for one in around(model, greys):
        loss = torch.tensor(one.loss, dtype=torch.float64)
        upwards, sideways = loss.diff(dim=0), loss.diff(dim=1)
        assert loss.shape == (STEPS, STEPS)
        at_image = float(greys[0][one.index].flatten() @ weight)
        assert one.loss[STEPS // 2][STEPS // 2] == pytest.approx(at_image, abs=1e-5)
        torch.testing.assert_close(upwards, torch.full_like(upwards, steepest), atol=1e-4, rtol=0)
        assert float(sideways.max() - sideways.min()) < 2e-4
        assert float(sideways.abs().max()) < 0.7 * steepest
        assert (one.gradient[0], one.gradient[STEPS // 2], one.gradient[-1]) == (-EPSILON, 0, EPSILON)


def test_points_are_images(greys):
    """A model that says whether it was shown anything outside [0, 1]."""
    images = torch.zeros_like(greys[0])

    def model(x):
        assert 0 <= x.min() <= x.max() <= 1
        return x.flatten(1)[:, :2]

    assert len(around(model, (images, greys[1]))) == 2


def test_without_a_gradient_the_surface_is_flat_along_it(linear, held_out):
    (one,) = around(ZeroBackward(linear), (held_out.images, held_out.labels), rows=[3])
    loss = torch.tensor(one.loss)
    assert float(loss.diff(dim=0).abs().max()) == 0
    assert float(loss.diff(dim=1).abs().max()) > 0


def test_random_model_has_the_same_surface_twice(linear, held_out):
    model, greys = InputNoise(linear), (held_out.images, held_out.labels)
    state = torch.get_rng_state()
    assert around(model, greys) == around(model, greys)
    assert torch.equal(torch.get_rng_state(), state)


def test_surface_that_is_not_finite_is_left_out(linear, greys):
    steep = nn.Sequential(copy.deepcopy(linear), nn.Hardtanh(-1e30, 1e30)).double()
    images, labels = greys
    near = lambda x: (x[:, None] - images).abs().amax((2, 3, 4)).amin(1)[:, None] < 0.05  # noqa: E731
    broken = lambda x: torch.where(near(x), steep(x), math.nan)  # noqa: E731
    assert around(broken, greys, rows=[0]) == []
    assert len(around(steep, (images, labels), rows=[0])) == 1


@pytest.mark.parametrize("changes", [{"epsilon": 0.0}, {"rows": []}])
def test_without_room_or_examples_there_is_no_surface(changes, linear, held_out):
    assert around(linear, (held_out.images, held_out.labels), **changes) == []


def test_surfaces_of_an_audit_are_of_its_first_examples(tiny_plain):
    assert [one.index for one in tiny_plain.surfaces] == [one.index for one in tiny_plain.examples[:3]]
    assert len(tiny_plain.surfaces) == 3


def test_histogram_has_forty_bins_over_all_values():
    one = log_odds_histogram([-3.5, 0.0, 0.2, 12.0])
    assert (len(one.counts), len(one.edges), sum(one.counts)) == (40, 41, 4)
    assert (one.edges[0], one.edges[-1]) == (-4, 13)
    assert set(one.marks) == {"p_y rounds to 1", "gradient all zero"}


def test_examples_are_encoded_as_bytes(tiny_plain, task):
    """A pixel is rounded to one of 256 levels."""
    for one in tiny_plain.examples:
        pixels = torch.frombuffer(bytearray(base64.b64decode(one.clean)), dtype=torch.uint8).view(one.shape)
        assert float((pixels / 255 - task[0][one.index]).abs().max()) <= 0.5 / 255 + 1e-6
        assert (one.attack is None) == tiny_plain.correct["robust"][one.index]


def test_environment_names_what_was_used():
    found = environment(torch.device("cpu"), torch.float64)
    assert found["precision"] == "float64"
    assert found["torch"] == torch.__version__
    assert found["device"].startswith("cpu, ")
