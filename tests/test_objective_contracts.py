"""The contract of objectives, held by every one in the registry: a new one is tested by being listed there."""

from __future__ import annotations

import math
import re
from dataclasses import fields, is_dataclass

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from objective_cases import CASES, EPSILON, NEEDED, Watched, a_batch, brightest, made, teacher
from unmask.attacks import FGSM
from unmask.losses import log_odds
from unmask.models.masked import ScaledLogits
from unmask.training.objectives import (
    NFGSM,
    OBJECTIVES,
    Adversarial,
    Distilled,
    Ensemble,
    GradAlign,
    GuidedAdversarial,
    LogitDistance,
    Mixture,
    StepDistance,
    Tempered,
    build,
    needs,
)

every_objective = pytest.mark.parametrize("objective", CASES.values(), ids=CASES)


@pytest.fixture
def model():
    return Watched()


@pytest.fixture
def batch():
    return a_batch()


@every_objective
def test_the_loss_is_a_finite_scalar_and_its_gradient_reaches_every_parameter(objective, model, batch):
    loss = objective(model, *batch, step=3)
    assert loss.shape == ()
    assert loss.isfinite()
    for gradient in torch.autograd.grad(loss, list(model.parameters())):
        assert gradient.isfinite().all()
        assert gradient.any()


@every_objective
def test_it_is_finite_on_a_saturated_model(objective, perceptron, digits):
    model = ScaledLogits(perceptron, 300.0)
    loss = objective(model, digits.images[:50], digits.labels[:50])
    assert loss.isfinite()
    assert all(one.isfinite().all() for one in torch.autograd.grad(loss, list(perceptron.parameters())))


@pytest.mark.parametrize("name", [name for name in CASES if name != "gradalign"])  # whose loss has that gradient
def test_a_gradient_that_is_no_number_leaves_its_image_where_it_is(name):
    def by_length(images):
        return (images / images.square().sum((1, 2, 3), keepdim=True).sqrt().add(1e-6)).flatten(1)

    black = torch.zeros(2, 1, 2, 5)
    assert CASES[name](by_length, black, torch.tensor([0, 1])).isfinite()


def draws(part):
    """Return True if an objective, or one within it, has a seed."""
    if isinstance(part, tuple):
        return any(map(draws, part))
    return is_dataclass(part) and any(
        one.name == "seed" or draws(getattr(part, one.name)) for one in fields(part) if one.name != "sources"
    )


@every_objective
def test_the_noise_is_that_of_the_step(objective, batch):
    losses, seen = [], []
    for step in (7, 7, 8):
        model = Watched()  # as the objective has not changed it yet: batch norm keeps count
        torch.manual_seed(0)
        losses.append(objective(model, *batch, step=step))
        seen.append(torch.cat(model.seen))
    assert torch.equal(losses[0], losses[1])
    assert torch.equal(seen[0], seen[1])
    if not draws(objective):
        assert torch.equal(seen[0], seen[2])


@pytest.mark.parametrize("name", [name for name in CASES if draws(CASES[name]) and name != "ensemble"])
def test_another_step_has_other_noise(name, batch):
    seen = []
    for step in (7, 8):
        model = Watched()
        CASES[name](model, *batch, step=step)
        seen.append(torch.cat(model.seen))
    assert not torch.equal(*seen)


@every_objective
def test_modes_gradients_and_the_random_state_are_those_of_its_passes_alone(objective, model, batch):
    frozen = model.layers[4].eval()
    torch.manual_seed(2)
    objective(model, *batch)
    after = torch.get_rng_state()
    assert [part for part in model.modules() if not part.training] == [frozen]
    assert all(one.grad is None for one in model.parameters())
    torch.manual_seed(2)
    for seen in list(model.seen):
        model(seen)
    assert torch.equal(torch.get_rng_state(), after)


@every_objective
def test_images_and_labels_are_left_as_they_were(objective, model, batch):
    images, labels = (one.clone() for one in batch)
    objective(model, *batch)
    assert torch.equal(batch[0], images)
    assert torch.equal(batch[1], labels)
    assert not batch[0].requires_grad


@every_objective
def test_it_can_be_measured_where_gradients_are_switched_off(objective, batch):
    losses = []
    for mode in (torch.enable_grad, torch.no_grad):
        torch.manual_seed(0)
        with mode():
            losses.append(objective(Watched(), *batch))
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if "epsilon" in needs(name)])
def test_images_outside_0_to_1_are_refused_by_whatever_moves_them(name, model, batch):
    images, labels = batch
    with pytest.raises(ValueError, match=r"images: expected pixels in \[0, 1\], got .*; put normalisation inside"):
        made(name)(model, 4 * images - 2, labels)


# --- cost

COSTS = {  # of objectives made of attacks: 3 per pass of the loss, 2 per gradient of an attack
    "fgsm": 5,
    "fgsm+clean": 8,
    "rfgsm": 5,
    "rfgsm+clean": 8,
    "rfgsm+fgsm": 10,
    "pgd": 83,
    "rs-fgsm": 5,
    "n-fgsm": 5,
    "ensemble": 8,
}


