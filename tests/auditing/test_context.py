"""The context: computed once and before any probe is asked, and what it has."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from audit_cases import Counting
from torch import nn

from unmask.adapters import black_box
from unmask.attacks import FGSM, Square
from unmask.auditing import PROBES, context, prepare
from unmask.auditing.context import OPERATIONS, PRECISION
from unmask.auditing.probes import Scale
from unmask.auditing.proxies import InFloat64
from unmask.models.masked import InputNoise, Quantised, SoftmaxOutput

COMPUTED = ("median_lead", "float64_proxy", "bpda_proxy")


def test_making_a_context_runs_no_trial(context_of, perceptron):
    made = context_of(perceptron)
    assert made.evaluator.entries == []
    assert made.evaluator.not_run == []
    assert made.evaluator.clock.done == 0


def test_no_probe_computes_what_the_context_has(context_of, perceptron, monkeypatch):
    computed = []

    def noted(name, function, *given):
        computed.append(name)
        return function(*given)

    for name in COMPUTED:
        monkeypatch.setattr(context, name, partial(noted, name, getattr(context, name)))
    made = context_of(Quantised(perceptron))
    assert tuple(computed) == COMPUTED
    made.evaluator.run(made.trials.clean)
    for probe in PROBES:
        if probe.skip(made) is None:
            probe(made)
    assert tuple(computed) == COMPUTED


def test_probe_of_the_scale_asks_the_model_nothing(context_of, perceptron):
    model = Counting(perceptron)
    made = context_of(model)
    passes = model.gradients + model.forwards
    assert Scale()(made).value == 5 / made.lead
    assert model.gradients + model.forwards == passes


def test_probe_of_a_proxy_asks_the_model_once_for_each_image(context_of, perceptron, task):
    """For its own gradient, which is set against the proxy's."""
    model = Counting(perceptron)
    made = context_of(model)
    (probe,) = (one for one in PROBES if one.name == PRECISION)
    before = model.gradients, model.forwards
    assert not probe(made).fired
    assert (model.gradients, model.forwards) == (before[0] + len(task[0]), before[1])


def test_lead_is_the_median_of_highest_minus_next():
    images = torch.tensor([[0.9, 0.1], [0.5, 0.25], [0.3, 0.6]]).view(3, 1, 1, 2)
    assert prepare(nn.Flatten(), images, torch.tensor([0, 0, 1]), epsilon=0.1).lead == pytest.approx(0.3)


def test_proxies_are_there_where_they_are_needed(context_of, perceptron):
    plain, quantised = context_of(perceptron), context_of(Quantised(perceptron))
    assert set(plain.proxies) == {PRECISION}
    assert plain.missing == {OPERATIONS: ""}
    assert list(plain.replaced) == []
    assert isinstance(plain.proxies[PRECISION].model, InFloat64)
    assert set(quantised.proxies) == {PRECISION, OPERATIONS}
    assert list(quantised.replaced) == ["round"]


@pytest.mark.parametrize(
    ("wrap", "reason"),
    [
        (lambda model: lambda images: model(images), "the model is no torch module in float32"),
        (lambda model: InputNoise(model, 0.5), "the model answers at random"),
        (lambda model: OnlyFloat32(model), "a float64 copy of the model fails: "),
        (lambda model: Uncopied(model), "model: expected one that can be copied, got RuntimeError: mine"),
    ],
)
def test_missing_float64_copy_has_a_reason(wrap, reason, context_of, perceptron):
    assert context_of(wrap(perceptron)).missing[PRECISION].startswith(reason)


class OnlyFloat32(nn.Module):
    """A model that refuses float64."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        assert images.dtype == torch.float32
        return self.model(images)


class Uncopied(OnlyFloat32):
    """A model that refuses to be copied."""

    def __deepcopy__(self, memo):
        raise RuntimeError("mine")


def test_usual_reference_is_one_step_or_queries(context_of, perceptron):
    opaque = black_box(lambda images: perceptron(torch.from_numpy(images)).detach().numpy())
    assert context_of(perceptron).reference == FGSM(0.1)
    assert isinstance(context_of(opaque).reference, Square)


def test_reference_is_run_on_what_was_handed_over(context_of, perceptron):
    made = context_of(SoftmaxOutput(perceptron))
    assert made.trials.claimed.proxy.model is made.audited.given
    assert made.trials.reference_on_logits.proxy is None
    assert context_of(perceptron).trials.claimed.proxy is None


def test_same_images_are_few_for_every_probe(context_of, perceptron):
    made = context_of(perceptron)
    assert torch.equal(made.few(), made.few())
    assert len(made.few()) == made.effort.few
