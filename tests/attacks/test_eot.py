"""EOT: the mean of a randomised model over its draws."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import nn

from unmask.attacks import EOT, FGSM, PGD, Transfer, predict
from unmask.gradients import input_gradient
from unmask.losses import log_odds
from unmask.models.masked import InputNoise, PrunedReLU, with_activation

EPSILON = 0.15


def test_the_mean_of_probabilities_over_draws_is_taken_and_its_gradient_is_the_mean_too():
    """With a spread below 4 nats, T is 1: the closed form, in float64."""
    offsets = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.5, -0.5]], dtype=torch.float64)
    drawn = iter(offsets)
    images = torch.tensor([[0.3, 0.6]], dtype=torch.float64).view(1, 1, 1, 2).requires_grad_()
    logits = EOT(lambda x: x.flatten(1) + next(drawn), draws=3)(images)
    copy = images.detach().clone().requires_grad_()
    expected = torch.stack([torch.softmax(copy.flatten(1) + one, dim=1) for one in offsets]).mean(0).log()
    torch.testing.assert_close(logits, expected)
    log_odds(logits, torch.tensor([0])).sum().backward()
    log_odds(expected, torch.tensor([0])).sum().backward()
    torch.testing.assert_close(images.grad, copy.grad)


def test_every_draw_of_sure_models_has_a_part_in_the_gradient():
    """Of probabilities alone, the draw with the smallest margin would have all of it: exp(200) to 1."""
    drawn = iter(1000 * torch.eye(2).double())

    def model(images):
        return torch.stack([images.flatten(1) @ next(drawn), torch.zeros(len(images)).double()], dim=1)

    images = torch.tensor([[0.4, 0.6]]).double().view(1, 1, 1, 2)
    gradient = input_gradient(EOT(model, draws=2), images, torch.tensor([0])).gradient
    assert (gradient < 0).all()
    assert gradient.min() / gradient.max() < 1e6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_model_that_draws_nothing_keeps_its_log_odds(perceptron, few, dtype):
    model, images, labels = copy.deepcopy(perceptron).to(dtype), few[0].to(dtype), few[1]
    torch.testing.assert_close(
        log_odds(EOT(model, draws=4)(images), labels), log_odds(model(images), labels), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    "masked",
    [lambda model: InputNoise(model, sigma=0.3), lambda model: with_activation(model, PrunedReLU(share=0.2))],
    ids=["noise", "pruning"],
)
def test_the_mean_is_a_better_guide_than_one_draw(perceptron, few, masked):
    images, labels = few
    model, attack = masked(perceptron), PGD(EPSILON, steps=10, loss=log_odds)
    accuracies = []
    for one in (attack, Transfer(attack=attack, proxy=partial(EOT, draws=8))):
        found = one(model, images, labels)
        draws = [predict(model, found, seed=seed) == labels for seed in range(8)]
        accuracies.append(torch.stack(draws).double().mean())
    assert accuracies[1] < accuracies[0] - 0.01


def test_each_draw_is_a_pass_of_its_own_and_only_the_seed_decides(perceptron, few):
    images, labels = few
    drawn = []

    def model(images):
        drawn.append(torch.rand(()).item())
        return perceptron(images)

    FGSM(0.1)(EOT(model, draws=5), images, labels)
    FGSM(0.1)(EOT(model, draws=5), images, labels)
    assert len(set(drawn)) == 5
    assert drawn[:5] == drawn[5:]


def test_draws_below_one_are_refused():
    with pytest.raises(ValueError, match=r"^draws: expected a whole number above 0, got 0"):
        EOT(nn.Flatten(), draws=0)
