"""Probes on their controls: each fires there, its remedy wins at equal budget, and none fires elsewhere."""

from __future__ import annotations

from functools import partial

import pytest
from audit_cases import Averse, Counting, Gated, Jittery, Misled, Rippled, SurelyProbable

from unmask.attacks import FGSM, PGD, predict
from unmask.attacks.attack import FORWARD
from unmask.auditing import PROBES, Effort, prepare
from unmask.auditing.evaluator import Evaluator
from unmask.auditing.probes.saturation import _repair
from unmask.auditing.verdict import EFFECT
from unmask.models.masked import Quantised, ScaledLogits, SoftmaxOutput, ZeroBackward
from unmask.statistics import paired_gain
from unmask.threats import Linf

IMAGES = 200

EFFORT = Effort(steps=20, glance=100, few=50, queries=300, sample=100, search=0)
"""Enough for every remedy to win."""

MODELS = {
    "plain": lambda model: model,
    "logits times 300": partial(ScaledLogits, factor=300.0),
    "logits times 0.001": partial(ScaledLogits, factor=0.001),
    "probabilities": SoftmaxOutput,
    "sure probabilities": SurelyProbable,
    "gradient of zero": ZeroBackward,
    "quantised": Quantised,
    "gated": Gated,
    "rippled": partial(Rippled, period=0.2),
    "misled": Misled,
    "jittery": Jittery,
    "averse": Averse,
}

CONTROLS = {
    "float32 saturation": ["logits times 300"],
    "logit scale": ["logits times 0.001"],
    "too little precision": ["sure probabilities"],
    "vanishing gradients": ["gradient of zero", "quantised"],
    "saturated activations": ["gated"],
    "non-smooth loss surface": ["rippled"],
    "gradients no better than noise": ["gradient of zero", "misled"],
    "gradients that mislead": ["misled", "gradient of zero"],
    "non-differentiable operations": ["quantised", "gradient of zero"],
    "randomness": ["jittery"],
    "queries beat gradients": ["misled", "gradient of zero"],
    "single-step attack too weak": ["rippled"],
}
"""The models on which each probe fires and its remedy wins."""

SYMPTOMS = {
    "attack fails at epsilon 1": ["logits times 300", "gradient of zero"],
    "dependence on the batch": ["averse"],
}
"""The models on which probes fire that decide nothing."""

ELSEWHERE = {
    "outputs are probabilities",
    "reference attack weaker than queries",
    "label leaking",
    "reference attack broken",
    "more epsilon fools fewer",
}
"""Probes whose controls stand in other tests of the audit."""


@pytest.fixture(scope="module")
def finding(perceptron, linear, held_out):
    """The finding of a probe on a model at an epsilon; all probes of a model share its context."""
    contexts, found = {}, {}

    def find(name, model, epsilon=0.2):
        if (model, epsilon) not in contexts:
            made = linear if model == "linear" else MODELS[model](perceptron)
            task = held_out.images[:IMAGES], held_out.labels[:IMAGES]
            contexts[model, epsilon] = context = prepare(made, *task, epsilon=epsilon, effort=EFFORT)
            context.evaluator.run(context.trials.clean)
        if (name, model, epsilon) not in found:
            (probe,) = (probe for probe in PROBES if probe.name == name)
            context = contexts[model, epsilon]
            found[name, model, epsilon] = None if probe.skip(context) is not None else probe(context)
        return found[name, model, epsilon]

    return find


def pairs(table):
    return [(name, model) for name, models in table.items() for model in models]


@pytest.mark.parametrize(("name", "model"), pairs(CONTROLS))
def test_probe_fires_on_its_control_and_its_remedy_wins(name, model, finding):
    found = finding(name, model, epsilon=0.15 if name == "logit scale" else 0.2)
    assert found.fired
    assert found.value > found.threshold
    assert paired_gain(found.before, found.after).low > EFFECT


