"""What single probes measure, exact where theory has the answer."""

from __future__ import annotations

import math

import pytest
import torch
from audit_cases import SNAP, Snapped, always

from unmask.attacks import FGSM, logits_of
from unmask.auditing import FULL
from unmask.auditing.evaluator import Evaluator
from unmask.auditing.probes import (
    Leaking,
    Noise,
    RisingAccuracy,
    Saturation,
    Scale,
    SingleStepWeak,
    Smoothness,
    UnboundedEpsilon,
    Vanishing,
    WeakerThanQueries,
)
from unmask.auditing.probes.direction import OPERATIONS_PROBE
from unmask.auditing.probes.leaking import mean_of
from unmask.auditing.repair import Repair
from unmask.losses import log_odds
from unmask.statistics import paired_gain
from unmask.threats import Linf

ONES = torch.ones(5, dtype=torch.int64)


def asked(probe, context):
    """Return the probe's finding, after the trial that every audit begins with."""
    context.evaluator.run(context.trials.clean)
    return probe(context)


@pytest.mark.parametrize(("lead", "fired"), [(16.0, False), (17.5, True)])
def test_saturation_begins_where_the_probability_rounds_to_one(lead, fired, context_of):
    images = torch.rand(5, 1, 2, 2)
    found = asked(Saturation(), context_of(always(lead), images, ONES))
    assert found.fired == fired
    assert found.values["log odds"] == [lead] * 5
    assert found.values["saturated"] == [fired] * 5
    assert not asked(Saturation(), context_of(always(lead), images, ONES, reference=FGSM(0.1, loss=log_odds))).fired
    assert not asked(Saturation(), context_of(always(lead), images.double(), ONES)).fired


@pytest.mark.parametrize(("factor", "fidelity"), [(1, 1.0), (100, 0.5), (1000, 0.0)])
def test_saturation_counts_the_signs_that_are_left(factor, fidelity, context_of):
    """Once p_y is 1 cross entropy climbs the other logits alone: with x itself as logits, one sign of two is left."""
    images, labels = torch.tensor([0.9, 0.1]).view(1, 1, 1, 2), torch.tensor([0])
    context = context_of(lambda x: factor * x.flatten(1), images, labels)
    assert asked(Saturation(), context).values["fidelity"] == [fidelity]


@pytest.mark.parametrize(("lead", "fired"), [(0.5, False), (0.125, True)])
def test_logits_are_too_small_below_a_twentieth_of_five_nats(lead, fired, context_of):
    found = asked(Scale(), context_of(always(lead), torch.rand(5, 1, 2, 2), ONES))
    assert (found.value, found.fired) == (5 / lead, fired)


def test_gradient_that_is_not_finite_counts_as_none(context_of):
    def model(images):
        root = images.flatten(1).mean(1).sqrt()
        return torch.stack([root, 1 - root], dim=1)

    found = asked(Vanishing(), context_of(model, torch.zeros(5, 1, 2, 2), ONES, epsilon=0.0))
    assert found.value == 1
    assert found.values["non-finite gradient"] == [True] * 5
    assert found.values["zero gradient"] == [False] * 5
    assert found.blinding


def test_noise_counts_images_that_were_right(context_of, perceptron):
    """Errors on clean images are no merit of noise; at epsilon 0 there are no others."""
    context = context_of(perceptron, epsilon=0.0)
    found = asked(Noise(), context)
    assert not context.evaluator.run(context.trials.clean).correct.all()
    assert (found.value, found.fired) == (0, False)


def test_another_single_step_is_the_remedy_where_only_the_whole_step_fails(context_of):
    images = 0.5 + 0.001 * torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    context = context_of(Snapped(), images, torch.zeros(60, dtype=torch.int64), epsilon=SNAP)
    found = asked(Smoothness(), context)
    assert found.fired
    assert "random start" in found.remedy
    assert paired_gain(found.before, found.after).low > 0.5
    control, remedy = (context.evaluator.run(one).correct for one in (context.trials.singles, context.trials.many))
    assert paired_gain(control.tolist(), remedy.tolist()).high < 0.1


@pytest.mark.parametrize(("count", "value"), [(19, 0.0), (20, 1.0)])
def test_smoothness_asks_for_twenty_images_that_fall(count, value, context_of):
    """All withstand one step and fall to many, which is the symptom, but 19 are too few to say so."""
    images = 0.5 + 0.001 * torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(60, dtype=torch.int64)
    context = context_of(Snapped(), images, labels, epsilon=SNAP, effort=FULL)
    context.evaluator.run(context.trials.clean)
    fallen = (~context.evaluator.run(context.trials.many).correct).nonzero().flatten()[:count]
    found = asked(Smoothness(), context_of(Snapped(), images[fallen], labels[fallen], epsilon=SNAP, effort=FULL))
    assert (found.value, found.fired) == (value, value > 0)


