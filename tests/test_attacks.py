"""The attacks' contracts, each held by one test over every attack, precision and network; then what sets each apart."""

from __future__ import annotations

import contextlib
import copy
import math
import re
from dataclasses import FrozenInstanceError, fields, replace
from functools import partial
from itertools import combinations, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from unmask.attacks import (
    APGD,
    FGSM,
    FRSM,
    IFGSM,
    PGD,
    RFGSM,
    RSFGSM,
    SPSA,
    Averaged,
    DeepFool,
    Square,
    TargetedAPGD,
    Through,
    Trial,
    straight_through,
)
from unmask.attacks.trial import predict
from unmask.losses import cross_entropy, dlr, margin
from unmask.models.masked import Quantised, ScaledLogits, ZeroBackward
from unmask.numerics import Batches, random_signs
from unmask.threats import Linf

EPSILON = 0.1
SHAPE = (1, 6, 6)
CLASSES = 4

ATTACKS = {
    "fgsm": FGSM(epsilon=EPSILON),
    "rfgsm": RFGSM(epsilon=EPSILON),
    "rs-fgsm": RSFGSM(epsilon=EPSILON),
    "frsm": FRSM(epsilon=EPSILON),
    "ifgsm": IFGSM(epsilon=EPSILON, steps=4),
    "pgd-best": PGD(epsilon=EPSILON, steps=4),
    "pgd-last": PGD(epsilon=EPSILON, steps=4, keep="last"),
    "pgd-best-restarts": PGD(epsilon=EPSILON, steps=3, restarts=2),
    "pgd-last-restarts": PGD(epsilon=EPSILON, steps=3, restarts=2, keep="last"),
    "deepfool-l2": DeepFool(epsilon=EPSILON, steps=10),
    "deepfool-linf": DeepFool(epsilon=EPSILON, steps=10, norm=math.inf),
    "square": Square(epsilon=EPSILON, queries=12, restarts=2),
    "spsa": SPSA(epsilon=EPSILON, steps=4, samples=24, learning_rate=0.04),
    "averaged": Through(attack=PGD(epsilon=EPSILON, steps=4), stand_in=partial(Averaged, draws=3)),
    "straight-through": Through(attack=PGD(epsilon=EPSILON, steps=4), stand_in=straight_through),
    "apgd": APGD(epsilon=EPSILON, steps=5),
    "apgd-restarts": APGD(epsilon=EPSILON, steps=5, restarts=2, loss=dlr),
    "apgd-targeted": TargetedAPGD(epsilon=EPSILON, steps=5, targets=2),
}


def at_epsilon(attack, epsilon):
    """The same attack at another epsilon."""
    if isinstance(attack, Through):
        return replace(attack, attack=replace(attack.attack, epsilon=epsilon))
    return replace(attack, epsilon=epsilon)


WITHOUT_GRADIENTS = (FRSM, SPSA, Square)


def plain():
    """A network whose log-odds are within a few nats."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(SHAPE), 16), nn.ReLU(), nn.Linear(16, CLASSES))


def saturated():
    """One so sure of itself that cross entropy has no gradient left in float32."""
    return ScaledLogits(plain(), 300.0)


def normalised():
    """Batch norm with running statistics, and dropout; all in training mode but for the last layer."""
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(64, CLASSES)
    )
    with torch.no_grad():
        model(torch.rand(64, *SHAPE))
    model[1].weight.requires_grad_(False)
    model[5].eval()
    return model


NETWORKS = {"plain": plain, "saturated": saturated, "batch-norm": normalised}
DTYPES = {"float32": torch.float32, "float64": torch.float64}
CASES = list(product(ATTACKS, DTYPES, NETWORKS))


def shown(value):
    """As in its repr, but without addresses: a test is called the same in every process."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def make(network, dtype=torch.float32, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return NETWORKS[network]().to(dtype)


def images_for(count, seed=0, shape=SHAPE):
    """Pixels over all of [0, 1], a fifth of them at its ends."""
    pixels = torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))
    return (1.25 * pixels - 0.125).clamp(0, 1)


@pytest.fixture(params=CASES, ids="-".join)
def case(request):
    """Attack, model, images and labels; all labels but the first are what the model says."""
    attack, dtype, network = request.param
    model = make(network, DTYPES[dtype])
    images = images_for(12).to(DTYPES[dtype])
    labels = predict(copy.deepcopy(model), images)
    labels[0] = (labels[0] + 1) % CLASSES
    return ATTACKS[attack], model, images, labels


# --- the contracts


def test_the_result_is_an_image_in_the_ball(case):
    attack, model, images, labels = case
    found = attack(model, images, labels)
    assert found.shape == images.shape
    assert found.dtype == images.dtype
    assert found.min() >= 0
    assert found.max() <= 1
    assert 0 < (found - images).abs().max() <= EPSILON + torch.finfo(images.dtype).eps


def test_epsilon_zero_returns_the_input(case):
    attack, model, images, labels = case
    assert torch.equal(at_epsilon(attack, 0.0)(model, images, labels), images)


def test_epsilon_one_leaves_only_the_range_of_pixels(case):
    attack, model, images, labels = case
    found = at_epsilon(attack, 1.0)(model, images, labels)
    assert found.min() >= 0
    assert found.max() <= 1


def test_an_example_fares_the_same_in_any_batch_and_order(case):
    attack, model, images, labels = case
    together = attack(model, images, labels)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(3))
    shuffled = torch.empty_like(images)
    shuffled[order] = attack(model, images[order], labels[order])
    alone = torch.cat([attack(model, images[row : row + 1], labels[row : row + 1]) for row in range(len(images))])
    rounding = 1000 * torch.finfo(images.dtype).eps
    torch.testing.assert_close(shuffled, together, rtol=0, atol=rounding)
    torch.testing.assert_close(alone, together, rtol=0, atol=rounding)


def test_the_same_call_gives_the_same_result(case):
    attack, model, images, labels = case
    first = attack(model, images, labels)
    torch.rand(1)  # what others draw must not matter
    assert torch.equal(attack(model, images, labels), first)


def test_no_images_in_no_images_out(case):
    attack, model, images, labels = case
    found = attack(model, images[:0], labels[:0])
    assert found.shape == (0, *SHAPE)
    assert found.dtype == images.dtype


def traces(model, *tensors):
    """All that an attack might change, as plain values."""
    bits = [*model.state_dict().values(), *(one.grad for one in model.parameters()), *tensors, torch.get_rng_state()]
    return {
        "modes": [part.training for part in model.modules()],
        "requires_grad": [one.requires_grad for one in (*model.parameters(), *tensors)],
        "gradients": [one.grad is not None for one in (*model.parameters(), *tensors)],
        "bits": [None if one is None else one.detach().numpy().tobytes() for one in bits],
        "recording": torch.is_grad_enabled(),
    }


