"""Surrogates: networks trained on a model's outputs."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from attack_cases import accuracy
from torch import nn
from torch.nn import functional

from unmask.attacks import PGD, Transfer, train_surrogate
from unmask.losses import log_odds
from unmask.models import build
from unmask.models.masked import ScaledLogits, SoftmaxOutput, SquashedLogits, ZeroBackward

EPSILON = 0.15


@pytest.mark.parametrize(
    ("answer", "bound"),
    [
        (lambda model: model, 0.35),
        (lambda model: ScaledLogits(model, 300.0), 0.35),
        (ZeroBackward, 0.35),
        (SoftmaxOutput, 0.35),
        (SquashedLogits, 0.35),
        (lambda model: lambda x: functional.one_hot(model(x).argmax(1), 10).float(), 0.75),
    ],
    ids=["logits", "large logits", "zero gradient", "probabilities", "tanh", "decisions"],
)
def test_attacks_on_a_surrogate_transfer(perceptron, held_out, few, answer, bound):
    model = answer(perceptron)
    network = train_surrogate(model, held_out.images, epsilon=EPSILON)
    assert accuracy(model, Transfer(attack=PGD(EPSILON, steps=20, loss=log_odds), proxy=network), *few) < bound


def test_a_surrogate_is_a_function_of_the_seed_and_leaves_the_model_alone(perceptron, few):
    model = copy.deepcopy(perceptron).train()
    state = torch.get_rng_state()
    one, same = (train_surrogate(model, few[0], epsilon=0.1, rounds=2, updates=10) for _ in range(2))
    other = train_surrogate(model, few[0], epsilon=0.1, rounds=2, updates=10, seed=1)
    assert torch.equal(one(few[0]), same(few[0]))
    assert not torch.equal(one(few[0]), other(few[0]))
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert not one.training
    assert all(parameter.grad is None for parameter in (*model.parameters(), *one.parameters()))


@pytest.mark.parametrize("rounds", [1, 4])
def test_the_model_gets_one_pass_a_round_and_one_more_within_epsilon(perceptron, few, rounds):
    asked = []

    def model(images):
        assert not images.requires_grad
        asked.append(images)
        return perceptron(images)

    train_surrogate(model, few[0], epsilon=0.1, rounds=rounds, updates=8)
    points = torch.cat(asked).view(rounds + 1, *few[0].shape)
    assert torch.equal(points[0], few[0])
    assert ((points - few[0]).abs().amax((1, 2, 3, 4)) <= 0.1 + 1e-6).all()
    assert ((points - few[0]).abs().flatten(2).amax(2)[1:] > 0).all()


def test_a_surrogate_may_be_any_network_and_has_the_images_precision(perceptron, few):
    build_it = partial(build, "linear", inputs=(1, 8, 8), classes=10)
    images = few[0].double()
    network = train_surrogate(copy.deepcopy(perceptron).double(), images, epsilon=0.1, build=build_it, updates=10)
    assert [type(part) for part in network.children()] == [nn.Flatten, nn.Linear]
    assert network(images).dtype == torch.float64


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epsilon": 8}, r"^epsilon: .* got 8"),
        ({"rounds": 0}, r"^rounds: expected a whole number above 0, got 0"),
        ({"updates": 3}, r"^updates: expected at least one for each of the 5 rounds, got 3"),
        (
            {"build": partial(build, "linear", inputs=(1, 8, 8), classes=7)},
            r"^build: expected a network of 10 logits, as many as the model's, got 7",
        ),
    ],
)
def test_impossible_surrogates_are_refused(perceptron, few, settings, message):
    with pytest.raises(ValueError, match=message):
        train_surrogate(perceptron, few[0], **{"epsilon": 0.1} | settings)


def test_epsilon_may_be_text(perceptron, few):
    one, same = (train_surrogate(perceptron, few[0], epsilon=epsilon, rounds=2, updates=4) for epsilon in ("1/4", 0.25))
    assert torch.equal(one(few[0]), same(few[0]))
