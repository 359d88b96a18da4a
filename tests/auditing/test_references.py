"""The reference attack: this package's or anybody's, whole or broken, and refused where it is allowed more."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace

import pytest
import torch
from audit_cases import Rippled
from torch import nn

from unmask.attacks import FGSM, PGD
from unmask.auditing import audit, prepare
from unmask.auditing.probes import BrokenReference, SingleStepWeak, Smoothness
from unmask.auditing.verdict import decide
from unmask.losses import cross_entropy
from unmask.models.masked import ScaledLogits
from unmask.statistics import proportion

EPSILON = 0.1


def by_hand(model, images, labels):
    """A user's own FGSM, as a function."""
    return FGSM(EPSILON)(model, images, labels)


@dataclass(frozen=True)
class OwnSettings:
    """A user's own, as a dataclass with an epsilon and no loss."""

    epsilon: float

    def __call__(self, model, images, labels):
        return FGSM(self.epsilon)(model, images, labels)


class OwnModule(nn.Module):
    """A user's own, as a module."""

    def forward(self, model, images, labels):
        return FGSM(EPSILON)(model, images, labels)


@dataclass(frozen=True)
class Whole:
    """A reference with a setting that it cannot be made with, and a loss and steps that are none."""

    epsilon: float = field(init=False, default=EPSILON)

    @property
    def loss(self):
        return cross_entropy

    def steps(self):
        return 3

    def __call__(self, model, images, labels):
        return FGSM(self.epsilon)(model, images, labels)


@dataclass(frozen=True, kw_only=True)
class Fussy:
    """Refuses epsilon 0, and any loss but its own, when it is called."""

    epsilon: float
    loss: str = "ce"

    def __call__(self, model, images, labels):
        if not self.epsilon or self.loss != "ce":
            raise KeyError(self.loss)
        return FGSM(self.epsilon)(model, images, labels)


@dataclass(frozen=True, kw_only=True)
class Checked(Fussy):
    """Refuses any epsilon but this one, when it is made."""

    def __post_init__(self):
        if self.epsilon != EPSILON:
            raise ValueError("eps must be 0.1")


OWN = [by_hand, OwnSettings(EPSILON), OwnModule(), Whole(), Fussy(epsilon=EPSILON), Checked(epsilon=EPSILON)]


def named(reference):
    return getattr(reference, "__name__", type(reference).__name__)


@pytest.mark.parametrize("reference", OWN, ids=named)
def test_reference_may_be_the_users_own(reference, perceptron, tiny_plain, context_of):
    context = context_of(perceptron, reference=reference)
    _, claimed = (context.evaluator.run(trial) for trial in (context.trials.clean, context.trials.claimed))
    assert claimed.correct.tolist() == tiny_plain.correct["claimed"]
    assert context.trials.claimed.settings.startswith(named(reference))


@pytest.mark.parametrize("reference", OWN, ids=named)
def test_saturation_is_found_under_the_users_own_reference(reference, perceptron, tiny_audit, tiny):
    report = tiny_audit(ScaledLogits(perceptron, 300.0), reference=reference, effort=replace(tiny, search=0))
    assert (report.verdict, report.causes[0]) == ("masked", "float32 saturation")


def test_reference_that_fails_at_other_epsilons_is_noted(perceptron, tiny_audit):
    reason = "the reference attack fails when it is changed: ValueError: eps must be 0.1"
    report = tiny_audit(perceptron, reference=Checked(epsilon=EPSILON))
    assert report.verdict == "not masked"
    assert report.not_run == {"attack fails at epsilon 1": reason, "more epsilon fools fewer": reason}


def test_claim_is_that_of_the_reference(perceptron, tiny_plain, tiny_audit):
    report = tiny_audit(perceptron, reference=PGD(EPSILON, steps=10))
    assert report.claimed_accuracy < tiny_plain.claimed_accuracy
    assert report.reference.startswith("PGD: epsilon 0.1, steps 10")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (FGSM(0.3), r"reference attack: expected images in \[0, 1\] within epsilon 0.1, got pixels moved by 0.3"),
        (lambda model, images, labels: images - 0.05, r"reference attack: expected .* and in \[-0.05, "),
        (lambda model, images, labels: images * float("nan"), "reference attack: expected .* moved by nan"),
        (lambda model, images, labels: images[:, 0], r"<lambda>: expected images of shape .* from the attack, got"),
        (PGD, "reference: expected one that takes"),
        ("fgsm", "reference: expected a callable attack"),
    ],
)
def test_reference_that_is_no_attack_or_is_allowed_more_is_refused(reference, message, perceptron, tiny_audit):
    with pytest.raises(ValueError, match=message):
        tiny_audit(perceptron, reference=reference)