def in_mid_update(model):
    """Half the parameters hold a gradient, as between a backward pass and the optimizer's step."""
    for parameter in list(model.parameters())[::2]:
        parameter.grad = torch.full_like(parameter, 0.5)
    return model


def test_it_leaves_no_trace(case):
    attack, model, images, labels = case
    images.requires_grad_()
    before = traces(in_mid_update(model), images, labels)
    found = attack(model, images, labels)
    assert traces(model, images, labels) == before
    assert not found.requires_grad


class Failing(nn.Module):
    """Raises at a given forward pass, or in the backward pass that follows a given one."""

    def __init__(self, model, at, backward):
        super().__init__()
        self.model, self.at, self.backward, self.calls = model, at, backward, 0

    def forward(self, images):
        logits = self.model(images)
        self.calls += images.requires_grad or not self.backward
        if self.calls == self.at:
            if not self.backward:
                self.fail()
            logits.register_hook(self.fail)
        return logits

    def fail(self, *_):
        torch.rand(1)
        raise ArithmeticError("on purpose")


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("at", [1, 3])
def test_it_leaves_no_trace_when_the_model_raises(case, at, backward):
    attack, model, images, labels = case
    asked = 0 if isinstance(attack, FRSM) else 1 if isinstance(attack, FGSM | RFGSM | RSFGSM) else 3
    if backward and isinstance(attack, WITHOUT_GRADIENTS):
        asked = 0
    if backward and attack is ATTACKS["straight-through"] and isinstance(model, ScaledLogits):
        asked = 0  # its backward, with the hook on it, is one of those that are replaced
    model = in_mid_update(Failing(model, at, backward))
    before = traces(model, images, labels)
    with pytest.raises(ArithmeticError, match="on purpose") if asked >= at else contextlib.nullcontext():
        attack(model, images, labels)
    assert traces(model, images, labels) == before


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_works_where_gradients_are_switched_off(case, mode):
    attack, model, images, labels = case
    expected = attack(model, images, labels)
    with mode():
        assert torch.equal(attack(model, images, labels), expected)
        assert torch.equal(attack(model, images.clone(), labels.clone()), expected)  # made in this mode
    assert torch.equal(attack(model, images, labels), expected)


def test_a_sweep_is_the_single_calls(case):
    attack, model, images, labels = case
    if not hasattr(attack, "sweep"):
        pytest.skip("it has no epsilon of its own")
    if isinstance(attack, RFGSM):
        attack = replace(attack, alpha=0.04)  # by default it follows epsilon, in a sweep the largest
    options = {one.name: getattr(attack, one.name) for one in fields(attack) if one.name != "epsilon"}
    epsilons = [0.0, 0.02, 0.1, 0.3]
    swept = list(type(attack).sweep(model, images, labels, epsilons=epsilons, **options))
    assert len(swept) == len(epsilons)
    for epsilon, found in zip(epsilons, swept, strict=True):
        assert torch.equal(found, replace(attack, epsilon=epsilon)(model, images, labels))


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_settings_are_frozen_and_given_by_name(attack):
    with pytest.raises(FrozenInstanceError):
        attack.epsilon = 0.2
    with pytest.raises(TypeError, match="positional"):
        type(attack)(0.1)


# --- gradients that are missing or broken


class NotANumber(nn.Module):
    """The wrapped model's logits, with a NaN gradient in the left half of each image."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        broken = (0 * images[..., :3]).sqrt()  # 0, with slope 0 times infinity
        return self.model(images + torch.cat([broken, torch.zeros_like(broken)], dim=-1))


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize(
    "attack",
    [
        FGSM(epsilon=EPSILON),
        RFGSM(epsilon=EPSILON, alpha=0.0),
        IFGSM(epsilon=EPSILON, steps=4),
        PGD(epsilon=EPSILON, steps=4, start="clean"),
        PGD(epsilon=EPSILON, steps=4, start="clean", keep="last", restarts=2),
    ],
    ids=shown,
)
def test_pixels_with_a_nan_gradient_stay(attack, dtype):
    model, images = NotANumber(make("plain", dtype)), images_for(5).to(dtype)
    found = attack(model, images, torch.zeros(5, dtype=torch.int64))
    assert torch.equal(found[..., :3], images[..., :3])
    assert ((found != images)[..., 3:].flatten(1).sum(1) > 9).all()


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_a_nan_gradient_gives_no_nan_pixel(attack):
    found = attack(NotANumber(make("plain")), images_for(5), torch.zeros(5, dtype=torch.int64))
    assert not found.isnan().any()


WITHOUT_GRADIENT = {
    "detached": lambda model: lambda images: model(images.detach()),
    "no graph at all": lambda model: lambda images: model(images.detach()).detach(),
    "rounding": lambda model: Quantised(model, levels=8),
    "constant": lambda model: lambda images: torch.ones(len(images), CLASSES),
    "constant parameter": lambda model: lambda images: model[1].bias[:CLASSES].expand(len(images), -1),
}


@pytest.mark.parametrize("kind", WITHOUT_GRADIENT)
@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_a_model_without_gradient_is_one_with_gradient_zero(attack, kind):
    model, images = WITHOUT_GRADIENT[kind](make("plain")), images_for(5)
    labels = predict(model, images)
    found = attack(model, images, labels)
    if isinstance(attack, FGSM | IFGSM | DeepFool):
        assert torch.equal(found, images)
    elif isinstance(attack, RFGSM):
        assert torch.equal(found, FRSM(epsilon=EPSILON / 2)(model, images, labels))
    else:
        assert (found - images).abs().max() <= EPSILON + 1e-6


# --- closed forms


def two_classes(seed, shift=0.0):
    """A linear model in float64, and the direction that raises class 1 over class 0: no weight is near 0."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(36, generator=generator, dtype=torch.float64)
    weights = weights.sign() * (0.1 + weights.abs())
    return lambda images: torch.stack(
        [-0.5 * (images.flatten(1) @ weights) + shift, 0.5 * (images.flatten(1) @ weights)], dim=1
    ), weights.view(SHAPE)


REACHES_THE_OPTIMUM = {
    "fgsm": FGSM(epsilon=0),
    "fgsm, cross entropy": FGSM(epsilon=0, loss=cross_entropy),
    "rfgsm, no offset": RFGSM(epsilon=0, alpha=0.0),
    "ifgsm": IFGSM(epsilon=0, steps=7),
    "pgd, best": PGD(epsilon=0, steps=5),
    "pgd, last": PGD(epsilon=0, steps=5, keep="last"),
    "pgd, clean": PGD(epsilon=0, steps=5, start="clean", loss=cross_entropy),
    "pgd, restarts": PGD(epsilon=0, steps=5, restarts=3, keep="last"),
}


