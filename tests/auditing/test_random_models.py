"""Models that answer at random: judged by their mean, attacked by EOT, evaluated again on fresh draws."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from unmask.attacks import EOT, logits_of
from unmask.auditing import audit
from unmask.auditing.context import DRAWS, OPERATIONS
from unmask.auditing.trials import EOT_DRAWS, EOT_STEPS
from unmask.models.masked import InputNoise, Quantised


@pytest.fixture(scope="module")
def noisy(perceptron):
    """The perceptron on images with noise."""
    return InputNoise(perceptron, 0.5)


@pytest.fixture(scope="module")
def report(noisy, tiny_audit):
    """The report of an audit of it at a small epsilon."""
    return tiny_audit(noisy, epsilon=0.001)


def test_model_that_answers_at_random_is_judged_by_its_mean(noisy, report, task):
    """Over two dozen attacks nearly every image meets an unlucky draw; that is no attack's doing."""
    single = sum((logits_of(noisy, task[0], seed=seed).argmax(1) == task[1]).sum().item() for seed in range(8)) / 8
    assert report.clean.count > single
    assert report.clean.count >= report.claimed.count >= report.robust.count > report.clean.count - 0.2 * report.samples
    assert any("decide by the mean of its probabilities" in note for note in report.notes)
    assert report.verdict == "not masked"


def test_accuracy_is_that_of_fresh_draws(noisy, report, task):
    """No attack was judged by them."""
    fresh = logits_of(EOT(noisy, draws=32), task[0], seed=1).argmax(1) == task[1]
    assert report.correct["clean"] == fresh.tolist()


@pytest.mark.slow
def test_audit_of_a_random_model_is_the_same_twice(noisy, report, tiny_audit):
    assert replace(tiny_audit(noisy, epsilon=0.001), seconds=0.0) == replace(report, seconds=0.0)


def test_remedies_are_averaged_over_draws(noisy, context_of, perceptron):
    context = context_of(InputNoise(Quantised(perceptron), 0.5))
    assert context.audited.random
    assert context.evaluator.judge.draws == DRAWS
    assert context.trials.averaged.proxy.model.draws == EOT_DRAWS
    assert context.trials.averaged.cost == pytest.approx((EOT_STEPS + 0.4) * EOT_DRAWS)
    repair = context.proxy_against_model(context.proxies[OPERATIONS])
    assert repair.control is context.trials.averaged
    assert repair.remedy.proxy.model.draws == EOT_DRAWS
    assert repair.effect == 0.05


def test_remedies_of_a_model_that_draws_nothing_are_the_many_steps(context_of, perceptron):
    context = context_of(Quantised(perceptron))
    repair = context.proxy_against_model(context.proxies[OPERATIONS])
    assert repair.control is context.trials.many
    assert repair.remedy.attacks == context.trials.many.attacks
    assert (repair.sample, repair.effect) == (None, 0.02)


@pytest.mark.slow
def test_full_audit_of_a_random_model_does_not_count_unlucky_draws(noisy, task):
    report = audit(noisy, *task, epsilon=0.001)
    assert report.verdict == "not masked"
    assert report.robust.count > report.clean.count - 0.2 * report.samples
    assert torch.tensor(report.correct["robust"]).sum() == report.robust.count