@pytest.mark.parametrize("probe", [SingleStepWeak(), WeakerThanQueries()])
def test_weakness_is_the_difference_in_accuracy(probe, context_of, perceptron):
    context = context_of(perceptron, epsilon=0.2)
    found = asked(probe, context)
    assert found.value == pytest.approx(found.accuracy_before - found.accuracy_after)
    assert found.fired == (found.value > 0.02)
    assert found.kind == "weak attack"
    assert not asked(probe, context_of(perceptron, epsilon=0.0)).fired


def test_step_too_short_is_weaker_than_queries(context_of, perceptron):
    found = asked(WeakerThanQueries(), context_of(perceptron, reference=FGSM(0.001)))
    assert found.fired
    assert found.value == pytest.approx(found.accuracy_before - found.accuracy_after)


def test_model_that_knows_one_class_only_cannot_be_fooled_at_epsilon_one(context_of):
    images, labels = torch.rand(6, 1, 2, 2), torch.tensor([1, 1, 1, 0, 0, 0])
    found = asked(UnboundedEpsilon(), context_of(always(5.0), images, labels))
    assert found.before == found.after == [True] * 3 + [False] * 3


@pytest.mark.parametrize(("slowed", "value"), [(1, 1.0), (10, 0.0)])
def test_attack_that_does_worse_with_more_epsilon_is_seen(slowed, value, context_of):
    """One step lands in the trough of a ripple at 0.05, and on its next crest at 0.1."""

    def ripple(images):
        height = (20 * torch.pi * images.flatten(1) / slowed).cos()
        return torch.cat([height, -height], dim=1)

    images, labels = torch.full((30, 1, 1, 1), 0.501), torch.zeros(30, dtype=torch.int64)
    found = asked(RisingAccuracy(), context_of(ripple, images, labels, epsilon=0.05))
    assert (found.value, found.fired) == (value, value > 0)


@pytest.mark.parametrize(("slowed", "value"), [(1, 1.0), (10, 0.0)])
def test_label_leaking_is_being_right_under_one_step_only(slowed, value, context_of):
    """A ripple of period 0.1, wrong at the images: a step against the truth ends where the model is right."""

    def ripple(images):
        height = (20 * torch.pi * images.flatten(1) / slowed).sin()
        return torch.cat([height, -height], dim=1)

    images, labels = torch.full((40, 1, 1, 1), 0.499), torch.zeros(40, dtype=torch.int64)
    found = asked(Leaking(), context_of(ripple, images, labels, epsilon=0.06))
    assert found.kind == "symptom"
    assert (found.value > 0, found.fired) == (value > 0, value > 0)
    if value:
        assert found.value == value
        assert "0.0 % without an attack, 100.0 % under one step" in found.symptom


def test_logit_distance_is_that_of_the_two_single_steps(context_of, perceptron, task):
    context = context_of(perceptron)
    found = asked(Leaking(), context)
    step, start = (
        logits_of(perceptron, trial.attacks[0](perceptron, *task))
        for trial in (context.trials.one, context.trials.started)
    )
    expected = (step.double() - start.double()).norm(dim=1)
    torch.testing.assert_close(torch.tensor(found.values["logit distance"]).double(), expected)


def test_direction_counts_signs_unlike_the_proxys(context_of):
    """A quarter of the pixels are rounded, which leaves them no gradient, and BPDA gives them one."""

    def model(images):
        pixels = images.flatten(1)
        score = (pixels * torch.tensor([1.0, 1.0, 1.0, 0.0])).sum(1) + pixels[:, 3].round()
        return torch.stack([score, 0 * score], dim=1)

    found = asked(OPERATIONS_PROBE, context_of(model, torch.rand(5, 1, 2, 2), 0 * ONES))
    assert (found.fired, found.values["agreement"]) == (True, [0.75] * 5)


@pytest.mark.parametrize(("claimed", "used"), [(None, 50), (0.3, 200), (0.0, 50)])
def test_sample_settles_a_remedy_only_if_it_also_settles_it_against_the_claim(claimed, used):
    images, labels = torch.rand(200, 1, 1, 2), torch.zeros(200, dtype=torch.int64)
    images[:, 0, 0, 0] = torch.arange(200) / 200 % 0.25 * 4  # each quarter of the images holds all shares

    def model(x):
        return torch.stack([x[:, 0, 0, 0] - 0.5, 0.5 - x[:, 0, 0, 0]], 1)

    evaluator = Evaluator(model=model, images=images, labels=labels, threat=Linf(1.0))
    evaluator.run(evaluator.trial("no attack", lambda m, x, y: x))

    def flip(share):
        return evaluator.trial("flip", lambda m, x, y: torch.where(x[..., :1] < share, 0.0, 1.0).expand_as(x))

    repair = Repair(
        does="",
        against="",
        control=flip(0.0),
        remedy=flip(0.3),
        sample=torch.arange(50),
        claimed=None if claimed is None else flip(claimed),
    )
    tried = repair(True, evaluator)
    assert len(tried["after"]) == used
    assert tried["rows"] == (list(range(50)) if used == 50 else [])
    assert repair(False, evaluator)["after"] == []


def test_mean_over_no_finite_value_is_zero():
    assert mean_of(torch.tensor([math.nan, math.inf])) == 0