@pytest.mark.parametrize("attack", REACHES_THE_OPTIMUM.values(), ids=REACHES_THE_OPTIMUM)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), epsilon=st.floats(0, 1), label=st.integers(0, 1))
def test_on_a_linear_model_of_two_classes_the_optimum_is_reached(attack, seed, epsilon, label):
    model, direction = two_classes(seed)
    images = images_for(3, seed).double()
    best = (images + epsilon * (1 - 2 * label) * direction.sign()).clamp(0, 1)
    found = replace(attack, epsilon=epsilon)(model, images, torch.full((3,), label))
    torch.testing.assert_close(found, best, rtol=0, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), epsilon=st.floats(0, 1), alpha=st.floats(0, 1))
def test_rfgsm_has_a_closed_form_of_its_own(seed, epsilon, alpha):
    model, direction = two_classes(seed)
    images = images_for(3, seed).double()
    alpha_used = min(alpha, epsilon)
    offset = (images + alpha_used * random_signs(images, seed=seed)).clamp(0, 1)
    expected = (offset + (epsilon - alpha_used) * direction.sign()).clamp(0, 1)
    found = RFGSM(epsilon=epsilon, alpha=alpha, seed=seed)(model, images, torch.zeros(3, dtype=torch.int64))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_rfgsm_offsets_by_half_of_epsilon_unless_told():
    model, images, labels = make("plain"), images_for(4), torch.zeros(4, dtype=torch.int64)
    assert torch.equal(RFGSM(epsilon=0.2)(model, images, labels), RFGSM(epsilon=0.2, alpha=0.1)(model, images, labels))
    largest = list(RFGSM.sweep(model, images, labels, epsilons=[0.1, 0.4]))
    assert torch.equal(largest[0], RFGSM(epsilon=0.1, alpha=0.2)(model, images, labels))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), epsilon=st.floats(0, 1), step_size=st.none() | st.floats(0, 2))
def test_rsfgsm_has_a_closed_form_of_its_own(seed, epsilon, step_size):
    model, direction = two_classes(seed)
    images = images_for(3, seed).double()
    start = Linf(epsilon=epsilon).random_start(images, seed=seed)
    moved = start + (1.25 * epsilon if step_size is None else step_size) * direction.sign()
    expected = moved.clamp(images - epsilon, images + epsilon).clamp(0, 1)
    found = RSFGSM(epsilon=epsilon, step_size=step_size, seed=seed)(model, images, torch.zeros(3, dtype=torch.int64))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("norm", [2, math.inf])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), lead=st.floats(0.01, 1))
def test_deepfool_comes_near_the_smallest_change(norm, seed, lead):
    """On a linear model the nearest boundary is ``lead / |w|_q`` away, if [0, 1] is not in the way."""
    images = 0.4 + 0.2 * images_for(1, seed).double()
    _, direction = two_classes(seed)
    model, _ = two_classes(seed, shift=lead + float((images * direction).sum()))
    found = DeepFool(norm=norm)(model, images, torch.tensor([0]))
    assert predict(model, found) == 1
    change = (found - images).flatten()
    distance = lead / direction.norm(p=1 if norm == math.inf else 2)
    assert distance < change.norm(p=norm) <= 1.02 * (distance + 1.1e-4)


def test_deepfool_returns_a_misclassified_example_as_it_is():
    model, images = make("plain"), images_for(4)
    labels = (predict(model, images) + 1) % CLASSES
    assert torch.equal(DeepFool()(model, images, labels), images)


@pytest.mark.parametrize("norm", [2, math.inf])
def test_deepfool_without_a_bound_fools_every_example(norm):
    model, images = make("plain"), images_for(12)
    labels = predict(model, images)
    assert (predict(model, DeepFool(norm=norm)(model, images, labels)) != labels).all()


def test_frsm_adds_random_signs():
    images = torch.full((2, *SHAPE), 0.5)
    found = FRSM(epsilon=0.25, seed=5)(None, images, torch.zeros(2, dtype=torch.int64))
    assert torch.equal(found, 0.5 + 0.25 * random_signs(images, seed=5))


NOISY = ["rfgsm", "rs-fgsm", "frsm", "pgd-best", "pgd-last", "square", "spsa", "apgd", "apgd-targeted"]


@pytest.mark.parametrize("name", NOISY)
def test_another_seed_draws_other_numbers(name):
    model, images = make("plain"), images_for(4)
    labels = predict(model, images)
    attack = replace(ATTACKS[name], epsilon=0.3)
    assert not torch.equal(attack(model, images, labels), replace(attack, seed=1)(model, images, labels))


# --- saturation


@pytest.mark.parametrize("attack", [FGSM, IFGSM, PGD])
def test_log_odds_reaches_the_optimum_where_cross_entropy_has_no_gradient(attack):
    """With a lead of more than 104 nats, float32 cross entropy leaves nothing of the gradient."""
    linear, direction = two_classes(0, shift=1.0)
    images = 0.4 + 0.2 * images_for(3)
    sure = ScaledLogits(lambda x: linear(x.double()).float(), 1e4)
    labels = predict(sure, images)
    options = {"start": "clean"} if attack is PGD else {}
    blind = attack(epsilon=EPSILON, loss=cross_entropy, **options)(sure, images, labels)
    assert torch.equal(blind, images)
    best = (images + EPSILON * (1 - 2 * labels.view(-1, 1, 1, 1)) * direction.sign()).float()
    torch.testing.assert_close(attack(epsilon=EPSILON, **options)(sure, images, labels), best)


# --- PGD


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    steps=st.integers(1, 6),
    step_size=st.floats(0.001, 0.2),
    start=st.sampled_from(["random", "clean"]),
)
def test_with_best_so_far_a_step_more_never_helps_the_model(seed, steps, step_size, start):
    model, images = make("plain", seed=seed), images_for(12, seed)
    labels = predict(model, images)
    attack = PGD(epsilon=EPSILON, steps=steps, step_size=step_size, start=start, seed=seed)
    fewer, more = attack(model, images, labels), replace(attack, steps=steps + 1)(model, images, labels)
    assert ((predict(model, fewer) != labels) <= (predict(model, more) != labels)).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), keep=st.sampled_from(["best", "last"]))
def test_a_restart_more_never_helps_the_model(seed, keep):
    model, images = make("plain", seed=seed), images_for(12, seed)
    labels = predict(model, images)
    attack = PGD(epsilon=EPSILON, steps=2, restarts=1, keep=keep, seed=seed)
    fewer, more = attack(model, images, labels), replace(attack, restarts=3)(model, images, labels)
    assert ((predict(model, fewer) != labels) <= (predict(model, more) != labels)).all()


@pytest.mark.parametrize("keep", ["best", "last"])
def test_every_restart_starts_elsewhere(keep):
    model, images, seen = make("plain"), images_for(4), []

    def watched(points):
        seen.append(points.detach().clone())
        return model(points)

    PGD(epsilon=EPSILON, steps=1, restarts=3, keep=keep)(watched, images, torch.zeros(4, dtype=torch.int64))
    starts = seen[::2]  # after each start, a look at where the step led
    assert len(starts) == 3
    assert all(not torch.equal(one, other) for one, other in combinations([images, *starts], 2))


