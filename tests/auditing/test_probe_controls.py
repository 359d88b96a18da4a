"""Probes: each fires on its control, where its remedy wins at equal budget; all are silent where nothing masks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch import nn

from unmask.attacks import FGSM, FRSM, PGD, RFGSM, Square, Trial
from unmask.attacks.trial import examined, predict
from unmask.auditing.battery import Battery
from unmask.auditing.kit import FULL, Kit
from unmask.auditing.ledger import Ledger, Part
from unmask.auditing.preflight import LogProbabilities
from unmask.auditing.probes import (
    Leaking,
    Noise,
    Repair,
    Rising,
    Saturation,
    Smoothness,
    Strength,
    Sweep,
    Vanishing,
    queries,
)
from unmask.auditing.probes.sweep import accuracy_curve, unchanged
from unmask.auditing.runner import audit
from unmask.auditing.settings import LOOK
from unmask.auditing.verdict import EFFECT
from unmask.losses import cross_entropy
from unmask.models.masked import Quantised, ScaledLogits, SoftmaxOutput, ZeroBackward
from unmask.numerics import Batches
from unmask.statistics import paired_gain

IMAGES = 200

SNAP = 0.2
"""Epsilon, where a model of the tests is made for one."""


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


class Snapped(nn.Module):
    """Wrong where an image has darkened by 0.4 to 0.95 of epsilon, and right again beyond: only a whole step misses."""

    def forward(self, images):
        darker = (0.5 - images).flatten(1).mean(1) / SNAP
        lead = torch.where(darker < 0.95, 1 - darker / 0.4, 1 - darker / 10)
        return torch.stack([lead, torch.zeros_like(lead)], dim=1)


class Gated(nn.Module):
    """Decides as the wrapped model; the only path of its gradient leads through units that are never active."""

    def __init__(self, model):
        super().__init__()
        self.model, self.units = model, nn.ReLU()

    def forward(self, images):
        return self.model(images.detach()) + self.units(images.flatten(1) - 2).sum(1, keepdim=True)


class SurelyProbable(nn.Module):
    """Probabilities so sure that float32 has none left for the rivals, as logits."""

    def __init__(self, model):
        super().__init__()
        self.model = LogProbabilities(SoftmaxOutput(ScaledLogits(model, 30.0)))

    def forward(self, images):
        return self.model(images)


class Jittery(nn.Module):
    """The wrapped model, with a ripple too fine to matter to its decision, along other directions at each pass.

    ``z_k + strength / rate sin(rate <r_k, x>)`` has a gradient that is mostly ``strength r_k``.
    """

    def __init__(self, model, strength=5.0, rate=200.0):
        super().__init__()
        self.model, self.strength, self.rate = model, strength, rate

    def forward(self, images):
        ways = torch.randn(len(images), 10, images[0].numel())
        ripple = torch.sin(self.rate * (ways @ images.flatten(1)[:, :, None]).squeeze(2))
        return self.model(images) + self.strength / self.rate * ripple


class Averse(nn.Module):
    """The wrapped model on images from which the mean of their batch is taken."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        return self.model(images - 0.2 * (images - images.mean(0)))


CONTROLS = {
    "float32 saturation": [partial(ScaledLogits, factor=300.0)],
    "logit scale": [partial(ScaledLogits, factor=0.001)],
    "too little precision": [SurelyProbable],
    "vanishing gradients": [ZeroBackward, Quantised],
    "saturated activations": [Gated],
    "non-smooth loss surface": [partial(Rippled, period=0.2)],
    "gradients no better than noise": [ZeroBackward, Misled],
    "gradients that mislead": [Misled, ZeroBackward],
    "non-differentiable operations": [Quantised, ZeroBackward],
    "randomness": [Jittery],
    "queries beat gradients": [Misled, ZeroBackward],
    "single-step attack too weak": [partial(Rippled, period=0.2)],
}

SYMPTOMS = {
    "attack fails at epsilon 1": [partial(ScaledLogits, factor=300.0), ZeroBackward],
    "dependence on the batch": [Averse],
}


def battery_for(model, images, labels, reference, **settings):
    ledger = Ledger(images=images, labels=labels, batches=Batches())
    kit = Kit(reference=reference, model=model, given=model, ledger=ledger, seed=0, classes=10, **settings)
    kit.clean(model, images, labels)
    return Battery(kit)


