"""BPDA: each function without a useful gradient is found and replaced, and nothing else."""

from __future__ import annotations

import pytest
import torch
from attack_cases import accuracy
from torch import nn
from torch.nn import functional

from unmask.attacks import PGD, Transfer, bpda, predict
from unmask.attacks.bpda.slopes import jump, step
from unmask.losses import log_odds
from unmask.models.masked import JumpReLU

EPSILON = 0.15


def test_a_slope_is_softsigns_and_as_wide_as_the_examples_mean_distance():
    distance = torch.tensor([[-1.0, 3.0], [0.2, 0.0], [0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    step(distance).sum().backward()
    width = torch.tensor([[2.0], [0.1], [1.0]], dtype=torch.float64)
    torch.testing.assert_close(distance.grad, 1 / (2 * width * (1 + distance.detach().abs() / width) ** 2))


@pytest.mark.parametrize("continuous", [lambda x: x, lambda x: 0.9 * x, lambda x: x + x**2, lambda x: x - x.expm1()])
def test_a_continuous_switch_has_no_jump(continuous):
    x = 1.5 * torch.randn(4, 200, generator=torch.Generator().manual_seed(0)).double().tanh()
    assert jump(continuous(x), x) is None


def test_a_jump_is_the_rest_without_the_rise():
    x = torch.randn(4, 50, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(jump(2.0 + 3.0 * x, x), torch.full_like(x, 2.0))
    assert jump(torch.cat([2 + x[:2], x[2:]]), x)[2:].abs().max() == 0  # example by example


BOUNDS = torch.linspace(0, 1, 9)


class Rounding(torch.autograd.Function):
    """Rounds; its gradient is noise."""

    @staticmethod
    def forward(ctx, images):
        return torch.round(images * 15) / 15

    @staticmethod
    def backward(ctx, gradient):
        return torch.randn_like(gradient)


class Returned(torch.autograd.Function):
    """Nothing; its gradient is zero."""

    @staticmethod
    def forward(ctx, images):
        return images

    @staticmethod
    def backward(ctx, gradient):
        return 0 * gradient


def without_gradients(images):
    with torch.no_grad():
        return (images * 15).round() / 15


def written_over(images):
    images = images.clone()
    images[images < 0.4] = 0.0
    return images


FRONTS = {
    "round": (lambda x: (x * 15).round() / 15, {"round"}),
    "round decimals": (lambda x: torch.round(x, decimals=1), {"round"}),
    "floor": (lambda x: (x * 255).floor() / 255, {"floor"}),
    "ceil in place": (lambda x: x.mul(15).ceil_().div_(15), {"ceil"}),
    "trunc": (lambda x: torch.trunc(x * 15) / 15, {"trunc"}),
    "floor division": (lambda x: x // 0.1 * 0.1, {"floordiv"}),
    "rounded division": (lambda x: torch.div(x, 0.1, rounding_mode="floor") * 0.1, {"div"}),
    "remainder": (lambda x: x - x % 0.1, {"remainder"}),
    "bytes": (lambda x: (x * 15).to(torch.uint8).float() / 15, {"to", "float"}),
    "long": (lambda x: (x * 15).long() / 15, {"long"}),
    "bytes shifted": (lambda x: ((x * 255).byte() >> 5 << 5).float() / 255, {"byte", "rshift", "lshift", "float"}),
    "bytes and bits": (lambda x: ((x * 255).to(torch.uint8) & 0xE0) / 255, {"to", "and"}),
    "above": (lambda x: (x > 0.4).float(), {"gt", "float"}),
    "below": (lambda x: 1 - (x <= 0.4).to(x.dtype), {"le", "to"}),
    "two levels": (lambda x: ((x > 0.25).float() + (x > 0.6)) / 2, {"gt", "float"}),
    "between": (lambda x: torch.where((x > 0.3) & (x < 0.9), x, 0.0), {"where", "gt", "lt", "and"}),
    "sign": (lambda x: torch.sign(x - 0.4) / 2 + 0.5, {"sign"}),
    "heaviside": (lambda x: torch.heaviside(x - 0.4, torch.tensor(0.0)), {"heaviside"}),
    "where": (lambda x: torch.where(x > 0.4, 1.0, 0.0), {"where"}),
    "written over": (written_over, {"setitem"}),
    "masked_fill": (lambda x: x.masked_fill(x < 0.4, 0), {"masked_fill"}),
    "product": (lambda x: x * (x >= 0.4), {"mul"}),
    "threshold": (lambda x: functional.threshold(x, 0.4, 0.0), {"threshold"}),
    "hardshrink": (lambda x: functional.hardshrink(x, 0.4), {"hardshrink"}),
    "buckets": (lambda x: torch.bucketize(x, BOUNDS) / 8, {"bucketize"}),
    "look-up": (lambda x: BOUNDS[torch.bucketize(x, BOUNDS)], {"bucketize", "getitem"}),
    "nearest": (lambda x: BOUNDS[(x[..., None] - BOUNDS).abs().argmin(-1)], {"argmin", "getitem"}),
    "detach": (lambda x: x.detach(), {"detach"}),
    "data": (lambda x: x.data, {"detach"}),
    "no_grad": (without_gradients, {"no_grad", "round"}),
    "rounding function": (Rounding.apply, {"custom backward", "round"}),
    "returning function": (Returned.apply, {"custom backward"}),
}


SINGLE = {"gt", "le", "sign", "heaviside", "where", "setitem", "masked_fill", "mul", "threshold", "hardshrink"}


@pytest.mark.parametrize("name", FRONTS)
def test_operations_that_stop_the_gradient_are_found_and_replaced(perceptron, few, name):
    """The forward values are the model's, bit for bit; the attack then gains what it gains on the bare network, nearly.

    Of a single threshold less can be known: how far away it is, and not how far the attack can go.
    """
    front, expected = FRONTS[name]
    images, labels = few
    model = lambda x: perceptron(front(x))  # noqa: E731
    proxy = bpda(model)
    assert torch.equal(proxy(images.clone().requires_grad_()), model(images))
    assert set(proxy.replaced) == expected
    clean = (predict(model, images) == labels).double().mean()
    left = accuracy(model, Transfer(attack=PGD(EPSILON, steps=20, loss=log_odds), proxy=bpda), *few)
    assert left < clean - 0.15
    if not (expected & SINGLE):
        assert left < accuracy(perceptron, PGD(EPSILON, steps=20, loss=log_odds), *few) + 0.2


JUMPS = {
    "module": JumpReLU(threshold=0.5, rise=0.0),
    "threshold": nn.Threshold(0.5, 0.0),
    "product": lambda z: z * (z > 0.5),
    "float product": lambda z: (z > 0.5).float() * z,
}


@pytest.mark.parametrize("kind", JUMPS)
def test_a_jump_adds_its_height_times_the_slope(kind):
    z = torch.randn(3, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    activation = JUMPS[kind]
    model = lambda x: torch.stack([activation(x.flatten(1)).sum(1), 0 * x.sum((1, 2, 3))], dim=1)  # noqa: E731
    images = z.view(3, 1, 1, 40).requires_grad_()
    (gradient,) = torch.autograd.grad(bpda(model)(images)[:, 0].sum(), images)
    distance = z.detach() - 0.5
    width = distance.abs().mean(1, keepdim=True)
    expected = (z > 0.5) + 0.5 / (2 * width * (1 + distance.abs() / width) ** 2)
    tolerance = 1e-6 if kind != "float product" else 1e-3  # there the slope is computed in float32
    torch.testing.assert_close(gradient.flatten(1), expected.detach(), rtol=tolerance, atol=tolerance)