def test_best_keeps_a_misclassified_point_over_one_of_higher_loss():
    """Cross entropy rises towards both ends, but only in a strip near the start is the class wrong."""

    def model(images):
        x = images.flatten(1).mean(1)
        return torch.stack([torch.where((x > 0.52) & (x < 0.58), -1.0, 1.0), x], dim=1)

    images, labels = torch.full((1, *SHAPE), 0.5), torch.tensor([0])
    attack = PGD(epsilon=0.3, steps=6, step_size=0.05, start="clean")
    assert predict(model, attack(model, images, labels)) == 1
    assert predict(model, replace(attack, keep="last")(model, images, labels)) == 0


def test_the_step_is_two_and_a_half_epsilon_over_the_steps_unless_told():
    model, images, labels = make("plain"), images_for(4), torch.zeros(4, dtype=torch.int64)
    told = PGD(epsilon=0.2, steps=5, step_size=0.1, keep="last")
    assert torch.equal(replace(told, step_size=None)(model, images, labels), told(model, images, labels))


class Remembering(nn.Module):
    """A convolution, then ``last``; remembers the strides of the images that come in."""

    def __init__(self, last):
        super().__init__()
        self.convolution, self.dense, self.last, self.strides = nn.Conv2d(1, 4, 3), nn.Linear(64, CLASSES), last, []

    def forward(self, images):
        self.strides.append(images.stride())
        return self.dense(self.last(self.convolution(images)))


def test_a_model_that_cannot_bear_the_fastest_layout_gets_the_usual_one():
    able, unable = Remembering(lambda x: x.flatten(1)), Remembering(lambda x: x.view(len(x), -1))
    unable.load_state_dict(able.state_dict())
    images, labels = images_for(8), torch.zeros(8, dtype=torch.int64)
    attack = PGD(epsilon=EPSILON, steps=3)
    torch.testing.assert_close(attack(able, images, labels), attack(unable, images, labels))
    assert set(able.strides) == {(36, 1, 6, 1)}
    assert set(unable.strides[1:]) == {(36, 36, 6, 1)}


# --- attacks that end where an example is misclassified


class Watched(nn.Module):
    """Remembers the points it is asked about."""

    def __init__(self, model):
        super().__init__()
        self.model, self.points = model, []

    def forward(self, images):
        self.points.append(images.detach().clone())
        return self.model(images)


def never_wrong(images):
    """The same scores for every image."""
    return torch.tensor([1.0, 0.0]).to(images).expand(len(images), -1)


def unbeatable(seed, label):
    """A linear model that never leaves the label: of two classes that matter and two that do not."""
    linear, direction = two_classes(seed, shift=100.0 if label == 0 else -100.0)
    ballast = torch.full((1, 2), -1000.0, dtype=torch.float64)
    model = lambda images: torch.cat([linear(images), ballast.expand(len(images), -1)], dim=1)  # noqa: E731
    return model, (1 - 2 * label) * direction.sign()


@pytest.mark.parametrize(
    "attack",
    [
        APGD(epsilon=0, steps=4),
        APGD(epsilon=0, steps=4, restarts=2, loss=dlr),
        TargetedAPGD(epsilon=0, steps=4),
        TargetedAPGD(epsilon=0, steps=4, targets=1),
    ],
    ids=shown,
)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), epsilon=st.floats(0, 1), label=st.integers(0, 1))
def test_they_reach_the_optimum_of_a_linear_model_that_withstands_it(attack, seed, epsilon, label):
    model, uphill = unbeatable(seed, label)
    images = images_for(3, seed).double()
    found = replace(attack, epsilon=epsilon)(model, images, torch.full((3,), label))
    torch.testing.assert_close(found, (images + epsilon * uphill).clamp(0, 1), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "attack", [Square(epsilon=0.1, queries=40, restarts=2), APGD(epsilon=0.1, restarts=2)], ids=shown
)
def test_they_ask_only_about_examples_still_standing(attack):
    model, images = Watched(by_brightness), torch.stack([torch.full(SHAPE, level) for level in (0.1, 0.45, 0.6)])
    found = attack(model, images, torch.zeros(3, dtype=torch.int64))
    counts = [len(points) for points in model.points]
    assert counts[:2] == [3, 2]
    assert sorted(counts, reverse=True) == counts
    assert counts[-1] == 1
    assert torch.equal(found[2], images[2])
    assert predict(by_brightness, found).tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    "attack",
    [Square(epsilon=0.3, queries=10**9), APGD(epsilon=0.3, steps=10**9), SPSA(epsilon=0.3, steps=10**9)],
    ids=shown,
)
def test_they_end_when_none_is_left(attack):
    model, images = Watched(by_brightness), torch.full((2, *SHAPE), 0.49)
    attack(model, images, torch.zeros(2, dtype=torch.int64))
    assert len(model.points) < 100


@pytest.mark.parametrize(
    ("attack", "more"),
    [
        (Square(epsilon=EPSILON, queries=6), {"restarts": 3}),
        (APGD(epsilon=EPSILON, steps=3), {"restarts": 3}),
        (TargetedAPGD(epsilon=EPSILON, steps=3, targets=1), {"restarts": 2}),
        (TargetedAPGD(epsilon=EPSILON, steps=3, targets=1), {"targets": 3}),
    ],
    ids=shown,
)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_more_runs_never_help_the_model(attack, more, seed):
    model, images = make("plain", seed=seed), images_for(12, seed)
    labels, attack = predict(model, images), replace(attack, seed=seed)
    fewer, more = attack(model, images, labels), replace(attack, **more)(model, images, labels)
    assert ((predict(model, fewer) != labels) <= (predict(model, more) != labels)).all()


# --- APGD


def test_apgd_halves_its_steps_until_it_meets_the_top_of_a_hill():
    """A step of one size for all time goes back and forth over it."""
    tops = torch.tensor([0.42, 0.5, 0.61], dtype=torch.float64).view(3, 1)

    def hill(images):
        height = 1 + (images.flatten(1) - tops[: len(images)]).abs().sum(1)
        return torch.stack([height, torch.zeros_like(height)], dim=1)

    images, labels = torch.full((3, 1, 1, 2), 0.5, dtype=torch.float64), torch.zeros(3, dtype=torch.int64)
    images[:, 0, 0, 0] += torch.tensor([0.01, 0.02, 0.03])  # equal images would have equal starts
    attack = APGD(epsilon=0.25, steps=100)
    error = (attack(hill, images, labels).flatten(1) - tops).abs().amax(1)
    fixed = PGD(epsilon=0.25, steps=100, step_size=0.1)(hill, images, labels)
    assert (error < 0.005).all()
    assert (error < 0.2 * (fixed.flatten(1) - tops).abs().amax(1)).all()