def findings(model, data, epsilon, reference=None):
    reference = reference or FGSM(epsilon=epsilon, loss=cross_entropy)
    task = (data.images[:IMAGES], data.labels[:IMAGES])
    battery = battery_for(model, *task, reference, epsilon=epsilon)
    return {finding.name: finding for finding in (probe(model, *task) for probe in battery.probes)}


@pytest.mark.parametrize(("name", "wrap"), [(name, wrap) for name, wraps in CONTROLS.items() for wrap in wraps])
def test_a_probe_fires_on_its_control_and_its_remedy_wins(name, wrap, perceptron, held_out):
    finding = findings(wrap(perceptron), held_out, epsilon=0.15 if name == "logit scale" else 0.2)[name]
    assert finding.fired
    assert finding.value > finding.threshold
    assert paired_gain(finding.before, finding.after).low > EFFECT


@pytest.mark.parametrize("factor", [2.0**-10, 2.0**5])
def test_the_search_for_the_worst_case_finds_the_same_at_any_scale_of_logits(factor, perceptron, held_out):
    task = (held_out.images[:40], held_out.labels[:40])
    found = []
    for model in (perceptron, ScaledLogits(perceptron, factor=factor)):
        battery = battery_for(model, *task, FGSM(epsilon=0.1), epsilon=0.1)
        found.append([stage.trial(model, *task).images for stage in battery.search([])])
    assert len(found[0]) == 5
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(("name", "wrap"), [(name, wrap) for name, wraps in SYMPTOMS.items() for wrap in wraps])
def test_a_symptom_that_decides_nothing_is_seen_on_its_control(name, wrap, perceptron, held_out):
    finding = findings(wrap(perceptron), held_out, epsilon=0.2)[name]
    assert finding.fired
    assert finding.kind == "symptom"


def idle(model, images, labels):
    return images


def timid(model, images, labels):
    return FGSM(epsilon=0.05)(model, images, labels)


@dataclass(frozen=True, kw_only=True)
class Restless:
    """Moves at epsilon 0."""

    epsilon: float

    def __call__(self, model, images, labels):
        return (images + self.epsilon + 0.01).clamp(0, 1)


@dataclass(frozen=True, kw_only=True)
class Forgetful:
    """Forgets its last step."""

    epsilon: float
    steps: int = 5

    def __call__(self, model, images, labels):
        return PGD(epsilon=self.epsilon, steps=self.steps - 1)(model, images, labels) if self.steps > 1 else images


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        (idle, "does not move"),
        (timid, "less than half"),
        (Restless(epsilon=0.2), "at epsilon 0"),
        (Forgetful(epsilon=0.2), "last step is not used"),
    ],
)
def test_a_reference_that_is_no_attack_is_found_out(reference, said, perceptron, held_out):
    finding = findings(perceptron, held_out, epsilon=0.2, reference=reference)["reference attack broken"]
    assert finding.fired
    assert finding.kind == "weak attack"
    assert said in finding.symptom


@pytest.mark.parametrize("network", ["linear", "perceptron"])
def test_all_are_silent_where_nothing_masks(network, held_out, request):
    """At an epsilon at which one step is all it takes; every probe has a control above."""
    found = findings(request.getfixturevalue(network), held_out, epsilon=0.05)
    others = {"reference attack broken", "outputs are probabilities", "label leaking", "more epsilon fools fewer"}
    assert found.keys() | {"non-differentiable operations"} == {*CONTROLS, *SYMPTOMS, *others}
    assert [name for name, finding in found.items() if finding.fired] == []


@pytest.mark.parametrize("network", ["linear", "perceptron"])
@pytest.mark.parametrize("epsilon", [0.1, 0.2])
def test_more_steps_win_without_masking(network, epsilon, held_out, request):
    found = findings(request.getfixturevalue(network), held_out, epsilon).values()
    assert {finding.name for finding in found if finding.fired and finding.kind != "weak attack"} == set()


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
    battery = battery_for(perceptron, images, labels, reference, epsilon=0.0)
    probes = {probe.name: probe for probe in battery.probes}

    def spent(trial):
        model = Counting(perceptron)
        assert trial(model, images, labels).correct.all()
        return model.gradients / 10, model.looks / 10

    saturation, smoothness = (probes[name].repair for name in ("float32 saturation", "non-smooth loss surface"))
    assert spent(saturation.control) == spent(saturation.remedy)
    assert spent(smoothness.control)[0] == spent(smoothness.remedy)[0] == FULL.steps
    once = probes["non-smooth loss surface"].once
    assert spent(once.control)[0] == spent(once.remedy)[0] == 1
    blind = probes["vanishing gradients"].repair
    gradients, looks = spent(blind.control), spent(blind.remedy)
    assert looks[0] == 0
    assert gradients[0] + LOOK * gradients[1] == pytest.approx(LOOK * looks[1], rel=0.1)
    assert spent(probes["single-step attack too weak"].control)[0] == 1