def test_model_in_training_mode_is_not_attacked_in_it(perceptron, tiny_audit):
    """By anybody's attack; a check of the report would find otherwise."""
    modes = []

    def own(model, images, labels):
        modes.append(model.training)
        return FGSM(EPSILON)(model, images, labels)

    model = copy.deepcopy(perceptron).train()
    tiny_audit(model, reference=own, attacks=[own])
    assert modes
    assert not any(modes)
    assert model.training


# --- broken references


def idle(model, images, labels):
    return images


def timid(model, images, labels):
    return FGSM(0.05)(model, images, labels)


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
        return PGD(self.epsilon, steps=self.steps - 1)(model, images, labels) if self.steps > 1 else images


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        (idle, "does not move"),
        (timid, "less than half"),
        (Restless(epsilon=0.19), "at epsilon 0"),
        (Forgetful(epsilon=0.2), "last step is not used"),
    ],
)
def test_broken_reference_is_found_out(reference, said, perceptron, context_of):
    context = context_of(perceptron, epsilon=0.2, reference=reference)
    context.evaluator.run(context.trials.clean)
    found = BrokenReference()(context)
    assert found.fired
    assert found.kind == "weak attack"
    assert said in found.symptom


@pytest.mark.parametrize("reference", OWN, ids=named)
def test_whole_reference_is_not_called_broken(reference, perceptron, context_of):
    context = context_of(perceptron, reference=reference)
    context.evaluator.run(context.trials.clean)
    assert not BrokenReference()(context).fired


@pytest.mark.parametrize(
    ("reference", "answer"), [(FGSM(0.2), "masked"), (PGD(0.2, steps=40), "not masked")], ids=["one step", "40 steps"]
)
def test_claim_that_was_right_is_not_called_masked(reference, answer, perceptron, held_out):
    """A ripple spoils one step, but not the many steps of the second reference: its claim was right."""
    task = held_out.images[:200], held_out.labels[:200]
    context = prepare(Rippled(perceptron, period=0.2), *task, epsilon=0.2, reference=reference)
    clean, claimed = (context.evaluator.run(trial) for trial in (context.trials.clean, context.trials.claimed))
    found = [probe(context) for probe in (Smoothness(), SingleStepWeak(), BrokenReference())]
    assert {finding.name for finding in found if finding.fired} >= {"non-smooth loss surface"}
    share = proportion(int(clean.correct.sum()), len(clean.correct))
    decision = decide(found, clean=share, classes=10, claimed=claimed.correct.tolist())
    assert decision.answer == answer
    assert [cause.name for cause in decision.causes] == ["non-smooth loss surface"] * (answer == "masked")
    assert bool(decision.weaknesses) == (answer == "masked")


@pytest.mark.slow
def test_full_audit_does_not_call_a_claim_masked_that_was_right(perceptron, held_out):
    model, task = Rippled(perceptron, period=0.2), (held_out.images, held_out.labels)
    naive = audit(model, *task, epsilon=0.2)
    honest = audit(model, *task, epsilon=0.2, reference=PGD(0.2, steps=40))
    assert "non-smooth loss surface" in naive.causes
    assert honest.causes == []
    assert list(honest.decision.weaknesses) == []


def test_reference_gets_the_same_random_numbers_in_every_audit(perceptron, context_of):
    """It draws from the global random state."""

    def random_start(model, images, labels):
        return (images + EPSILON * (2 * torch.rand_like(images) - 1)).clamp(0, 1)

    images = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        context = context_of(perceptron, reference=random_start)
        _, claimed = (context.evaluator.run(trial) for trial in (context.trials.clean, context.trials.claimed))
        images.append(claimed.images)
    assert torch.equal(*images)