@pytest.mark.parametrize("epsilon", [0.1, 0.3])
def test_a_restart_of_apgd_starts_elsewhere_in_the_ball(epsilon):
    model, images = Watched(never_wrong), images_for(4)
    APGD(epsilon=epsilon, steps=1, restarts=3)(model, images, torch.zeros(4, dtype=torch.int64))
    starts = model.points[1::2]
    assert len(starts) == 3
    assert all((start - images).abs().max() <= epsilon + 1e-6 for start in starts)
    assert all(not torch.equal(one, other) for one, other in combinations([images, *starts], 2))


def test_each_target_has_a_run_of_its_own_in_the_order_of_the_logits():
    """The one step of each run raises the target's pixel the most."""
    images = torch.tensor([0.9, 0.1, 0.3, 0.2, 0.15]).view(1, 1, 1, 5).double()
    model = Watched(lambda x: x.flatten(1))
    TargetedAPGD(epsilon=0.01, steps=1, targets=3)(model, images, torch.tensor([0]))
    assert len(model.points) == 1 + 3 * 2
    starts, ends = model.points[1::2], model.points[2::2]
    raised = [int((end - start).flatten().argmax()) for start, end in zip(starts, ends, strict=True)]
    assert raised == [2, 3, 4]


def test_targets_beyond_the_classes_are_left_out():
    model, images = make("plain"), images_for(6)
    labels = predict(model, images)
    attack = TargetedAPGD(epsilon=0.02, steps=3, targets=3)
    assert torch.equal(replace(attack, targets=9)(model, images, labels), attack(model, images, labels))


def test_the_targeted_loss_needs_four_classes():
    with pytest.raises(ValueError, match=r"^targeted_dlr: expected at least 4 classes, got 2"):
        TargetedAPGD(epsilon=0.1)(by_brightness, images_for(2) * 0.5, torch.zeros(2, dtype=torch.int64))


# --- Square


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6), epsilon=st.floats(0.01, 1), label=st.integers(0, 1))
def test_square_finds_the_optimum_of_a_linear_model_that_withstands_it(seed, epsilon, label):
    """Small squares try single pixels: 36 of them, all tried in 800 queries but for a chance of one in 10^7."""
    model, uphill = unbeatable(seed, label)
    images = images_for(2, seed).double()
    found = Square(epsilon=epsilon, queries=800, seed=seed)(model, images, torch.full((2,), label))
    torch.testing.assert_close(found, (images + epsilon * uphill).clamp(0, 1), rtol=0, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 12), st.integers(1, 12)),
    queries=st.integers(1, 60),
    seed=st.integers(0, 10**6),
)
def test_square_goes_from_stripes_from_corner_to_corner_by_one_square(shape, queries, seed):
    """On flat scores each proposal is taken, so that two points in a row differ by what was proposed."""
    model, images = Watched(never_wrong), torch.full((3, *shape), 0.5)
    Square(epsilon=0.25, queries=queries, seed=seed)(model, images, torch.zeros(3, dtype=torch.int64))
    clean, stripes, *_ = model.points
    assert len(model.points) == 1 + queries
    assert torch.equal(clean, images)
    assert torch.equal(stripes, stripes[:, :, :1].expand_as(stripes))
    assert all(((points - images).abs() == 0.25).all() for points in model.points[1:])
    for query, (before, after) in enumerate(zip(model.points[1:], model.points[2:], strict=False), start=1):
        halvings = sum(query / queries > mark for mark in (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8))
        side = max(round(math.sqrt(0.8 * shape[1] * shape[2] / 2**halvings)), 1)
        for changed in (before != after).any(1):
            rows, columns = changed.any(1).nonzero(), changed.any(0).nonzero()
            assert 1 <= len(rows) <= rows.max() - rows.min() + 1 <= min(side, shape[1])
            assert 1 <= len(columns) <= columns.max() - columns.min() + 1 <= min(side, shape[2])


def test_the_first_square_covers_its_share_of_the_image_and_may_lie_anywhere():
    """Where it overwrites the other colour, it is seen whole."""
    points = []

    def model(images):
        points.append(images.clone())
        return never_wrong(images) if len(points) < 3 else -never_wrong(images)

    images = torch.full((400, 1, 10, 10), 0.5)
    images[:, 0, 0, 0] = torch.linspace(0.3, 0.6, 400)  # equal images would have equal random numbers
    Square(epsilon=0.25, p_init=0.36)(model, images, torch.zeros(400, dtype=torch.int64))
    _, before, after = points
    changed = (before != after).squeeze(1)
    assert changed.any(2).sum(1).max() == changed.any(1).sum(1).max() == 6
    assert changed.any(0).all()
    assert changed.flatten(1).any(1).all()


def test_square_attacks_a_black_box():
    """One that knows no autograd, and has no gradient anywhere."""

    def black_box(images):
        level = (images.numpy().reshape(len(images), -1).mean(1) * 50).round()
        return torch.stack([torch.from_numpy(26 - level), torch.zeros(len(images))], dim=1)

    images = torch.full((2, 3, 4, 5), 0.5)
    found = Square(epsilon=0.1, queries=300)(black_box, images, torch.zeros(2, dtype=torch.int64))
    assert predict(black_box, found).tolist() == [1, 1]


# --- SPSA


def near_one(seed, pixels=8):
    """A linear model in float64 with weights of a size between 0.5 and 1.5, which never leaves class 0."""
    generator = torch.Generator().manual_seed(seed)
    weights = 3 * torch.rand(pixels, generator=generator, dtype=torch.float64) - 1.5
    weights = weights.sign() * (0.5 + weights.abs() / 1.5)
    return lambda images: torch.stack([0 * images.flatten(1).sum(1) + 99, images.flatten(1) @ weights], dim=1), weights


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), epsilon=st.floats(0.001, 1), delta=st.floats(0.001, 1))
def test_a_step_of_spsa_on_a_linear_model_goes_along_the_gradients_signs(seed, epsilon, delta):
    """The estimate errs by at most |w| sqrt(8 / 4096), a tenth of the smallest weight, in one case of three."""
    model, weights = near_one(seed)
    images = images_for(2, seed, (1, 2, 4)).double()
    attack = SPSA(epsilon=epsilon, steps=1, samples=4096, delta=delta, learning_rate=epsilon, seed=seed)
    found = attack(model, images, torch.zeros(2, dtype=torch.int64))
    best = (images + epsilon * weights.sign().view(1, 2, 4)).clamp(0, 1)
    torch.testing.assert_close(found, best, rtol=0, atol=1e-9)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), label=st.integers(0, 1))
