"""Outcomes kept on disk: a killed audit goes on where it was, and takes no other audit's outcomes for its own."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from unmask.adapters import normalised
from unmask.attacks import PGD, Outcome, Transfer, as_attack, bpda
from unmask.auditing import audit
from unmask.auditing.cache import Cache
from unmask.auditing.probes.other_attacks import others
from unmask.auditing.trial import Proxy, Trial
from unmask.models import build

EPSILON = 0.1


class Killed(BaseException):
    """The end of a process, whenever it comes."""


def kill(stage, share):
    """Progress that ends the process in the search."""
    if stage == "Auto-PGD":
        raise Killed


def test_killed_audit_goes_on_where_it_was(perceptron, task, effort, tmp_path):
    with pytest.raises(Killed):
        audit(perceptron, *task, epsilon=EPSILON, effort=effort, cache=tmp_path, progress=kill)
    again, many = [], f"{effort.steps} steps"
    report = audit(
        perceptron,
        *task,
        epsilon=EPSILON,
        effort=effort,
        cache=str(tmp_path),
        progress=lambda stage, share: again.append(stage),
    )
    assert not {"reference attack", many} & set(again)
    assert "Auto-PGD" in again
    whole = audit(perceptron, *task, epsilon=EPSILON, effort=effort)
    assert replace(report, seconds=0.0) == replace(whole, seconds=0.0)
    assert not any(tmp_path.iterdir()) if tmp_path.exists() else True


@pytest.fixture
def run(context_of, tmp_path):
    """Run several attacks on a model, with or without a cache, and return what became of the examples."""

    def outcomes(model, *, cached=True, **options):
        context = context_of(model, cache=tmp_path if cached else None, **options)
        trials, evaluator = context.trials, context.evaluator
        own = [probe.trial for probe in others(context)]
        ran = [evaluator.run(trial) for trial in (trials.clean, trials.claimed, trials.many, *own)]
        assert not cached or list(tmp_path.glob("*.outcome"))
        return [(outcome.correct.tolist(), outcome.margin.tolist()) for outcome in ran]

    return outcomes


def test_outcomes_are_not_taken_for_another_models(linear, perceptron, run):
    run(perceptron)
    assert run(linear) == run(linear, cached=False)


def test_outcomes_are_not_taken_for_those_of_another_wrapper(perceptron, run):
    """The wrapper's settings are no weights."""
    run(normalised(perceptron, mean=0.9, std=0.3))
    model = normalised(perceptron, mean=0.0, std=1.0)
    assert run(model) == run(model, cached=False)


@pytest.mark.parametrize("other", [{"epsilon": 0.05}, {"seed": 1}, {"surrogate": "linear"}], ids=str)
def test_outcomes_are_not_taken_for_those_of_other_settings(other, perceptron, linear, run):
    other = {"surrogate": linear} if "surrogate" in other else other
    first = run(perceptron)
    assert run(perceptron, **other) == run(perceptron, cached=False, **other) != first


class Stepped:
    """Somebody's attack, of whose settings its name says nothing."""

    def __init__(self, steps):
        self.steps = steps

    def __call__(self, model, images, labels):
        return PGD(EPSILON, steps=self.steps, start="clean")(model, images, labels)


class SteppedModule(nn.Module):
    """The same as a module, of whose settings its weights say nothing."""

    def __init__(self, steps):
        super().__init__()
        self.attack = Stepped(steps)

    def forward(self, model, images, labels):
        return self.attack(model, images, labels)


def on_a_network(seed):
    """A transfer from a network whose kind says nothing of its weights."""
    return Transfer(attack=PGD(EPSILON, steps=20), proxy=build("linear", inputs=(1, 8, 8), classes=10, seed=seed))


@pytest.mark.parametrize(
    ("role", "made"),
    [
        ("reference", Stepped),
        ("attacks", lambda steps: [Stepped(steps)]),
        ("attacks", lambda steps: [as_attack(Stepped(steps), cost=20, name="mine")]),
        ("attacks", lambda steps: [SteppedModule(steps)]),
        ("attacks", lambda seed: [on_a_network(seed)]),
        ("attacks", lambda steps: [PGD(EPSILON, steps=steps, start="clean").__call__]),
    ],
    ids=["reference", "attack", "declared attack", "module", "on another network", "bound method"],
)
def test_outcomes_are_not_taken_for_those_of_an_attack_of_the_same_name(role, made, perceptron, run):
    one, other = ({role: made(number)} for number in (1, 20))
    first = run(perceptron, **one)
    assert run(perceptron, **other) == run(perceptron, cached=False, **other) != first


def twice(model, images, labels, *settings):
    """Somebody's attack, whatever it does: its name does not say it."""
    return images


@pytest.mark.parametrize(
    ("attack", "proxy", "kept"),
    [
        (PGD(EPSILON), None, True),
        (Transfer(attack=PGD(EPSILON), proxy=bpda), None, True),
        (PGD(EPSILON), Proxy("a float64 copy", nn.Flatten()), True),
        (PGD(EPSILON), Proxy("the surrogate", nn.Flatten(), derived=False), False),
        (PGD(EPSILON, loss=lambda logits, labels: logits.sum(1)), None, False),
        (Transfer(attack=PGD(EPSILON), proxy=nn.Flatten()), None, False),
        (Transfer(attack=PGD(EPSILON), proxy=lambda model: model), None, False),
        (Transfer(attack=twice, proxy=bpda), None, False),
        (PGD(EPSILON).__call__, None, False),
        (partial(PGD.__call__, PGD(EPSILON)), None, False),
        (twice, None, False),
    ],
)
def test_only_attacks_that_their_settings_describe_are_kept(attack, proxy, kept, task, tmp_path):
    cache = Cache(folder=tmp_path, task="an audit")
    images, labels = task
    trial = Trial(name="a trial", attacks=(as_attack(attack),), proxy=proxy)
    cache.save(trial, None, Outcome.of(images, torch.eye(10)[labels], labels))
    assert len(list(tmp_path.glob("*.outcome"))) == kept
    assert (cache.load(trial, None) is not None) == kept


def test_damaged_outcome_is_made_anew(perceptron, run, tmp_path):
    first = run(perceptron)
    for path in tmp_path.glob("*.outcome"):
        path.write_bytes(path.read_bytes()[:-9])
    assert run(perceptron) == first
