"""BPDA: squashed outputs are undone; models that need nothing, and all else of a model, stay."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from unmask.attacks import bpda, predict
from unmask.gradients import input_gradient
from unmask.losses import log_odds
from unmask.models import build
from unmask.models.masked import with_activation

ENDS = {
    "softmax": (lambda z: z.softmax(1), "softmax"),
    "functional": (lambda z: functional.softmax(z, dim=-1), "softmax"),
    "module": (nn.Softmax(dim=1), "softmax"),
    "by hand": (lambda z: z.exp() / z.exp().sum(1, keepdim=True), "probabilities"),
    "exp": (lambda z: z.log_softmax(1).exp(), "probabilities"),
    "tanh": (torch.tanh, "tanh"),
    "sigmoid": (lambda z: torch.sigmoid(z), "sigmoid"),
}


@pytest.mark.parametrize("kind", ENDS)
def test_the_input_of_a_final_squashing_is_returned(perceptron, few, kind):
    images, labels = few
    end, name = ENDS[kind]
    model, found = lambda x: end(perceptron(x) / 4), bpda(lambda x: end(perceptron(x) / 4))
    asked = images.clone().requires_grad_()
    logits = found(asked)
    torch.testing.assert_close(log_odds(logits, labels), log_odds(perceptron(images) / 4, labels))
    assert set(found.replaced) == {name}
    with torch.no_grad():
        assert torch.equal(found(images), logits), "an attack compares passes with and without a gradient"
    assert torch.equal(found(images).argmax(1), predict(model, images))


@pytest.mark.parametrize(
    "inner", [lambda z: z.softmax(1).log(), lambda z: 2 * z.softmax(1), lambda z: z.softmax(1) @ torch.eye(10)[:, :9]]
)
def test_other_outputs_of_a_softmax_stay(perceptron, few, inner):
    model = lambda x: inner(perceptron(x) / 4)  # noqa: E731
    proxy = bpda(model)
    assert torch.equal(proxy(few[0].clone().requires_grad_()), model(few[0]))
    assert not proxy.replaced


# --- the rest of the model


def relu_by_hand(kind):
    forms = {
        "where": lambda z: torch.where(z > 0, z, 0.0),
        "leaky where": lambda z: torch.where(z > 0, z, 0.1 * z),
        "product": lambda z: z * (z > 0),
        "float product": lambda z: z * (z > 0).float(),
        "masked_fill": lambda z: z.masked_fill(z < 0, 0.0),
        "clamp": lambda z: z.clamp(min=0),
        "clamp_min": lambda z: z.clamp_min(0.0),
        "maximum": lambda z: torch.maximum(z, torch.zeros(())),
        "elu": lambda z: torch.where(z > 0, z, z.exp() - 1),
        "straight-through estimator": lambda z: z.relu() + (z.relu().round() - z.relu()).detach(),
    }

    class Activation(nn.Module):
        def forward(self, values):
            return forms[kind](values)

    return Activation()


HARMLESS = {
    "mlp": lambda: build("mlp", inputs=(1, 8, 8), classes=10, widths=(16, 16)),
    "linear": lambda: build("linear", inputs=(1, 8, 8), classes=10),
    "lenet": lambda: build("lenet+", inputs=(1, 8, 8), classes=10, width=4),
    "dropout and batch norm": lambda: nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.GELU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(72, 10)
    ),
    "attention": lambda: nn.Sequential(
        nn.Flatten(2), nn.TransformerEncoderLayer(64, 4, 32, batch_first=True), nn.Flatten(), nn.Linear(64, 10)
    ),
    **{
        f"relu, {kind}": lambda kind=kind: with_activation(HARMLESS["mlp"](), relu_by_hand(kind))
        for kind in ("where", "leaky where", "product", "float product", "masked_fill", "clamp", "clamp_min", "maximum")
    },
    "elu": lambda: with_activation(HARMLESS["mlp"](), relu_by_hand("elu")),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", HARMLESS)
def test_a_model_without_obstacles_keeps_its_gradient_bit_for_bit(name, dtype, few):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = HARMLESS[name]().to(dtype).eval()
    images, labels = few[0].to(dtype), few[1]
    proxy = bpda(model)
    own, same = (input_gradient(one, images, labels) for one in (model, proxy))
    assert torch.equal(own.logits, same.logits)
    assert torch.equal(own.gradient, same.gradient)
    assert own.gradient.any()
    assert not proxy.replaced


def test_a_straight_through_estimator_stays_as_it_is():
    model = with_activation(HARMLESS["mlp"](), relu_by_hand("straight-through estimator")).eval()
    images, labels = torch.rand(5, 1, 8, 8), torch.arange(5)
    own, same = (input_gradient(one, images, labels).gradient for one in (model, bpda(model)))
    torch.testing.assert_close(own, same)


def test_random_numbers_are_the_models_own(perceptron, few):
    """Also where a part runs a second time, for its gradient."""

    def model(images):
        with torch.no_grad():
            images = functional.dropout(images.round(decimals=1), 0.2)
        return perceptron(images + 0.1 * torch.randn_like(images))

    outputs, following = [], []
    for one in (model, bpda(model)):
        torch.manual_seed(5)
        outputs.append(one(few[0].clone().requires_grad_()))
        following.append(torch.rand(()))
    assert torch.equal(*outputs)
    assert torch.equal(*following)


def test_parts_outside_torch_are_not_replaced(perceptron, few):
    model = lambda x: perceptron(torch.from_numpy((x.detach().numpy() * 15).round() / 15))  # noqa: E731
    proxy = bpda(model)
    assert torch.equal(proxy(few[0].clone().requires_grad_()), model(few[0]))
    assert not proxy.replaced


class Foreign(torch.autograd.Function):
    """Its inside is out of torch's sight; its gradient is what it says."""

    @staticmethod
    def forward(ctx, images):
        return torch.from_numpy(images.detach().numpy() ** 2)

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def test_a_backward_that_cannot_be_replaced_is_counted_as_kept(perceptron, few):
    proxy = bpda(lambda x: perceptron(Foreign.apply(x)))
    own = input_gradient(lambda x: perceptron(Foreign.apply(x)), *few).gradient
    assert torch.equal(input_gradient(proxy, *few).gradient, own)
    assert dict(proxy.replaced) == {"custom backward, kept": 1}


