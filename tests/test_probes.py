"""Probes: each fires on its control, where its remedy wins at equal budget; all are silent where nothing masks."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import nn

from unmask.attacks import FGSM, FRSM, PGD, Square, Trial
from unmask.attacks.trial import predict
from unmask.audit import audit
from unmask.losses import cross_entropy
from unmask.models.masked import Quantised, ScaledLogits, ZeroBackward
from unmask.numerics import Batches
from unmask.probes import Battery, Noise, Queries, Saturation, Smoothness, Strength, Vanishing
from unmask.probes.battery import DRAWS, STEPS
from unmask.probes.sweep import Sweep, accuracy_curve
from unmask.verdict import EFFECT, paired_gain

IMAGES = 200


class WrongWay(torch.autograd.Function):
    @staticmethod
    def forward(ctx, images):
        return images.view_as(images)

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


class Misled(nn.Module):
    """Decides as the wrapped model; its gradient points away from errors."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        return self.model(WrongWay.apply(images))


class Rippled(nn.Module):
    """The wrapped model, with a ripple in each logit that returns after ``period``.

    ``z_k + 0.1 sum_i sin(2 pi x_i / period + phase_ki)``: at epsilon = period one step lands where it was on the
    ripple, along a gradient that is all ripple, while small steps climb it to far above any margin.
    """

    def __init__(self, model, period):
        super().__init__()
        self.model = model
        self.wave = 2 * math.pi / period
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("phase", 2 * math.pi * torch.rand(10, 64, generator=generator))

    def forward(self, images):
        ripple = torch.sin(self.wave * images.flatten(1)[:, None] + self.phase).sum(2)
        return self.model(images) + 0.1 * ripple


CONTROLS = {
    "float32 saturation": [partial(ScaledLogits, factor=300.0)],
    "vanishing gradients": [ZeroBackward, Quantised],
    "non-smooth loss surface": [partial(Rippled, period=0.2)],
    "gradients no better than noise": [ZeroBackward, Misled],
    "single-step attack too weak": [partial(Rippled, period=0.2)],
    "attack fails at epsilon 1": [partial(ScaledLogits, factor=300.0), ZeroBackward],
}


def findings(model, data, epsilon):
    reference = FGSM(epsilon=epsilon, loss=cross_entropy)
    battery = Battery(reference, epsilon=epsilon, classes=10, seed=0, batches=Batches())
    images, labels = data.images[:IMAGES], data.labels[:IMAGES]
    return {finding.name: finding for finding in (probe(model, images, labels) for probe in battery.probes)}


@pytest.mark.parametrize(("name", "wrap"), [(name, wrap) for name, wraps in CONTROLS.items() for wrap in wraps])
def test_a_probe_fires_on_its_control_and_its_remedy_wins(name, wrap, perceptron, held_out):
    finding = findings(wrap(perceptron), held_out, epsilon=0.2)[name]
    assert finding.fired
    assert finding.value > finding.threshold
    assert paired_gain(finding.before, finding.after).low > EFFECT


@pytest.mark.parametrize("network", ["linear", "perceptron"])
def test_all_are_silent_where_nothing_masks(network, held_out, request):
    """At an epsilon at which one step is all it takes; the probes are those that have a control above."""
    found = findings(request.getfixturevalue(network), held_out, epsilon=0.05)
    assert found.keys() == CONTROLS.keys()
    assert [name for name, finding in found.items() if finding.fired] == []


@pytest.mark.parametrize("network", ["linear", "perceptron"])
@pytest.mark.parametrize("epsilon", [0.1, 0.2])
def test_more_steps_win_without_masking(network, epsilon, held_out, request):
    found = findings(request.getfixturevalue(network), held_out, epsilon).values()
    assert {finding.kind for finding in found if finding.fired} <= {"weak attack"}


# --- equal budgets