def test_spsa_comes_near_the_optimum_of_a_linear_model_that_withstands_it(seed, label):
    model, uphill = unbeatable(seed, label)
    images, labels = images_for(2, seed).double(), torch.full((2,), label)
    attack = SPSA(epsilon=0.2, steps=60, delta=0.05, learning_rate=0.05, seed=seed)
    found, best = attack(model, images, labels), (images + 0.2 * uphill).clamp(0, 1)
    clean, reached, possible = (margin(model(x), labels) for x in (images, found, best))
    assert (reached - clean >= 0.95 * (possible - clean)).all()


def test_spsa_asks_along_signs_at_even_odds_that_no_two_samples_share():
    model, images = Watched(never_wrong), torch.full((2, *SHAPE), 0.5, dtype=torch.float64)
    images[1] += 0.1
    SPSA(epsilon=0.1, steps=2, samples=100, delta=0.25)(model, images, torch.zeros(2, dtype=torch.int64))
    asked = [points.view(2, 2, -1, *SHAPE) for points in model.points if len(points) > 2]
    plus, minus = (torch.cat([points[end] for points in asked], dim=1) - images[:, None] for end in (0, 1))
    assert plus.shape[1] == 200
    assert torch.allclose(plus, -minus)
    assert torch.allclose(plus.abs(), torch.tensor(0.25).double())
    rows = plus.sign().flatten(2).flatten(0, 1)
    assert len(rows.unique(dim=0)) == 400
    assert (rows.mean(0).abs() < 0.2).all()  # four deviations of the mean of 400


@pytest.mark.parametrize("hidden", [ZeroBackward, partial(Quantised, levels=21)], ids=["zero gradient", "rounding"])
def test_spsa_needs_no_gradient(perceptron, held_out, hidden):
    """``delta`` is twice the rounding's step of 0.05; gradients find nothing here, and on the bare network the same."""
    images, labels = held_out.images[:60], held_out.labels[:60]
    masked = hidden(perceptron)
    wrong = {
        name: (predict(model, attack(model, images, labels)) != labels).double().mean()
        for name, model, attack in [
            ("bare", perceptron, PGD(epsilon=0.15)),
            ("blind", masked, PGD(epsilon=0.15, start="clean")),
            ("estimated", masked, SPSA(epsilon=0.15, steps=30, delta=0.1, learning_rate=0.02)),
        ]
    }
    assert wrong["blind"] < 0.1 < 0.5 < wrong["bare"]
    assert wrong["estimated"] > wrong["bare"] - 0.07


# --- what an attack costs


class Counted(nn.Module):
    """Counts the passes through a model."""

    def __init__(self, model):
        super().__init__()
        self.model, self.forwards, self.backwards = model, 0, 0

    def forward(self, images):
        logits = self.model(images)
        self.forwards += 1
        if logits.requires_grad:
            logits.register_hook(self.count)
        return logits

    def count(self, _):
        self.backwards += 1


@pytest.mark.parametrize("attack", [FGSM, RFGSM, FRSM])
def test_a_sweep_of_a_single_step_costs_one_gradient(attack):
    model, images = Counted(make("plain")), images_for(4)
    list(attack.sweep(model, images, torch.zeros(4, dtype=torch.int64), epsilons=[0.05, 0.1, 0.2, 0.3]))
    asked = 0 if attack is FRSM else 1
    assert (model.forwards, model.backwards) == (asked, asked)


@pytest.mark.parametrize(
    ("attack", "forwards", "backwards"),
    [
        (RSFGSM(epsilon=EPSILON), 1, 1),
        (IFGSM(epsilon=EPSILON, steps=5), 5, 5),
        (PGD(epsilon=EPSILON, steps=5, keep="last"), 5, 5),
        (PGD(epsilon=EPSILON, steps=5), 6, 5),
        (PGD(epsilon=EPSILON, steps=5, restarts=2), 12, 10),
        (DeepFool(epsilon=EPSILON, steps=5, candidates=3, overshoot=0), 5, 15),
        (Square(epsilon=EPSILON, queries=7), 8, 0),
        (Square(epsilon=EPSILON, queries=7, restarts=3), 22, 0),
        (SPSA(epsilon=EPSILON, steps=5, samples=32), 11, 0),
        (SPSA(epsilon=EPSILON, steps=5, samples=33), 16, 0),
        (APGD(epsilon=EPSILON, steps=5), 7, 5),
        (APGD(epsilon=EPSILON, steps=5, restarts=3), 19, 15),
        (TargetedAPGD(epsilon=EPSILON, steps=5, targets=2), 13, 10),
        (TargetedAPGD(epsilon=EPSILON, steps=5, restarts=2), 37, 30),
    ],
    ids=shown,
)
def test_passes_through_the_model(attack, forwards, backwards):
    model, images = Counted(make("plain")), images_for(4)
    if not isinstance(attack, IFGSM | PGD):  # the others end early, but not on a model that never gives in
        model.model = Quantised(model.model, levels=2)
    attack(model, images, predict(model.model, images))
    assert (model.forwards, model.backwards) == (forwards, backwards)


# --- what is refused