# --- what each measures


def always(value):
    """Two logits, 0 and ``value``, whatever the image; the image has a part in them, but none in their values."""
    return lambda images: torch.stack([0 * images.sum((1, 2, 3)), 0 * images.sum((1, 2, 3)) + value], dim=1)


def against(control, remedy):
    return Repair(does="", against="", control=control, remedy=remedy)


@pytest.mark.parametrize(("lead", "fired"), [(16.0, False), (17.5, True)])
def test_saturation_begins_where_the_probability_rounds_to_one(lead, fired):
    images, labels = torch.rand(5, 1, 2, 2), torch.ones(5, dtype=torch.int64)
    blunt, exact = Trial(attacks=[FGSM(epsilon=0.1, loss=cross_entropy)]), Trial(attacks=[FGSM(epsilon=0.1)])
    repair = against(blunt, exact)
    finding = Saturation(repair=repair)(always(lead), images, labels)
    assert finding.fired == fired
    assert not Saturation(repair=repair, applies=False)(always(lead), images, labels).fired
    assert finding.evidence["log odds"] == [lead] * 5
    assert finding.evidence["saturated"] == [fired] * 5
    assert not Saturation(repair=repair)(always(lead), images.double(), labels).fired


def test_saturation_knows_how_many_signs_are_left():
    """Once p_y is 1 cross entropy climbs the other logits alone: with x itself as logits, one sign of two is left."""
    trial = Trial(attacks=[FGSM(epsilon=0.1)])
    images, labels = torch.tensor([0.9, 0.1]).view(1, 1, 1, 2), torch.tensor([0])
    probe = Saturation(repair=against(trial, trial))
    assert [
        probe(lambda x, factor=factor: factor * x.flatten(1), images, labels).evidence["fidelity"]
        for factor in (1, 100, 1000)
    ] == [[1.0], [0.5], [0.0]]


def test_a_gradient_that_is_not_finite_counts_as_none():
    def model(images):
        root = images.flatten(1).mean(1).sqrt()
        return torch.stack([root, 1 - root], dim=1)

    trial = Trial(attacks=[FGSM(epsilon=0.1)])
    finding = Vanishing(attack=trial, repair=against(trial, trial))(
        model, torch.zeros(4, 1, 2, 2), torch.ones(4, dtype=torch.int64)
    )
    assert finding.value == 1
    assert finding.evidence["non-finite gradient"] == [True] * 4
    assert finding.evidence["zero gradient"] == [False] * 4


def test_noise_counts_what_is_fooled_of_what_was_right(perceptron, held_out):
    images, labels = held_out.images[:IMAGES], held_out.labels[:IMAGES]
    nothing = Trial(attacks=[lambda model, images, labels: images])
    finding = Noise(noise=nothing, gradients=nothing, clean=nothing, repair=against(nothing, nothing))(
        perceptron, images, labels
    )
    assert (finding.value, finding.fired) == (0, False)  # errors on clean images are nobody's merit


def test_where_any_step_but_the_one_succeeds_another_single_step_is_the_remedy():
    images = 0.5 + 0.001 * torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels, model = torch.zeros(60, dtype=torch.int64), Snapped()
    battery = battery_for(model, images, labels, FGSM(epsilon=SNAP), epsilon=SNAP)
    (probe,) = (probe for probe in battery.probes if probe.name == "non-smooth loss surface")
    finding = probe(model, images, labels)
    assert finding.fired
    assert "random start" in finding.intervention
    assert paired_gain(finding.before, finding.after).low > 0.5
    many = probe.repair(True, model, images, labels)
    assert paired_gain(many["before"], many["after"]).high < 0.1


def test_smoothness_asks_for_enough_images():
    trial = Trial(attacks=[FGSM(epsilon=0.1)])
    images, labels = torch.rand(19, 1, 2, 2), torch.ones(19, dtype=torch.int64)
    finding = Smoothness(
        clean=trial, one=trial, many=trial, **dict.fromkeys(("once", "repair"), against(trial, trial))
    )(always(5.0), images, labels)
    assert (finding.value, finding.fired) == (0, False)