def cost_of(name):
    """Return the passes of an update: those listed above, else those in the docstring of its class."""
    return COSTS.get(name) or int(re.search(r"Cost: (\d+) passes", type(made(name)).__doc__)[1])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_update_costs_what_is_said(name):
    """Counted by the products of a network of equal layers; the first of them asks for its input's gradient too."""
    batch, width, layers = 16, 8, 3
    scale = torch.ones(width, requires_grad=True)
    weights = [torch.eye(width).add(0.1).requires_grad_() for _ in range(layers)]

    def model(images):
        hidden = images.flatten(1) * scale
        for weight in weights:
            hidden = torch.tanh(hidden @ weight)
        return hidden

    given = NEEDED | {"sources": (model,), "teacher": model}
    objective = build(name, **{one: given[one] for one in needs(name)})
    images = torch.rand(batch, 1, 2, width // 2, generator=torch.Generator().manual_seed(0))
    with FlopCounterMode(display=False) as counter:
        objective(model, images, torch.arange(batch) % width).backward()
    assert counter.get_total_flops() == cost_of(name) * layers * 2 * batch * width * width


# --- names and settings


@pytest.mark.parametrize("epsilon", [0.25, "1/4"])
@pytest.mark.parametrize("name", [name for name in OBJECTIVES if "epsilon" in needs(name)])
def test_an_objective_trains_against_the_epsilon_it_is_given(name, epsilon):
    objective = build(name, **{one: NEEDED[one] for one in needs(name)} | {"epsilon": epsilon})
    assert set(re.findall(r"epsilon=([\d.]+)", repr(objective))) == {"0.25"}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_attacks_have_the_loss_of_the_papers_unless_the_name_says_otherwise(name):
    for attack in (found := attacks_of(made(name))):
        assert attack.loss.__name__ == "cross_entropy"
    if found:
        assert {attack.loss for attack in attacks_of(build(f"{name}-log-odds", **needed(name)))} == {log_odds}


def needed(name):
    return {one: NEEDED[one] for one in needs(name)}


def attacks_of(objective):
    """Return the attacks of ``unmask.attacks`` within an objective."""
    found = [getattr(objective, "attack", None), *getattr(objective, "attacks", ())]
    return [one for one in found if type(one).__module__.startswith("unmask.attacks")]


def test_settings_of_the_class_can_be_given_by_name():
    assert build("gat-log-odds", epsilon=EPSILON, weight=3.0).weight == 3.0
    assert build("gat-log-odds", epsilon=EPSILON).loss is log_odds


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        (
            "fgms",
            {},
            r"objective: expected one of normal, .*, or one with a loss as in fgsm-log-odds, got 'fgms'",
        ),
        ("normal-log-odds", {}, "objective: expected normal, which has no other loss, got normal-log-odds"),
        ("fgsm", {}, "epsilon: expected one, which fgsm needs, got none"),
        ("ensemble", {"epsilon": 0.1}, "sources: expected one, which ensemble needs, got none"),
        ("normal", {"epsilon": 0.1}, r"epsilon: expected none \(normal takes nothing\), got 0.1"),
        ("fgsm", {"epsilon": 0.1, "sources": ()}, r"sources: expected none \(fgsm takes epsilon\), got \(\)"),
        ("gat", {"epsilon": 8}, r"epsilon: expected a number in \[0, 1\], got 8"),
    ],
)
def test_what_cannot_be_built_is_refused(name, settings, message):
    with pytest.raises(ValueError, match=message):
        build(name, **settings)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Adversarial(attack=FGSM(epsilon=0.1), clean_weight=1), "clean_weight: .* from 0 to below 1, got 1"),
        (lambda: Adversarial(attack=FGSM(epsilon=0.1), clean_weight=-0.1), "clean_weight: expected .* got -0.1"),
        (lambda: Tempered(temperature=0), "temperature: expected a number above 0, got 0"),
        (lambda: Distilled(teacher=teacher, temperature=-1), "temperature: expected a number above 0, got -1"),
        (lambda: Mixture(attacks=()), "attacks: expected at least one, got none"),
        (lambda: Ensemble(attack=FGSM(epsilon=0.1), sources=()), "sources: expected at least one .*, got none"),
        (
            lambda: Ensemble(attack=FGSM(epsilon=0.1), sources=(brightest,), clean_weight=1),
            "clean_weight: .* from 0 to below 1, got 1",
        ),
        *[
            (lambda kind=kind: kind(epsilon=8), r"epsilon: expected a number in \[0, 1\], got 8")
            for kind in (LogitDistance, StepDistance, NFGSM, GradAlign, GuidedAdversarial)
        ],
        (lambda: LogitDistance(epsilon=0.1, weight=-1), "weight: expected a finite number from 0 up, got -1"),
        (lambda: LogitDistance(epsilon=0.1, weight=math.nan), "weight: expected a finite number from 0 up, got nan"),
        (lambda: LogitDistance(epsilon=0.1, alpha=0.2), r"alpha: expected .* from 0 to epsilon \(0.1\), got 0.2"),
        (
            lambda: LogitDistance(epsilon=0.1, step_from_offset="half"),
            "step_from_offset: expected 'full' or 'remaining', got 'half'",
        ),
        (lambda: StepDistance(epsilon=0.1, weight=-1), "weight: expected a finite number from 0 up, got -1"),
        (lambda: StepDistance(epsilon=0.1, alpha=2), r"alpha: expected a number in \[0, 1\], got 2"),
        (lambda: NFGSM(epsilon=0.1, k=-1), "k: expected a number from 0 up, got -1"),
        (lambda: GradAlign(epsilon=0.1, weight=-1), "weight: expected a finite number from 0 up, got -1"),
        (lambda: GuidedAdversarial(epsilon=0.1, weight=math.inf), "weight: expected a finite number .*, got inf"),
        (lambda: GuidedAdversarial(epsilon=0.1, guide_every=0), "guide_every: expected .* from 1 up, got 0"),
        (lambda: GuidedAdversarial(epsilon=0.1, alpha=-1), r"alpha: expected a number in \[0, 1\], got -1"),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