@pytest.mark.parametrize(
    ("make_attack", "message"),
    [
        *[
            (partial(kind, epsilon=8), r"^epsilon: .* \[0, 1\], got 8")
            for kind in (FGSM, RFGSM, RSFGSM, FRSM, IFGSM, PGD, DeepFool, Square, SPSA, APGD, TargetedAPGD)
        ],
        (lambda: FGSM(epsilon=math.nan), "^epsilon: .* got nan"),
        (lambda: RFGSM(epsilon=0.1, alpha=-0.1), r"^alpha: expected a number in \[0, 1\], got -0.1"),
        (lambda: RFGSM(epsilon=0.1, alpha=math.nan), "^alpha: .* got nan"),
        (lambda: RSFGSM(epsilon=0.1, step_size=-1), "^step_size: expected a number from 0 up, got -1"),
        (lambda: RSFGSM(epsilon=0.1, step_size=math.nan), "^step_size: .* got nan"),
        (lambda: IFGSM(epsilon=0.1, steps=0), "^steps and restarts: expected at least 1, got 0 and 1"),
        (lambda: PGD(epsilon=0.1, steps=0), "^steps and restarts: expected at least 1, got 0 and 1"),
        (lambda: PGD(epsilon=0.1, restarts=0), "^steps and restarts: expected at least 1, got 40 and 0"),
        (lambda: PGD(epsilon=0.1, step_size=-1), "^step_size: expected a number from 0 up, got -1"),
        (lambda: PGD(epsilon=0.1, step_size=math.nan), "^step_size: .* got nan"),
        (lambda: PGD(epsilon=0.1, start="corner"), "^start: expected 'random' or 'clean', got 'corner'"),
        (lambda: PGD(epsilon=0.1, keep="first"), "^keep: expected 'best' or 'last', got 'first'"),
        (lambda: DeepFool(steps=0), "^steps, candidates, overshoot: expected at least 1, 2 and 0, got 0, 10 and 0.02"),
        (lambda: DeepFool(candidates=1), "^steps, candidates, overshoot: .* got 50, 1 and"),
        (lambda: DeepFool(overshoot=-1), "^steps, candidates, overshoot: .* and -1"),
        (lambda: DeepFool(norm=1), "^norm: expected 2 or math.inf, got 1"),
        (lambda: Square(epsilon=0.1, queries=0), "^queries and restarts: expected at least 1, got 0 and 1"),
        (lambda: Square(epsilon=0.1, restarts=0), "^queries and restarts: expected at least 1, got 1000 and 0"),
        (lambda: Square(epsilon=0.1, p_init=0), "^p_init: expected a number above 0 and up to 1, got 0"),
        (lambda: Square(epsilon=0.1, p_init=1.5), "^p_init: .* got 1.5"),
        (lambda: SPSA(epsilon=0.1, steps=0), "^steps and samples: expected at least 1, got 0 and 64"),
        (lambda: SPSA(epsilon=0.1, samples=0), "^steps and samples: expected at least 1, got 40 and 0"),
        (lambda: SPSA(epsilon=0.1, delta=0), "^delta and learning_rate: .* above 0 and up to 1, got 0 and 0.01"),
        (lambda: SPSA(epsilon=0.1, learning_rate=math.nan), "^delta and learning_rate: .* got 0.01 and nan"),
        (lambda: APGD(epsilon=0.1, steps=0), "^steps and restarts: expected at least 1, got 0 and 1"),
        (lambda: APGD(epsilon=0.1, restarts=0), "^steps and restarts: expected at least 1, got 100 and 0"),
        (lambda: TargetedAPGD(epsilon=0.1, steps=0), "^steps and restarts: expected at least 1, got 0 and 1"),
        (lambda: TargetedAPGD(epsilon=0.1, targets=0), "^targets: expected at least 1, got 0"),
    ],
)
def test_impossible_settings_are_refused(make_attack, message):
    with pytest.raises(ValueError, match=message):
        make_attack()


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(2, 6, 6), torch.zeros(2, dtype=torch.int64), "^images: expected a floating tensor"),
        (torch.zeros(2, *SHAPE, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64), "^images: .* got torch.uint8"),
        (torch.full((2, *SHAPE), 255.0), torch.zeros(2, dtype=torch.int64), r"^images: expected pixels in \[0, 1\]"),
        (torch.full((2, *SHAPE), math.nan), torch.zeros(2, dtype=torch.int64), "^images: .* got nan to nan"),
        (torch.zeros(2, *SHAPE), torch.zeros(3, dtype=torch.int64), r"^labels: expected int64 of shape \(2,\), got"),
        (torch.zeros(2, *SHAPE), torch.zeros(2), "^labels: expected int64 .* got torch.float32"),
    ],
    ids=["no channels", "bytes", "grey levels", "nan", "too many labels", "float labels"],
)
def test_what_is_no_batch_of_images_is_refused(attack, images, labels, message):
    with pytest.raises(ValueError, match=message):
        attack(make("plain"), images, labels)


# --- Trial


class Recording:
    """An attack that moves all pixels by ``shift`` and remembers whom it was given."""

    def __init__(self, shift):
        self.shift, self.seen = shift, []

    def __call__(self, model, images, labels):
        self.seen.append(images.flatten(1)[:, 0].tolist())
        return images + self.shift


def by_brightness(images):
    """Class 0 below a brightness of 0.5, else class 1."""
    level = images.flatten(1).mean(1)
    return torch.stack([0.5 - level, level - 0.5], dim=1)


@pytest.fixture
def brightness():
    """Images of one grey each, all of class 0."""
    levels = torch.tensor([0.1, 0.35, 0.25, 0.45])
    return levels.view(-1, 1, 1, 1).expand(-1, *SHAPE).clone(), torch.zeros(4, dtype=torch.int64)


def test_later_attacks_see_only_those_still_standing(brightness):
    images, labels = brightness
    attacks = [Recording(0.1), Recording(0.2), Recording(0.3)]
    outcome = Trial(attacks=attacks)(by_brightness, images, labels)
    assert [attack.seen for attack in attacks] == [
        [pytest.approx([0.1, 0.35, 0.25, 0.45])],
        [pytest.approx([0.1, 0.35, 0.25])],
        [pytest.approx([0.1, 0.25])],
    ]
    assert outcome.correct.tolist() == [True, False, False, False]
    assert outcome.predictions.tolist() == [0, 1, 1, 1]


def test_the_worst_case_of_each_example_comes_back(brightness):
    images, labels = brightness
    outcome = Trial(attacks=[Recording(0.2), Recording(0.4), Recording(0.05)])(by_brightness, images, labels)
    assert outcome.images.flatten(1)[:, 0].tolist() == pytest.approx([0.15, 0.55, 0.65, 0.65])  # the last one tried


def test_no_further_attack_is_run_when_none_is_left(brightness):
    images, labels = brightness
    attacks = [Recording(0.5), Recording(0.1)]
    assert not Trial(attacks=attacks)(by_brightness, images, labels).correct.any()
    assert attacks[1].seen == []


def booked(trial, images, run):
    """As an audit's ledger has it."""
    return run()


def test_a_trial_of_an_audit_remembers_its_outcome_for_the_same_model_and_examples(brightness):
    images, labels = brightness
    attack = Recording(0.1)
    trial = Trial(attacks=[attack], entered=booked)
    outcome = trial(by_brightness, images, labels)
    assert trial(by_brightness, images, labels) is outcome
    assert len(attack.seen) == 1
    for again in ((lambda x: -by_brightness(x), images, labels), (by_brightness, images.clone(), labels)):
        trial(*again)
    trial(by_brightness, images, labels + 1)
    assert len(attack.seen) == 4


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_any_other_trial_asks_the_model_as_it_is_now(optimizer, brightness):
    """Fused optimizers, and whoever writes to a parameter's data, leave no trace in its version."""
    images, labels = brightness
    model, trial = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(SHAPE), 2)), Trial(attacks=[Recording(0.0)])
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].bias.copy_(torch.tensor([1.0, 0.0]))
    step = optimizer(model.parameters(), lr=9.0, fused=True)
    assert trial(model, images, labels).correct.all()
    (-functional.cross_entropy(model(images), labels)).backward()
    step.step()
    assert not trial(model, images, labels).correct.any()
    model[1].weight.data.zero_()
    model[1].bias.data = torch.tensor([1.0, 0.0])
    assert trial(model, images, labels).correct.all()


def unstable():
    """A network whose answers depend on its mode, and which remembers what it saw in training."""
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(math.prod(SHAPE)), nn.Dropout(), nn.Linear(math.prod(SHAPE), 2))


