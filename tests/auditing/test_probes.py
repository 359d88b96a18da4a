"""The list of probes: each declares itself, and all that is told of them follows from the list."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import pytest
import torch

from unmask.adapters import black_box
from unmask.auditing import PROBES, Probe, audit, probes, search
from unmask.auditing.search import stages
from unmask.reports.record import Finding


def test_names_are_unique():
    assert len({probe.name for probe in PROBES}) == len(PROBES)


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_probe_declares_itself(probe):
    assert isinstance(probe, Probe)
    assert {"name", "threshold", "needs_gradients", "calls_for_queries"} <= {one.name for one in fields(probe)}
    assert probe.name
    assert probe.threshold > 0
    assert isinstance(probe.needs_gradients, bool)
    assert isinstance(probe.calls_for_queries, bool)
    assert type(probe).__call__ is not Probe.__call__


@pytest.fixture(scope="module")
def opaque(perceptron):
    """The perceptron as a model that gives no gradients."""
    return black_box(lambda images: perceptron(torch.from_numpy(images)).detach().numpy())


def idle(model, images, labels):
    """A reference attack that does nothing."""
    return images


def test_probes_that_need_no_gradients_run_without_any(opaque, context_of, task):
    context = context_of(opaque, task[0][:20], task[1][:20], reference=idle)
    context.evaluator.run(context.trials.clean)
    asked = [probe for probe in PROBES if not probe.needs_gradients and probe.skip(context) is None]
    assert {probe(context).name for probe in asked} == {probe.name for probe in asked}
    assert {probe.name for probe in asked} >= {"dependence on the batch", "reference attack broken"}


# --- a new probe is a line in the list


@dataclass(frozen=True, kw_only=True)
class Bright(Probe):
    """Symptom: images are white. It stands for a probe that somebody adds."""

    name: str = "bright images"
    threshold: float = 0.99
    calls_for_queries: bool = True

    def trials(self, context):
        """Return a trial of its own."""
        return [context.trials.queries(123)]

    def __call__(self, context):
        """Measure the mean pixel."""
        value = float(context.evaluator.images.mean())
        return Finding(
            name=self.name,
            kind="symptom",
            value=value,
            threshold=self.threshold,
            fired=value > self.threshold,
            symptom="Images are bright.",
            remedy="",
            control="",
            before=[],
            after=[],
            advice="",
        )


@pytest.fixture
def with_bright(monkeypatch):
    """The list of probes, with one more."""
    for module in (probes, search):
        monkeypatch.setattr(module, "PROBES", (*PROBES, Bright()))


def test_new_probe_is_asked_and_its_cost_foreseen(tiny_audit, perceptron, last_context, task, monkeypatch, request):
    tiny_audit(perceptron)
    request.getfixturevalue("with_bright")
    report = tiny_audit(perceptron)
    assert report.findings[-1].name == "bright images"
    before, after = (context.evaluator.clock.expected for context in last_context)
    assert after - before == pytest.approx(last_context[-1].trials.queries(123).cost * len(task[0]))


@pytest.mark.usefixtures("with_bright")
def test_new_probe_calls_for_queries_in_the_search(context_of, perceptron):
    context = context_of(perceptron)
    context.evaluator.run(context.trials.clean)
    found, last = [Bright(threshold=0.01)(context)], context.trials.queries(context.effort.queries).name
    assert last in [stage.trial.name for stage in stages(context, found)]
    assert last not in [stage.trial.name for stage in stages(context, [])]


@pytest.mark.usefixtures("with_bright")
def test_model_without_gradients_gets_a_reason_for_each_probe(opaque, task, tiny):
    """The new one included."""
    report = audit(opaque, task[0][:20], task[1][:20], epsilon=0.1, effort=tiny, reference=idle)
    missing = {probe.name for probe in (*PROBES, Bright()) if probe.needs_gradients}
    assert {name for name, reason in report.not_run.items() if reason == "no gradients"} == missing
    assert report.not_run["outputs are probabilities"] == "scores serve a search as well"
    assert {finding.name for finding in report.findings} <= {probe.name for probe in PROBES} - missing
    assert report.surfaces == []
    assert report.verdict == "inconclusive"
    assert f"{len(missing)} checks could not be run (no gradients)" in report.decision.reason


def test_finding_of_every_probe_is_in_the_report(tiny_plain, context_of, perceptron):
    context = context_of(perceptron)
    asked = [probe.name for probe in PROBES if probe.skip(context) is None]
    assert [finding.name for finding in tiny_plain.findings] == asked
    assert np.isfinite([finding.value for finding in tiny_plain.findings]).all()