def test_queries_are_the_difference_in_accuracy(perceptron, held_out):
    images, labels = held_out.images[:IMAGES], held_out.labels[:IMAGES]
    noise, search = Trial(attacks=[FRSM(epsilon=0.1)]), Trial(attacks=[Square(epsilon=0.1, queries=30)])
    finding = queries(control=noise, remedy=search)(perceptron, images, labels)
    assert finding.value == pytest.approx(finding.accuracy_before - finding.accuracy_after)
    assert (finding.fired, finding.kind) == (True, "weak attack")
    assert not queries(control=search, remedy=search)(perceptron, images, labels).fired


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


def test_an_attack_that_does_worse_with_more_epsilon_is_seen():
    """One step lands in the trough of a ripple at 0.05, and on its next crest at 0.1."""

    def ripple(images):
        height = (20 * torch.pi * images.flatten(1)).cos()
        return torch.cat([height, -height], dim=1)

    images, labels = torch.full((30, 1, 1, 1), 0.501), torch.zeros(30, dtype=torch.int64)
    control, further = (Trial(attacks=[FGSM(epsilon=epsilon)]) for epsilon in (0.05, 0.1))
    probe = Rising(control=control, further=further, some=lambda x, y: Part(torch.arange(0, 30, 2), x, y))
    assert (probe(ripple, images, labels).fired, probe(ripple, images, labels).value) == (True, 1.0)
    assert not probe(lambda x: ripple(x / 10), images, labels).fired


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


def test_label_leaking_is_being_right_under_one_step_only():
    """A ripple of period 0.1, wrong at the images: a step against the truth ends where the model is right."""

    def ripple(images):
        height = (20 * torch.pi * images.flatten(1)).sin()
        return torch.cat([height, -height], dim=1)

    images, labels = torch.full((40, 1, 1, 1), 0.499), torch.zeros(40, dtype=torch.int64)
    one, random, many = (Trial(attacks=[kind(epsilon=0.06)]) for kind in (FGSM, RFGSM, PGD))
    probe = Leaking(clean=Trial(attacks=[unchanged]), one=one, random=random, many=many)
    finding = probe(ripple, images, labels)
    assert (finding.fired, finding.value, finding.kind) == (True, 1.0, "symptom")
    assert "0.0 % without an attack, 100.0 % under one step" in finding.symptom
    assert not probe(lambda x: ripple(x / 10), images, labels).fired


def test_the_logit_distance_is_that_of_the_two_single_steps(perceptron, held_out):
    task = held_out.images[:30], held_out.labels[:30]
    attacks = {"one": FGSM(epsilon=0.1), "random": RFGSM(epsilon=0.1, alpha=0.05, seed=3), "many": PGD(epsilon=0.1)}
    probe = Leaking(clean=Trial(attacks=[unchanged]), **{name: Trial(attacks=[one]) for name, one in attacks.items()})
    step, start = (examined(perceptron, attacks[name](perceptron, *task)) for name in ("one", "random"))
    expected = (step.double() - start.double()).norm(dim=1)
    torch.testing.assert_close(torch.tensor(probe(perceptron, *task).evidence["logit distance"]).double(), expected)


@pytest.mark.parametrize(("claimed", "used"), [(None, 50), (0.3, 200), (0.0, 50)])
def test_a_sample_settles_a_remedy_only_if_it_also_settles_it_against_the_claim(claimed, used):
    images, labels = torch.rand(IMAGES, 1, 1, 2), torch.zeros(IMAGES, dtype=torch.int64)
    images[:, 0, 0, 0] = torch.arange(IMAGES) / IMAGES % 0.25 * 4  # each quarter of the images holds all shares

    def flip(share):
        def attack(model, x, y):
            return torch.where(x[:, :, :, :1] < share, 0.0, 1.0).expand_as(x)

        return Trial(attacks=[attack])

    def model(x):
        return torch.stack([x[:, 0, 0, 0] - 0.5, 0.5 - x[:, 0, 0, 0]], 1)

    repair = Repair(
        does="",
        against="",
        control=flip(0.0),
        remedy=flip(0.3),
        some=lambda x, y: Part(torch.arange(50), x[:50], y[:50]),
        claimed=None if claimed is None else flip(claimed),
    )
    assert len(repair(True, model, images, labels)["after"]) == used
