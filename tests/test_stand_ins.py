"""Stand-ins for a model: its mean over random draws, its backward pass made useful, and a surrogate for transfer."""

from __future__ import annotations

import copy
import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional

from unmask.attacks import FGSM, PGD, Averaged, Through, Trial, straight_through, surrogate
from unmask.attacks.bpda.slopes import jump, step
from unmask.attacks.trial import examined, predict
from unmask.gradients import input_gradient
from unmask.losses import log_odds
from unmask.models import build
from unmask.models.masked import (
    DCTQuantised,
    InputNoise,
    JumpReLU,
    KWinners,
    PrunedReLU,
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


@pytest.fixture(scope="session")
def few(held_out):
    return held_out.images[:60], held_out.labels[:60]


def standing(model, attack, few):
    """The share of images that the model still gets right, as it is, after an attack."""
    return Trial(attacks=[attack])(model, *few).correct.double().mean()


def through(model):
    return Through(attack=PGD(epsilon=EPSILON, steps=20), stand_in=straight_through)


# --- Averaged


def test_the_mean_of_probabilities_over_draws_is_taken_and_its_gradient_is_the_mean_too():
    """With a spread below 4 nats, T is 1: the closed form, in float64."""
    offsets = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.5, -0.5]], dtype=torch.float64)
    drawn = iter(offsets)
    images = torch.tensor([[0.3, 0.6]], dtype=torch.float64).view(1, 1, 1, 2).requires_grad_()
    logits = Averaged(lambda x: x.flatten(1) + next(drawn), draws=3)(images)
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
    gradient = input_gradient(Averaged(model, draws=2), images, torch.tensor([0])).gradient
    assert (gradient < 0).all()
    assert gradient.min() / gradient.max() < 1e6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_model_that_draws_nothing_keeps_its_log_odds(perceptron, few, dtype):
    model, images, labels = copy.deepcopy(perceptron).to(dtype), few[0].to(dtype), few[1]
    torch.testing.assert_close(
        log_odds(Averaged(model, draws=4)(images), labels), log_odds(model(images), labels), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    "masked",
    [lambda model: InputNoise(model, sigma=0.3), lambda model: with_activation(model, PrunedReLU(share=0.2))],
    ids=["noise", "pruning"],
)
def test_the_mean_is_a_better_guide_than_one_draw(perceptron, few, masked):
    images, labels = few
    model, attack = masked(perceptron), PGD(epsilon=EPSILON, steps=10)
    left = []
    for one in (attack, Through(attack=attack, stand_in=partial(Averaged, draws=8))):
        found = one(model, images, labels)
        draws = [examined(model, found, seed=seed).argmax(1) == labels for seed in range(8)]
        left.append(torch.stack(draws).double().mean())
    assert left[1] < left[0] - 0.01


def test_each_draw_is_a_pass_of_its_own_and_only_the_seed_decides(perceptron, few):
    images, labels = few
    drawn = []

    def model(images):
        drawn.append(torch.rand(()).item())
        return perceptron(images)

    FGSM(epsilon=0.1)(Averaged(model, draws=5), images, labels)
    FGSM(epsilon=0.1)(Averaged(model, draws=5), images, labels)
    assert len(set(drawn)) == 5
    assert drawn[:5] == drawn[5:]


def test_draws_below_one_are_refused():
    with pytest.raises(ValueError, match=r"^draws: expected a whole number above 0, got 0"):
        Averaged(nn.Flatten(), draws=0)


# --- Through


def test_an_attack_through_a_stand_in_is_the_attack_on_the_stand_in_examined_on_the_model(perceptron, few):
    inverted = lambda x: -perceptron(x)  # noqa: E731
    attack = Through(attack=FGSM(epsilon=0.1), stand_in=lambda model: inverted)
    outcome = Trial(attacks=[attack])(perceptron, *few)
    expected = FGSM(epsilon=0.1)(inverted, *few)
    assert torch.equal(outcome.images, expected)
    assert torch.equal(outcome.predictions, predict(perceptron, expected))


def test_a_trial_says_through_what_it_attacks():
    told = Trial(attacks=[Through(attack=FGSM(epsilon=0.25), stand_in=partial(Averaged, draws=16))]).settings
    assert told == "Through: attack FGSM: epsilon 0.25, loss log odds, stand in Averaged: draws 16"


# --- straight_through: slopes