class Careless:
    """An attack as people write them: modes and gradients as it likes, and numbers from the global random state."""

    def __init__(self, leaves=None):
        self.leaves, self.modes, self.drawn = leaves, [], []

    def __call__(self, model, images, labels):
        self.modes.append([part.training for part in model.modules()])
        model(images.requires_grad_()).sum().backward()
        noise = torch.rand_like(images)
        self.drawn.append(noise)
        if self.leaves is not None:
            model.train(self.leaves)
        return (images + 0.1 * noise).requires_grad_()


@pytest.mark.parametrize("leaves", [None, False, True])
@pytest.mark.parametrize("training", [False, True])
def test_anybodys_attack_meets_evaluation_mode_and_leaves_no_trace(leaves, training, brightness):
    model, attacks = unstable().train(training), [Careless(leaves), Careless(leaves)]
    model[2].eval()
    modes, before, state = [one.training for one in model.modules()], copy.deepcopy(model), torch.get_rng_state()
    first, second = (Trial(attacks=attacks)(model, *brightness) for _ in range(2))
    assert not any(any(seen) for one in attacks for seen in one.modes)
    assert [one.training for one in model.modules()] == modes
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(model.buffers(), before.buffers(), strict=True))
    assert all(one.grad is None for one in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.images, second.images)
    assert not first.images.requires_grad


def test_each_of_several_attacks_draws_numbers_of_its_own(brightness):
    images, labels = brightness
    again = [Careless(), Careless()]
    Trial(attacks=again)(by_brightness_of(unstable()), images, labels)
    assert not torch.equal(again[0].drawn[0], again[1].drawn[0])


def by_brightness_of(network):
    """A module that no noise of 0.1 can fool."""
    network.forward = lambda images: torch.stack([2 - images.flatten(1).mean(1), 0 * images.flatten(1).mean(1)], 1)
    return network


def test_an_attack_on_a_stand_in_meets_evaluation_mode_too(brightness):
    attack, stand_in = Careless(), unstable().train()
    Trial(attacks=[Through(attack=attack, stand_in=stand_in)])(by_brightness, *brightness)
    assert not any(attack.modes[0])
    assert stand_in.training


def test_what_an_attack_returns_in_another_precision_is_taken(brightness):
    outcome = Trial(attacks=[lambda model, images, labels: images.double()])(by_brightness, *brightness)
    assert outcome.images.dtype == torch.float32


@pytest.mark.parametrize(
    ("returned", "found"),
    [
        (lambda images: (images, None), "got tuple"),
        (lambda images: images[:1], r"got shape \(1, "),
        (lambda images: images.numpy(), "got ndarray"),
        (lambda images: None, "got NoneType"),
    ],
)
def test_an_attack_that_returns_no_images_is_refused(returned, found, brightness):
    def broken(model, images, labels):
        return returned(images)

    with pytest.raises(ValueError, match=f"broken: expected images of shape .* from the attack, {found}"):
        Trial(attacks=[broken])(by_brightness, *brightness)


@pytest.mark.parametrize(
    ("attacks", "message"),
    [
        (PGD(epsilon=0.1), "attacks: expected a list of attacks, got PGD"),
        ([PGD], "attacks: expected one that takes .*, got PGD; a class is to be called first"),
        ([lambda images: images], "attacks: expected one that takes .model, images, labels., got <lambda>$"),
        (["pgd"], "attacks: expected a callable .*, got 'pgd'"),
        ([], "attacks: expected at least one, got none"),
    ],
)
def test_what_is_no_list_of_attacks_is_refused(attacks, message):
    with pytest.raises(ValueError, match=message):
        Trial(attacks=attacks)


def test_a_trial_that_keeps_no_images_holds_none(brightness):
    images, labels = brightness
    trial = Trial(attacks=[Recording(0.2)], keep_images=False, entered=booked)
    first, second = (trial(by_brightness, images, labels) for _ in range(2))
    assert torch.equal(first.images, images + 0.2)
    assert second.images.shape == (0, *SHAPE)
    assert second.images.untyped_storage().nbytes() == 0
    assert all(torch.equal(one, other) for one, other in zip(first[1:], second[1:], strict=True))


def test_a_trial_tells_the_log_odds_at_what_it_found(brightness):
    outcome = Trial(attacks=[Recording(0.2), Recording(0.45)])(by_brightness, *brightness)
    expected = 2 * outcome.images.flatten(1).mean(1) - 1
    torch.testing.assert_close(outcome.loss, expected)
    assert (outcome.loss < 0).tolist() == outcome.correct.tolist()


def test_a_trial_works_in_batches(brightness):
    images, labels = brightness
    attack, finished = Recording(0.2), []
    trial = Trial(attacks=[attack], batches=Batches(size=3, progress=finished.append))
    assert trial(by_brightness, images, labels).correct.tolist() == [True, False, True, False]
    assert [len(seen) for seen in attack.seen] == [3, 1]
    assert finished == [3, 1]


def test_a_trial_says_what_it_runs():
    trial = Trial(attacks=[FGSM(epsilon=0.25), PGD(epsilon=8 / 255, steps=10)])
    assert trial.name == "FGSM, then PGD"
    assert trial.settings == (
        "FGSM: epsilon 0.25, loss log odds; PGD: epsilon 0.0313725, steps 10, restarts 1, "
        "start random, keep best, loss log odds, seed 0"
    )
    assert Trial(attacks=[FGSM(epsilon=0.25)], name="reference").name == "reference"


def test_of_several_attacks_of_one_kind_a_trial_says_what_they_share():
    restarts = [PGD(epsilon=0.1, steps=5, step_size=0.1), PGD(epsilon=0.1, steps=5, seed=1)]
    shared = "2 times PGD: epsilon 0.1, steps 5, restarts 1, start random, keep best, loss log odds"
    assert Trial(attacks=[*restarts, nothing]).settings == f"{shared}; nothing"


def nothing(model, images, labels):
    return images


def test_an_update_between_two_trials_is_noticed():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    images, labels = torch.rand(8, 1, 2, 2), torch.zeros(8, dtype=torch.int64)
    trial = Trial(attacks=[FGSM(epsilon=0.1)])
    with torch.no_grad():
        model[1].bias.copy_(torch.tensor([9.0, 0.0]))
        before = trial(model, images, labels).correct
        model[1].bias.copy_(torch.tensor([0.0, 9.0]))
        after = trial(model, images, labels).correct
    assert before.all()
    assert not after.any()


def test_the_examiner_draws_other_numbers_than_the_attacker():
    drawn = []

    def noisy(images):
        drawn.append(torch.rand(()).item())
        return images.flatten(1)

    Trial(attacks=[FGSM(epsilon=0.1)])(noisy, torch.ones(1, 1, 1, 2), torch.tensor([0]))
    attacker, examiner = drawn
    assert attacker != examiner