def test_operations_that_do_not_depend_on_the_images_are_not_counted(few):
    """A network of binary weights is differentiable in its images."""
    weight = nn.Parameter(torch.randn(10, 64, generator=torch.Generator().manual_seed(0)))

    class Binary(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = weight

        def forward(self, images):
            return functional.linear(images.flatten(1), self.weight.sign() * self.weight.detach().abs().mean())

    proxy = bpda(Binary())
    own, same = (input_gradient(one, *few).gradient for one in (Binary(), proxy))
    assert torch.equal(own, same)
    assert not proxy.replaced
    assert weight.requires_grad


def test_parts_that_write_into_their_input_are_followed(perceptron, few):
    def model(images):
        images = images * 1.0
        part = images.detach()
        part.mul_(15).round_()
        part[:, :, 0] = 0
        part /= 15
        return perceptron(part)

    proxy = bpda(model)
    assert torch.equal(proxy(few[0].clone().requires_grad_()), model(few[0]))
    gradient = input_gradient(proxy, *few).gradient
    assert gradient[:, :, 1:].any()
    assert not gradient[:, :, 0].any()
    assert math.isfinite(gradient.abs().max())


def test_a_model_that_writes_into_its_images_does_not_reach_the_callers():
    images = torch.full((1, 1, 1, 2), 0.5)
    for one in (images, images.clone().requires_grad_()):
        before = one.detach().clone()
        assert torch.equal(bpda(lambda x: x.mul_(2).flatten(1))(one), torch.ones(1, 2))
        assert torch.equal(one, before)
