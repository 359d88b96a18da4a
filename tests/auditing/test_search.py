"""The search for the robust accuracy: the same at any scale of the logits, and longest where images fall."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from unmask.auditing import FULL, runner, search
from unmask.auditing.search import Stage, stages
from unmask.models.masked import ScaledLogits
from unmask.reports.record import Finding


@pytest.mark.parametrize("factor", [2.0**-10, 2.0**5])
def test_search_finds_the_same_at_any_scale_of_logits(factor, perceptron, task, context_of, effort):
    found = []
    for model in (perceptron, ScaledLogits(perceptron, factor=factor)):
        context = context_of(model, task[0][:40], task[1][:40], effort=effort)
        found.append([context.evaluator.run_unrecorded(stage.trial).images for stage in stages(context, [])])
    assert len(found[0]) == 5
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs)


def named(name):
    """A finding that says that this symptom is present, and nothing else."""
    words = dict.fromkeys(("symptom", "remedy", "control", "advice"), "")
    return Finding(name=name, kind="masking", value=1.0, threshold=0.5, fired=True, before=[], after=[], **words)


def proxies_of(context, *names):
    listed = stages(context, [named(name) for name in names])
    return [stage.trial.proxy.name for stage in listed if stage.trial.proxy]


def test_cause_of_a_symptom_is_avoided_by_its_proxy(context_of, perceptron):
    context = context_of(lambda images: perceptron((images * 16).round() / 16))
    context.evaluator.run(context.trials.clean)
    assert set(proxies_of(context)) == {"the model, with a median lead of 10 nats"}
    assert set(proxies_of(context, "non-differentiable operations")) == {
        "the BPDA model, with a median lead of 10 nats"
    }
    assert set(proxies_of(context, "randomness")) == {"the model, averaged over 8 draws, with a median lead of 10 nats"}
    assert "a surrogate trained on the model's answers" in proxies_of(context, "vanishing gradients")


def test_quick_search_is_one_step_towards_each_rival(context_of, perceptron, tiny):
    context = context_of(perceptron, effort=replace(tiny, search=0))
    assert [stage.trial.name for stage in stages(context, [])] == ["one step towards each rival"]
    assert search.expected_cost(context) == 0


def test_expected_cost_is_that_of_the_ascents_on_their_shares(context_of, perceptron):
    """Of the search's 20 steps and five times as many: 20.4 on all, and shares of the dearer ones."""
    context = context_of(perceptron, effort=FULL)
    ascents = [stage for stage in stages(context, []) if stage.trial.proxy]
    assert [stage.share for stage in ascents] == [1.0, 0.12, 0.07, 0.03]
    assert search.expected_cost(context) == pytest.approx(sum(one.share * _own_cost(one.trial) for one in ascents))


def _own_cost(trial):
    return sum(attack.cost for attack in trial.attacks)


class OneWeakness:
    """A model that errs where a pixel is exactly an eighth, which no gradient and no search will find."""

    def __call__(self, images):
        sound = (images.flatten(1) != 0.125).float()
        return torch.cat([sound, 1 - sound], dim=1)


@pytest.mark.parametrize(("hits", "tried", "left"), [(True, 40, 0), (False, 10, 40)])
def test_stage_goes_on_as_long_as_images_fall(hits, tried, left, monkeypatch, tiny):
    seen = []

    def attack(model, images, labels):
        seen.append(len(images))
        return torch.full_like(images, 0.125) if hits else images

    def one_stage(context, findings):
        yield Stage(context.evaluator.trial("a stage", attack), share=0.25)

    monkeypatch.setattr(search, "stages", one_stage)
    images, labels = torch.linspace(0.2, 1, 40).view(40, 1, 1, 1), torch.zeros(40, dtype=torch.int64)
    report = runner.audit(OneWeakness(), images, labels, epsilon=1.0, effort=tiny)
    assert sum(seen) == tried
    assert sum(report.correct["robust"]) == left
