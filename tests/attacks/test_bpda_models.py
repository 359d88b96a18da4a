"""BPDA: models that mask on purpose, however they are written; and models that need nothing."""

from __future__ import annotations

import pytest
import torch
from attack_cases import accuracy
from torch import nn

from unmask.attacks import PGD, Transfer, bpda, predict
from unmask.gradients import input_gradient
from unmask.losses import log_odds
from unmask.models import build
from unmask.models.masked import (
    DCTQuantised,
    KWinners,
    Quantised,
    RandomSignBackward,
    ScaledLogits,
    SoftmaxOutput,
    SquashedLogits,
    SteppedReLU,
    Thermometer,
    ZeroBackward,
    with_activation,
)
from unmask.training import Trainer

EPSILON = 0.15
BOUNDS = torch.linspace(0, 1, 9)


def thermometer(levels=8):
    return Thermometer(build("mlp", inputs=(levels, 8, 8), classes=10, widths=(64,), seed=0), levels)


def winners(share=0.15):
    return with_activation(build("mlp", inputs=(1, 8, 8), classes=10, widths=(96, 96), seed=0), KWinners(share=share))


@pytest.fixture(scope="session")
def trained(digits, perceptron):
    """Models by name; those that are trained with what masks them, trained."""
    models = {"thermometer": thermometer(), "winners": winners()}
    for model in models.values():
        for _ in Trainer(updates=200, learning_rate=0.003)(model, digits):
            pass
        model.eval().zero_grad()
    return models | {
        "quantised": Quantised(perceptron, 16),
        "dct": DCTQuantised(perceptron, 50),
        "stepped": with_activation(perceptron, SteppedReLU(step=0.3)),
        "turned round": with_activation(perceptron, SteppedReLU(step=0.3, slope=-1.0)),
        "softmax": SoftmaxOutput(ScaledLogits(perceptron, 100.0)),
        "squashed": SquashedLogits(perceptron),
        "zero": ZeroBackward(perceptron),
        "random signs": RandomSignBackward(perceptron),
    }


@pytest.mark.parametrize(
    ("name", "expected", "gain"),
    [
        ("quantised", {"round"}, 0.6),
        ("dct", {"round", "clamp"}, 0.6),
        ("thermometer", {"sign", "clamp_min"}, 0.6),
        ("stepped", {"floor"}, 0.6),
        ("turned round", {"floor"}, 0.6),
        ("winners", {"scatter"}, 0.1),
        ("softmax", {"softmax"}, 0.6),
        ("squashed", {"tanh"}, 0.6),
        ("zero", {"custom backward"}, 0.6),
        ("random signs", {"custom backward"}, 0.6),
    ],
)
def test_accuracy_of_models_that_mask_falls(trained, few, name, expected, gain):
    model, proxy = trained[name], bpda(trained[name])
    logits = proxy(few[0].clone().requires_grad_())
    assert torch.equal(logits.argmax(1), predict(model, few[0]))
    assert expected <= set(proxy.replaced)
    without = accuracy(model, PGD(EPSILON, steps=20, loss=log_odds), *few)
    attack = Transfer(attack=PGD(EPSILON, steps=20, loss=log_odds), proxy=bpda)
    assert accuracy(model, attack, *few) < without - gain


def hand_written(network, kind):
    """k-winners-take-all after the first layer, written in other ways."""
    first, _, *rest = list(network[1:])
    count = int(0.15 * 96)

    def model(images):
        z = first(images.flatten(1))
        if kind == "threshold":
            z = z * (z >= z.topk(count).values[:, -1:])
        elif kind == "sorted":
            z = torch.where(z >= z.sort(dim=1, descending=True).values[:, count - 1 : count], z, 0.0)
        elif kind == "kthvalue":
            z = z.masked_fill(z < z.kthvalue(96 - count + 1, dim=1, keepdim=True).values, 0.0)
        elif kind == "mask":
            z = z * torch.zeros_like(z).scatter_(1, z.topk(count).indices, 1.0)
        else:
            z = z.masked_fill(~torch.zeros_like(z).bool().scatter(1, z.topk(count).indices, True), 0.0)
        return nn.Sequential(*rest)(z)

    return model


@pytest.mark.parametrize("kind", ["threshold", "sorted", "kthvalue", "mask", "boolean mask"])
def test_winners_are_known_however_they_are_found(trained, few, kind):
    model = hand_written(trained["winners"], kind)
    torch.testing.assert_close(model(few[0]), trained["winners"](few[0]))
    own = input_gradient(model, *few).gradient
    soft = input_gradient(bpda(model), *few).gradient
    usual = input_gradient(bpda(hand_written(trained["winners"], "threshold")), *few).gradient
    assert not torch.allclose(soft, own, rtol=0.05)
    assert torch.cosine_similarity(soft.flatten(1), usual.flatten(1)).min() > 0.9


def by_hand(x):
    return torch.relu(torch.sign(x[:, :, None] - BOUNDS[1:, None, None])).flatten(1, 2)


@pytest.mark.parametrize(
    "encode",
    [
        by_hand,
        lambda x: (x[:, :, None] > BOUNDS[1:, None, None]).float().flatten(1, 2),
        lambda x: torch.where(x[:, :, None] > BOUNDS[1:, None, None], 1.0, 0.0).flatten(1, 2),
    ],
    ids=["relu of sign", "comparison", "where"],
)
def test_thermometers_are_read_however_they_are_written(trained, few, encode):
    model = lambda x: trained["thermometer"].model(encode(x))  # noqa: E731
    assert torch.equal(model(few[0]), trained["thermometer"](few[0]))
    usual = input_gradient(bpda(trained["thermometer"]), *few).gradient
    torch.testing.assert_close(input_gradient(bpda(model), *few).gradient, usual, rtol=1e-4, atol=1e-5)
