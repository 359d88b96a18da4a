"""The user's own attacks and surrogate: anybody's callables, compared with as many gradients as they take."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from audit_cases import Counting
from torch import nn

from unmask.adapters import black_box
from unmask.attacks import APGD, FGSM, FRSM, PGD, BoundedAttack, TargetedAPGD, Transfer, as_attack, predict
from unmask.auditing import Effort, audit
from unmask.auditing.probes.other_attacks import others, passes_of
from unmask.losses import log_odds
from unmask.models.masked import RandomSignBackward

EPSILON = 0.1


@pytest.fixture
def opaque(perceptron):
    """The perceptron as a model that gives no gradients."""
    return black_box(lambda images: perceptron(torch.from_numpy(images)).detach().numpy())


# --- a surrogate


@pytest.fixture(scope="module")
def hidden(perceptron, tiny_audit):
    """The report of an audit of a model that hides its gradient, with a surrogate and an attack that do not."""
    attack = Transfer(attack=FGSM(EPSILON, loss=log_odds), proxy=lambda model: perceptron)
    return tiny_audit(RandomSignBackward(perceptron, seed=0), surrogate=perceptron, attacks=[attack])


def test_transfer_from_a_surrogate_unmasks_a_hidden_gradient(hidden, tiny_plain):
    assert hidden.verdict == "masked"
    assert "transfer beats gradients" in hidden.causes
    assert hidden.robust.count <= tiny_plain.robust.count + 1


@pytest.mark.parametrize("network", ["perceptron", "linear"])
def test_surrogate_that_hides_nothing_is_no_symptom(network, perceptron, context_of, request):
    context = context_of(perceptron, surrogate=request.getfixturevalue(network))
    context.evaluator.run(context.trials.clean)
    (probe,) = others(context)
    assert probe.name == "transfer beats gradients"
    assert not probe(context).fired


@pytest.mark.slow
def test_full_audit_with_a_surrogate_that_hides_nothing_is_not_masked(perceptron, linear, task):
    for surrogate in (perceptron, linear):
        assert audit(perceptron, *task, epsilon=EPSILON, surrogate=surrogate).verdict == "not masked"


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (
            lambda model: lambda images: model(images)[:, :3],
            r"surrogate: expected logits \(N, 10\), as the model's, got \(N, 3\)",
        ),
        (lambda model: black_box(lambda images: np.eye(10)[: len(images)]), "surrogate: expected gradients"),
        (lambda model: lambda images: model(images)[0], "surrogate: expected logits"),
    ],
)
def test_surrogate_that_attacks_cannot_be_made_on_is_refused(wrap, message, perceptron, context_of):
    with pytest.raises(ValueError, match=message):
        context_of(perceptron, surrogate=wrap(perceptron))


def test_surrogate_serves_a_model_without_gradients(perceptron, opaque, task, tiny, tiny_plain):
    images, labels = (part[:40] for part in task)
    given = {"surrogate": perceptron, "reference": FRSM(EPSILON)}
    report = audit(opaque, images, labels, epsilon=EPSILON, effort=tiny, **given)
    assert "transfer beats gradients" in {finding.name for finding in report.findings}
    assert report.robust.count <= sum(tiny_plain.correct["robust"][:40]) + 3


# --- attacks


def test_own_attack_that_wins_is_a_cause(hidden):
    assert "your attack beats gradients" in hidden.causes
    assert "your attack" in [one.name for one in hidden.attacks]


@dataclass(frozen=True)
class Masked:
    """An attack with settings that mean something else than usual, and that cannot be compared."""

    mask: torch.Tensor
    targets: tuple = (0, 1)

    def steps(self):
        return 3

    def __call__(self, model, images, labels):
        return images * self.mask


class Darker(nn.Module):
    """An attack that is a module."""

    def forward(self, model, images, labels):
        return images * (1 - EPSILON)


def function(model, images, labels):
    """An attack that is a function and does nothing."""
    return images


def test_own_attacks_of_any_kind_take_part(perceptron, tiny_audit):
    own = [
        function,
        PGD(EPSILON, steps=2),
        Masked(torch.ones(8, 8)),
        Masked(torch.full((8, 8), 1 - EPSILON)),
        Darker(),
        as_attack(lambda model, images, labels: images, cost=3, name="declared"),
    ]
    report = tiny_audit(perceptron, attacks=own)
    assert report.verdict == "not masked"
    names = [f"your attack {number}" for number in range(1, 7)]
    assert [one.name for one in report.attacks if "your attack" in one.name] == names
    found = [one.name for one in report.findings if "your attack" in one.name]
    assert found == [f"{name} beats gradients" for name in names]


@pytest.mark.parametrize(
    ("own", "name", "cost"),
    [
        (function, "function", 1.4),
        (Darker(), "Darker", 1.4),
        (Masked(torch.ones(8, 8)), "Masked", 1.4),
        (PGD(EPSILON, steps=20), "PGD", 20.4),
        (as_attack(function, cost=3, name="declared"), "declared", 3),
    ],
    ids=["function", "module", "dataclass", "this package's", "declared"],
)
def test_own_attacks_are_wrapped_at_the_door(own, name, cost, perceptron, context_of):
    """A reference likewise; what is an attack already stays as it is."""
    context = context_of(perceptron, attacks=[own], reference=own)
    for attack in (context.attacks[0], context.reference):
        assert (attack.name, attack.cost) == (name, cost)
        assert isinstance(attack.needs_gradients, bool)
    assert (context.attacks[0] is own) == (name in {"PGD", "declared"})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"attacks": [PGD]}, "attacks: expected one that takes .*, got .*; a class is to be called first"),
        ({"attacks": [lambda model, images: images]}, "attacks: expected one that takes"),
        ({"attacks": PGD(EPSILON)}, "attacks: expected a list of attacks, got PGD"),
        ({"attacks": [FGSM(EPSILON), 3]}, "attacks: expected a callable attack"),
    ],
)
def test_what_is_no_attack_is_refused(given, message, perceptron, context_of):
    with pytest.raises(ValueError, match=message):
        context_of(perceptron, **given)


def test_own_attack_that_goes_too_far_is_refused(perceptron, tiny_audit):
    with pytest.raises(
        ValueError, match=r"your attack: expected images in \[0, 1\] within epsilon 0.1, got pixels moved by 0.3"
    ):
        tiny_audit(perceptron, attacks=[FGSM(0.3)])


# --- the control's budget


def thorough(model, images, labels):
    """Nothing but gradients, many of them."""
    found = images
    for seed in range(3):
        for attack in (APGD(0.12, steps=30, loss=log_odds, seed=seed), TargetedAPGD(0.12, steps=20, seed=seed)):
            left = predict(model, found) == labels
            if left.any():
                found = found.clone()
                found[left] = attack(model, images[left], labels[left])
    return found


def test_thorough_attack_along_gradients_is_no_sign_of_masking(perceptron, tiny_audit):
    """It is held against as many gradients as it takes, which its settings do not tell."""
    report = tiny_audit(perceptron, epsilon=0.12, attacks=[thorough])
    assert report.verdict == "not masked"


def test_passes_of_an_attack_are_counted(perceptron, context_of, task):
    """Three gradients and two forward passes at 0.4 each; the declared cost of a function is 1.4."""

    def three(model, images, labels):
        for _ in range(3):
            FGSM(0.0)(model, images, labels)
        predict(model, images)
        predict(model, images)
        return images

    context, rows = context_of(perceptron), torch.arange(30)
    assert passes_of(as_attack(three), context, rows) == pytest.approx(3.8)
    assert passes_of(as_attack(three, cost=50), context, rows) == 50
    assert passes_of(as_attack(three), context, rows[:0]) == 1.4
    assert passes_of(as_attack(three), context_of(lambda images: perceptron(images)), rows) == 1.4


def test_control_has_at_least_the_gradients_of_the_attack(perceptron, context_of):
    model = Counting(perceptron)
    context = context_of(model, epsilon=0.0, attacks=[as_attack(function, cost=200)])
    (probe,) = others(context)
    control = context.trials.steepest(probe.trial.cost)
    labels = predict(perceptron, context.evaluator.images)
    context.evaluator.labels, model.gradients = labels, 0
    assert context.evaluator.run_unrecorded(control, torch.arange(10)).correct.all()
    assert model.gradients / 10 >= 200


def test_own_attack_is_run_on_however_few_are_left(perceptron, tiny_audit):
    seen = []

    def watched(model, images, labels):
        seen.append(len(images))
        return images

    report = tiny_audit(perceptron, epsilon=0.18, attacks=[watched])
    assert 0 < sum(seen) < 20
    assert report.verdict == "not masked"


# --- declarations


@dataclass(frozen=True, kw_only=True)
class Small(BoundedAttack):
    """Refuses epsilons above a half."""

    def __post_init__(self):
        if not 0 < self.threat.epsilon <= 0.5:
            raise ValueError("epsilon: expected at most 0.5")

    def __call__(self, model, images, labels):
        return FGSM(self.threat.epsilon)(model, images, labels)


def test_reference_that_refuses_other_epsilons_has_no_curve_and_a_report(perceptron, task, tiny):
    report = audit(perceptron, *task, EPSILON, reference=Small(EPSILON), effort=tiny)
    assert report.not_run["reference attack, over epsilon"].startswith("it fails at other epsilons: ValueError: eps")
    assert "reference attack" not in [curve.name for curve in report.curves]
    assert report.curves


@pytest.mark.parametrize("cost", [0, -5, float("nan"), float("inf"), "many"])
def test_cost_that_is_no_number_above_zero_is_refused(cost):
    with pytest.raises(ValueError, match="cost: expected gradients per image, a number above 0, got"):
        as_attack(lambda model, images, labels: images, cost=cost)


def test_attack_that_declares_itself_is_not_declared_again():
    assert as_attack(FGSM(0.1)) == FGSM(0.1)
    with pytest.raises(ValueError, match="FGSM declares its own cost and name"):
        as_attack(FGSM(0.1), cost=9)


@dataclass(frozen=True)
class Signed:
    """Two of them are equal whatever their sign."""

    sign: int = field(default=1, compare=False)

    def __call__(self, model, images, labels):
        return (images + self.sign * EPSILON).clamp(0, 1)


def test_attacks_from_elsewhere_are_one_only_if_they_are_the_same(perceptron, task, tiny):
    up, down = Signed(1), Signed(-1)
    assert up == down
    report = audit(perceptron, *task, EPSILON, attacks=[up, down], effort=tiny)
    assert {"your attack 1", "your attack 2"} <= {attack.name for attack in report.attacks}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": "60"}, "budget: expected seconds, a number above 0, got '60'"),
        ({"budget": float("nan")}, "budget: expected seconds, a number above 0, got nan"),
        ({"effort": "quick"}, "effort: expected unmask.FULL, unmask.QUICK or an unmask.Effort, got 'quick'"),
    ],
)
def test_budget_and_effort_are_checked(options, message, perceptron, task):
    with pytest.raises(ValueError, match=message):
        audit(perceptron, *task, EPSILON, **options)


@pytest.mark.parametrize(("name", "value"), [("images", 0), ("sample", -1), ("steps", 1.5)])
def test_effort_is_whole_numbers(name, value):
    with pytest.raises(ValueError, match=f"{name}: expected a whole number from 1 up, got"):
        Effort(**{name: value})
