"""Optimizers: the printed Adam's readings, and those of the user's own."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import LBFGS, SGD, AdamW, Rprop

from unmask.training.optimizers import OPTIMIZERS, Cosine, PrintedAdam, Steps, make_optimizer


def steps(optimizer, parameter, gradients):
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
        yield parameter.detach().clone()


@pytest.fixture
def gradients():
    return list(torch.randn(40, 6, generator=torch.Generator().manual_seed(0)) * 0.01)


def test_the_standard_reading_is_torchs_adam(gradients):
    ours, theirs = nn.Parameter(torch.ones(6)), nn.Parameter(torch.ones(6))
    printed = PrintedAdam([ours], lr=0.01, weight_decay=0.1)
    reference = torch.optim.Adam([theirs], lr=0.01, weight_decay=0.1)
    for one, other in zip(steps(printed, ours, gradients), steps(reference, theirs, gradients), strict=True):
        torch.testing.assert_close(one, other)


def test_the_double_corrected_reading_differs_by_the_factor_on_alpha():
    corrected, standard = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    gradient = [torch.ones(1)]
    (one,) = steps(PrintedAdam([corrected], lr=1.0, reading="double_corrected"), corrected, gradient)
    (other,) = steps(PrintedAdam([standard], lr=1.0), standard, gradient)
    assert one / other == pytest.approx((1 - 0.999) ** 0.5 / (1 - 0.9))


@pytest.mark.parametrize("size", [1e-2, 1e-1, 1.0])
def test_the_literal_reading_overflows_between_20_and_30_updates_and_freezes(size):
    parameter = nn.Parameter(torch.zeros(3))
    optimizer = PrintedAdam([parameter], lr=0.1, reading="literal")
    overflowed, places = None, []
    for update, place in enumerate(steps(optimizer, parameter, [torch.full((3,), size)] * 60), start=1):
        places.append(place)
        if overflowed is None and optimizer.state[parameter]["v"].isinf().all():
            overflowed = update
    assert overflowed is not None
    assert 15 <= overflowed <= 30
    assert all(torch.equal(place, places[overflowed]) for place in places[overflowed:])
    assert torch.isfinite(places[-1]).all()


def test_the_readings_go_by_name():
    parameters = [nn.Parameter(torch.zeros(1))]
    assert make_optimizer("adam-literal", parameters, learning_rate=0.1).defaults["reading"] == "literal"
    assert {"adam", "adam-double-corrected", "adam-literal"} <= set(OPTIMIZERS)


def test_a_cosine_stays_at_0_after_its_end():
    assert [Cosine(updates=100, warmup=10)(update) for update in (100, 150, 200)] == [0, 0, 0]


class NoOptimizer:
    def __init__(self, parameters, lr):
        pass


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("lion", "expected one of sgd, momentum, .*, or a class of torch.optim, got 'lion'"),
        (SGD([torch.zeros(1)]), "or a class of torch.optim, got a SGD"),
        (partial(SGD, nesterof=True), r"nesterof=True\) cannot be made: .* unexpected keyword"),
        (LBFGS, "LBFGS'>, which asks for a closure"),
        (NoOptimizer, "NoOptimizer'> to make one of torch's, got NoOptimizer"),
    ],
)
def test_what_makes_no_optimizer_is_refused(wanted, message):
    with pytest.raises(ValueError, match=f"optimizer: .*{message}"):
        make_optimizer(wanted, [nn.Parameter(torch.zeros(1))], learning_rate=0.1)


@pytest.mark.parametrize(("given", "used"), [(0.0, 0.01), (0.3, 0.3)])
def test_a_weight_decay_of_0_leaves_it_to_the_class(given, used):
    wanted = partial(AdamW, weight_decay=0.01)
    made = make_optimizer(wanted, [nn.Parameter(torch.zeros(1))], learning_rate=0.1, weight_decay=given)
    assert made.defaults["weight_decay"] == used


def test_a_class_without_a_weight_decay_is_made_all_the_same():
    made = make_optimizer(Rprop, [nn.Parameter(torch.zeros(1))], learning_rate=0.1)
    assert made.defaults["lr"] == 0.1


def test_a_warm_up_rises_in_a_line_to_where_the_steps_are():
    schedule = Steps(at=(4,), factors=(0.5,), warmup=5)
    assert [schedule(update) for update in range(7)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.5, 0.5, 0.5])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"at": (4, 2), "factors": (0.5, 0.1)}, r"steps: expected one factor for each rising update, got \(4, 2\)"),
        ({"at": (), "factors": (), "warmup": -1}, "warmup: expected from 0 updates up, got -1"),
    ],
)
def test_steps_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Steps(**settings)


def test_an_unknown_reading_is_refused():
    with pytest.raises(ValueError, match="reading: expected one of standard, double_corrected, literal, got 'other'"):
        PrintedAdam([nn.Parameter(torch.zeros(1))], reading="other")
