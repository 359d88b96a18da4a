"""Optimizers by name and by a factory, and schedules."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import LBFGS, SGD, AdamW, Rprop

from unmask.training.optimizers import OPTIMIZERS, Cosine, Steps, make_optimizer


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_goes_downhill_by_its_name(name):
    parameter = nn.Parameter(torch.ones(3))
    optimizer = make_optimizer(name, [parameter], learning_rate=0.01)
    for _ in range(5):
        optimizer.zero_grad()
        parameter.square().sum().backward()
        optimizer.step()
    assert optimizer.defaults["lr"] == 0.01
    assert ((parameter > 0) & (parameter < 1)).all()


def test_a_factory_gets_the_parameters_and_the_learning_rate():
    def factory(parameters, learning_rate):
        return SGD(parameters, lr=learning_rate / 2)

    assert make_optimizer(factory, [nn.Parameter(torch.zeros(1))], learning_rate=0.1).defaults["lr"] == 0.05


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