@pytest.mark.parametrize(("name", "model"), pairs(SYMPTOMS))
def test_symptom_that_decides_nothing_is_seen_on_its_control(name, model, finding):
    found = finding(name, model)
    assert found.fired
    assert found.kind == "symptom"


def test_every_probe_has_a_control():
    assert {probe.name for probe in PROBES} == {*CONTROLS, *SYMPTOMS, *ELSEWHERE}


@pytest.mark.parametrize("model", ["linear", "plain"])
@pytest.mark.parametrize("name", [probe.name for probe in PROBES])
def test_no_probe_fires_where_nothing_masks(name, model, finding):
    """At an epsilon at which one step is all it takes."""
    found = finding(name, model, epsilon=0.05)
    assert found is None or not found.fired
    assert (found is None) == (name in {"non-differentiable operations", "reference attack weaker than queries"})


@pytest.mark.parametrize("model", ["linear", "plain"])
@pytest.mark.parametrize("epsilon", [0.1, 0.2])
def test_more_steps_win_without_masking(model, epsilon, finding):
    found = [finding(probe.name, model, epsilon) for probe in PROBES]
    assert {one.name for one in found if one and one.fired and one.kind != "weak attack"} == set()


def test_probabilities_are_found_and_their_logarithms_attacked(finding):
    found = finding("outputs are probabilities", "probabilities")
    assert (found.fired, found.value) == (True, 1)
    assert sum(found.after) <= sum(found.before)


# --- equal budgets


def unaided(model, images, labels):
    """An attack without settings, which takes one gradient."""
    return FGSM(0.0)(model, images, labels)


@pytest.fixture
def standing(perceptron, held_out):
    """Ten images that no attack at epsilon 0 fools, so that each is run to its end, and their labels."""
    images = held_out.images[:10]
    return images, predict(perceptron, images)


def spent(trial, perceptron, images, labels):
    """Return the gradients and the other forward passes that a trial takes for each image."""
    model = Counting(perceptron)
    evaluator = Evaluator(model=model, images=images, labels=labels, threat=Linf(0.0))
    assert evaluator.run_unrecorded(trial).correct.all()
    return model.gradients / len(images), model.forwards / len(images)


@pytest.mark.parametrize("reference", [FGSM(0.0), PGD(0.0, steps=3), unaided])
def test_remedy_of_saturation_has_the_budget_of_its_control(reference, perceptron, standing):
    repair = _repair(prepare(perceptron, *standing, epsilon=0.0, reference=reference))
    assert spent(repair.control, perceptron, *standing) == spent(repair.remedy, perceptron, *standing)


def test_control_and_remedy_have_the_same_budget(perceptron, standing):
    context = prepare(perceptron, *standing, epsilon=0.0, effort=EFFORT)
    trials, blind = context.trials, context.queries_against_gradients()
    compared = (trials.one, trials.started, trials.many, trials.singles, blind.control, blind.remedy)
    one, started, many, singles, gradients, queries = (spent(trial, perceptron, *standing) for trial in compared)
    assert one[0] == started[0] == 1
    assert many[0] == singles[0] == EFFORT.steps
    assert queries[0] == 0
    assert gradients[0] + FORWARD * gradients[1] == pytest.approx(FORWARD * queries[1], rel=0.1)


def test_declared_cost_of_a_trial_is_what_it_takes(perceptron, standing):
    """In gradients; a forward pass counts 0.4."""
    trials = prepare(perceptron, *standing, epsilon=0.0, effort=EFFORT).trials
    for trial in (
        trials.clean,
        trials.claimed,
        trials.one,
        trials.many,
        trials.singles,
        trials.started,
        trials.rivals,
        trials.noise,
        trials.queries(50),
    ):
        gradients, forwards = spent(trial, perceptron, *standing)
        assert trial.cost == pytest.approx(gradients + FORWARD * forwards, rel=0.05), trial.name