def test_a_slope_is_softsigns_and_as_wide_as_the_examples_mean_distance():
    distance = torch.tensor([[-1.0, 3.0], [0.2, 0.0], [0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    step(distance).sum().backward()
    width = torch.tensor([[2.0], [0.1], [1.0]], dtype=torch.float64)
    torch.testing.assert_close(distance.grad, 1 / (2 * width * (1 + distance.detach().abs() / width) ** 2))


@pytest.mark.parametrize("continuous", [lambda x: x, lambda x: 0.9 * x, lambda x: x + x**2, lambda x: x - x.expm1()])
def test_what_is_switched_on_without_a_jump_has_none(continuous):
    x = 1.5 * torch.randn(4, 200, generator=torch.Generator().manual_seed(0)).double().tanh()
    assert jump(continuous(x), x) is None


def test_a_jump_is_what_is_left_without_the_rise():
    x = torch.randn(4, 50, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(jump(2.0 + 3.0 * x, x), torch.full_like(x, 2.0))
    assert jump(torch.cat([2 + x[:2], x[2:]]), x)[2:].abs().max() == 0  # example by example


# --- straight_through: the same numbers, whatever is replaced

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
def test_what_stops_the_gradient_of_images_is_found_and_replaced(perceptron, few, name):
    """The forward values are the model's, bit for bit; the attack then gains what it gains on the bare network, nearly.

    Of a single threshold less can be known: how far away it is, and not how far the attack can go.
    """
    front, expected = FRONTS[name]
    images, labels = few
    model = lambda x: perceptron(front(x))  # noqa: E731
    stand_in = straight_through(model)
    assert torch.equal(stand_in(images.clone().requires_grad_()), model(images))
    assert set(stand_in.replaced) == expected
    clean = (predict(model, images) == labels).double().mean()
    left = standing(model, through(model), few)
    assert left < clean - 0.15
    if not (expected & SINGLE):
        assert left < standing(perceptron, PGD(epsilon=EPSILON, steps=20), few) + 0.2


# --- straight_through: the models that mask on purpose


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
def test_models_that_mask_are_seen_through(trained, few, name, expected, gain):
    model, stand_in = trained[name], straight_through(trained[name])
    logits = stand_in(few[0].clone().requires_grad_())
    assert torch.equal(logits.argmax(1), predict(model, few[0]))
    assert expected <= set(stand_in.replaced)
    blind = standing(model, PGD(epsilon=EPSILON, steps=20), few)
    assert standing(model, through(model), few) < blind - gain


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
    soft = input_gradient(straight_through(model), *few).gradient
    usual = input_gradient(straight_through(hand_written(trained["winners"], "threshold")), *few).gradient
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
    usual = input_gradient(straight_through(trained["thermometer"]), *few).gradient
    torch.testing.assert_close(input_gradient(straight_through(model), *few).gradient, usual, rtol=1e-4, atol=1e-5)


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
    (gradient,) = torch.autograd.grad(straight_through(model)(images)[:, 0].sum(), images)
    distance = z.detach() - 0.5
    width = distance.abs().mean(1, keepdim=True)
    expected = (z > 0.5) + 0.5 / (2 * width * (1 + distance.abs() / width) ** 2)
    tolerance = 1e-6 if kind != "float product" else 1e-3  # there the rule is the same, in float32
    torch.testing.assert_close(gradient.flatten(1), expected.detach(), rtol=tolerance, atol=tolerance)


# --- straight_through: what goes out of a model

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
def test_what_was_squashed_comes_back(perceptron, few, kind):
    images, labels = few
    end, name = ENDS[kind]
    model, found = lambda x: end(perceptron(x) / 4), straight_through(lambda x: end(perceptron(x) / 4))
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
    stand_in = straight_through(model)
    assert torch.equal(stand_in(few[0].clone().requires_grad_()), model(few[0]))
    assert not stand_in.replaced


# --- straight_through: what needs nothing is left alone


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
        "straight through already": lambda z: z.relu() + (z.relu().round() - z.relu()).detach(),
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
    stand_in = straight_through(model)
    own, same = (input_gradient(one, images, labels) for one in (model, stand_in))
    assert torch.equal(own.logits, same.logits)
    assert torch.equal(own.gradient, same.gradient)
    assert own.gradient.any()
    assert not stand_in.replaced


def test_a_gradient_that_goes_straight_through_already_stays_so():
    model = with_activation(HARMLESS["mlp"](), relu_by_hand("straight through already")).eval()
    images, labels = torch.rand(5, 1, 8, 8), torch.arange(5)
    own, same = (input_gradient(one, images, labels).gradient for one in (model, straight_through(model)))
    torch.testing.assert_close(own, same)


def test_random_numbers_are_the_models_own(perceptron, few):
    """Also where a part runs a second time, for its gradient."""

    def model(images):
        with torch.no_grad():
            images = functional.dropout(images.round(decimals=1), 0.2)
        return perceptron(images + 0.1 * torch.randn_like(images))

    outputs, following = [], []
    for one in (model, straight_through(model)):
        torch.manual_seed(5)
        outputs.append(one(few[0].clone().requires_grad_()))
        following.append(torch.rand(()))
    assert torch.equal(*outputs)
    assert torch.equal(*following)


def test_what_leaves_torch_is_not_replaced(perceptron, few):
    model = lambda x: perceptron(torch.from_numpy((x.detach().numpy() * 15).round() / 15))  # noqa: E731
    stand_in = straight_through(model)
    assert torch.equal(stand_in(few[0].clone().requires_grad_()), model(few[0]))
    assert not stand_in.replaced


class Foreign(torch.autograd.Function):
    """Its inside is out of torch's sight; its gradient is what it says."""

    @staticmethod
    def forward(ctx, images):
        return torch.from_numpy(images.detach().numpy() ** 2)

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def test_a_backward_that_cannot_be_replaced_is_told(perceptron, few):
    stand_in = straight_through(lambda x: perceptron(Foreign.apply(x)))
    own = input_gradient(lambda x: perceptron(Foreign.apply(x)), *few).gradient
    assert torch.equal(input_gradient(stand_in, *few).gradient, own)
    assert dict(stand_in.replaced) == {"custom backward, kept": 1}


def test_what_does_not_depend_on_the_images_is_not_told(few):
    """A network of binary weights is differentiable in its images."""
    weight = nn.Parameter(torch.randn(10, 64, generator=torch.Generator().manual_seed(0)))

    class Binary(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = weight

        def forward(self, images):
            return functional.linear(images.flatten(1), self.weight.sign() * self.weight.detach().abs().mean())

    stand_in = straight_through(Binary())
    own, same = (input_gradient(one, *few).gradient for one in (Binary(), stand_in))
    assert torch.equal(own, same)
    assert not stand_in.replaced
    assert weight.requires_grad


def test_parts_that_write_into_what_they_were_given_are_followed(perceptron, few):
    def model(images):
        images = images * 1.0
        part = images.detach()
        part.mul_(15).round_()
        part[:, :, 0] = 0
        part /= 15
        return perceptron(part)

    stand_in = straight_through(model)
    assert torch.equal(stand_in(few[0].clone().requires_grad_()), model(few[0]))
    gradient = input_gradient(stand_in, *few).gradient
    assert gradient[:, :, 1:].any()
    assert not gradient[:, :, 0].any()
    assert math.isfinite(gradient.abs().max())


# --- surrogate


@pytest.mark.parametrize(
    ("answer", "left"),
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
def test_attacks_on_a_surrogate_carry_over(perceptron, held_out, few, answer, left):
    model = answer(perceptron)
    network = surrogate(model, held_out.images, epsilon=EPSILON)
    assert standing(model, Through(attack=PGD(epsilon=EPSILON, steps=20), stand_in=network), few) < left


def test_a_surrogate_is_a_function_of_the_seed_and_leaves_the_model_alone(perceptron, few):
    model = copy.deepcopy(perceptron).train()
    state = torch.get_rng_state()
    one, same = (surrogate(model, few[0], epsilon=0.1, rounds=2, updates=10) for _ in range(2))
    other = surrogate(model, few[0], epsilon=0.1, rounds=2, updates=10, seed=1)
    assert torch.equal(one(few[0]), same(few[0]))
    assert not torch.equal(one(few[0]), other(few[0]))
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert not one.training
    assert all(parameter.grad is None for parameter in (*model.parameters(), *one.parameters()))


@pytest.mark.parametrize("rounds", [1, 4])
def test_a_surrogate_asks_the_model_so_often_and_only_within_epsilon(perceptron, few, rounds):
    asked = []

    def model(images):
        assert not images.requires_grad
        asked.append(images)
        return perceptron(images)

    surrogate(model, few[0], epsilon=0.1, rounds=rounds, updates=8)
    points = torch.cat(asked).view(rounds + 1, *few[0].shape)
    assert torch.equal(points[0], few[0])
    assert ((points - few[0]).abs().amax((1, 2, 3, 4)) <= 0.1 + 1e-6).all()
    assert ((points - few[0]).abs().flatten(2).amax(2)[1:] > 0).all()


def test_a_surrogate_may_be_any_network_and_has_the_images_precision(perceptron, few):
    build_it = partial(build, "linear", inputs=(1, 8, 8), classes=10)
    images = few[0].double()
    network = surrogate(copy.deepcopy(perceptron).double(), images, epsilon=0.1, build=build_it, updates=10)
    assert [type(part) for part in network.children()] == [nn.Flatten, nn.Linear]
    assert network(images).dtype == torch.float64


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epsilon": 8}, r"^epsilon: .* got 8"),
        ({"rounds": 0}, r"^rounds and updates: expected at least 1, and as many updates, got 0 and 400"),
        ({"updates": 3}, r"^rounds and updates: .* got 5 and 3"),
        (
            {"build": partial(build, "linear", inputs=(1, 8, 8), classes=7)},
            r"^build: expected a network of 10 logits, as many as the model's, got 7",
        ),
    ],
)
def test_impossible_surrogates_are_refused(perceptron, few, settings, message):
    with pytest.raises(ValueError, match=message):
        surrogate(perceptron, few[0], **{"epsilon": 0.1} | settings)