class Counting(nn.Module):
    """Counts gradients, and looks without one, per image."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.gradients = self.looks = 0

    def forward(self, images):
        if torch.is_grad_enabled() and images.requires_grad:
            self.gradients += len(images)
        else:
            self.looks += len(images)
        return self.model(images)


def unaided(model, images, labels):
    """An attack without settings, which takes one gradient."""
    return FGSM(epsilon=0.0)(model, images, labels)


@pytest.mark.parametrize("reference", [FGSM(epsilon=0.0, loss=cross_entropy), PGD(epsilon=0.0, steps=3), unaided])
def test_control_and_remedy_have_the_same_budget(reference, perceptron, held_out):
    """At epsilon 0 no image falls, so that every attack is run to its end on each."""
    images = held_out.images[:10]
    labels = predict(perceptron, images)
    battery = Battery(reference, epsilon=0.0, classes=10, seed=0, batches=Batches())

    def spent(trial):
        model = Counting(perceptron)
        assert trial(model, images, labels).correct.all()
        return model.gradients / 10, model.looks / 10

    saturation, vanishing, smoothness, noise, strength = battery.probes[:5]
    assert spent(saturation.control) == spent(saturation.remedy)
    assert spent(smoothness.control)[0] == spent(smoothness.remedy)[0] == STEPS
    for probe in (vanishing, noise):
        assert spent(probe.control) == (DRAWS, DRAWS)  # tries each gradient once
        assert spent(probe.remedy) == (0, DRAWS)
    assert spent(strength.control)[0] == 1


# --- what each measures


def always(value):
    """Two logits, 0 and ``value``, whatever the image; the image has a part in them, but none in their values."""
    return lambda images: torch.stack([0 * images.sum((1, 2, 3)), 0 * images.sum((1, 2, 3)) + value], dim=1)


@pytest.mark.parametrize(("lead", "fired"), [(16.0, False), (17.5, True)])
def test_saturation_begins_where_the_probability_rounds_to_one(lead, fired):
    images, labels = torch.rand(5, 1, 2, 2), torch.ones(5, dtype=torch.int64)
    blunt, exact = Trial(attacks=[FGSM(epsilon=0.1, loss=cross_entropy)]), Trial(attacks=[FGSM(epsilon=0.1)])
    finding = Saturation(control=blunt, remedy=exact)(always(lead), images, labels)
    assert finding.fired == fired
    assert not Saturation(control=exact, remedy=exact)(always(lead), images, labels).fired
    assert finding.evidence["log odds"] == [lead] * 5
    assert finding.evidence["saturated"] == [fired] * 5
    double = Saturation(control=blunt, remedy=exact)(always(lead), images.double(), labels)
    assert not double.fired
    assert (finding.name, double.name) == ("float32 saturation", "saturation")


def test_saturation_knows_how_many_signs_are_left():
    """Once p_y is 1 cross entropy climbs the other logits alone: with x itself as logits, one sign of two is left."""
    trial = Trial(attacks=[FGSM(epsilon=0.1)])
    images, labels = torch.tensor([0.9, 0.1]).view(1, 1, 1, 2), torch.tensor([0])
    probe = Saturation(control=trial, remedy=trial)
    assert [
        probe(lambda x, factor=factor: factor * x.flatten(1), images, labels).evidence["fidelity"]
        for factor in (1, 100, 1000)
    ] == [[1.0], [0.5], [0.0]]


def test_a_gradient_that_is_not_finite_counts_as_none():
    def model(images):
        root = images.flatten(1).mean(1).sqrt()
        return torch.stack([root, 1 - root], dim=1)

    trial = Trial(attacks=[FGSM(epsilon=0.1)])
    finding = Vanishing(control=trial, remedy=trial)(model, torch.zeros(4, 1, 2, 2), torch.ones(4, dtype=torch.int64))
    assert finding.value == 1
    assert finding.evidence["non-finite gradient"] == [True] * 4
    assert finding.evidence["zero gradient"] == [False] * 4


def test_noise_counts_what_is_fooled_of_what_was_right(perceptron, held_out):
    images, labels = held_out.images[:IMAGES], held_out.labels[:IMAGES]
    nothing = Trial(attacks=[lambda model, images, labels: images])
    finding = Noise(control=nothing, remedy=nothing, clean=nothing)(perceptron, images, labels)
    assert (finding.value, finding.fired) == (0, False)  # errors on clean images are nobody's merit


def test_smoothness_asks_for_enough_images():
    trial = Trial(attacks=[FGSM(epsilon=0.1)])
    images, labels = torch.rand(19, 1, 2, 2), torch.ones(19, dtype=torch.int64)
    finding = Smoothness(one=trial, control=trial, remedy=trial)(always(5.0), images, labels)
    assert (finding.value, finding.fired) == (0, False)


def test_queries_are_the_difference_in_accuracy(perceptron, held_out):
    images, labels = held_out.images[:IMAGES], held_out.labels[:IMAGES]
    noise, search = Trial(attacks=[FRSM(epsilon=0.1)]), Trial(attacks=[Square(epsilon=0.1, queries=30)])
    finding = Queries(control=noise, remedy=search)(perceptron, images, labels)
    assert finding.value == pytest.approx(finding.accuracy_before - finding.accuracy_after)
    assert (finding.fired, finding.kind) == (True, "weak attack")
    assert not Queries(control=search, remedy=search)(perceptron, images, labels).fired


def test_strength_is_the_difference_in_accuracy(perceptron, held_out):
    images, labels = held_out.images[:IMAGES], held_out.labels[:IMAGES]
    one, many = Trial(attacks=[FGSM(epsilon=0.02)]), Trial(attacks=[FGSM(epsilon=0.1)])
    finding = Strength(control=one, remedy=many)(perceptron, images, labels)
    assert finding.value == pytest.approx(finding.accuracy_before - finding.accuracy_after)
    assert finding.fired
    assert not Strength(control=many, remedy=many)(perceptron, images, labels).fired


def test_a_model_that_knows_one_class_only_cannot_be_fooled_at_epsilon_one():
    images, labels = torch.rand(6, 1, 2, 2), torch.tensor([1, 1, 1, 0, 0, 0])
    attack, clean = Trial(attacks=[FGSM(epsilon=1.0)]), Trial(attacks=[lambda model, images, labels: images])
    finding = Sweep(control=attack, clean=clean, threshold=0.2)(always(5.0), images, labels)
    assert finding.before == finding.after == [True] * 3 + [False] * 3


def test_an_attack_without_a_sweep_has_no_curve(perceptron, held_out):
    with pytest.raises(TypeError, match="attack: expected one with a sweep over epsilons, got <function unaided"):
        accuracy_curve("x", unaided, perceptron, held_out.images, held_out.labels, epsilons=[0.1], batches=Batches())


def test_a_claim_that_was_right_is_not_called_masked(perceptron, held_out):
    """The ripple spoils one step, but not the many steps of the second reference: its claim was right."""
    model, task = Rippled(perceptron, period=0.2), (held_out.images, held_out.labels)
    naive = audit(model, *task, epsilon=0.2)
    honest = audit(model, *task, epsilon=0.2, reference=PGD(epsilon=0.2, steps=40))
    assert "non-smooth loss surface" in naive.causes
    assert honest.causes == []
    assert list(honest.decision.weaknesses) == []
