"""Curves over epsilon: accuracy of an attack at each epsilon of a grid and at the audited one."""

from __future__ import annotations

import pytest
import torch

from unmask.adapters import black_box
from unmask.attacks import FGSM, FRSM, PGD, Square, evaluate
from unmask.auditing import curves
from unmask.auditing.curves import GRID, accuracy_curve, curves_of
from unmask.losses import log_odds
from unmask.numerics import Batches


def own(model, images, labels):
    """A user's own attack, which has no epsilon."""
    return images


@pytest.mark.parametrize("attack", [FGSM(0.1), PGD(0.1, steps=3, loss=log_odds), FRSM(0.1)], ids=lambda one: one.name)
def test_curve_is_the_accuracy_under_the_attack_at_each_epsilon(attack, perceptron, task):
    curve = accuracy_curve("x", attack, perceptron, *task, epsilons=[0.0, 0.05, 0.2], batches=Batches(size=30))
    outcomes = [evaluate(perceptron, *task, attack.replace(epsilon=epsilon)) for epsilon in (0.0, 0.05, 0.2)]
    assert curve.x == [0.0, 0.05, 0.2]
    assert curve.y == pytest.approx([outcome.correct.double().mean().item() for outcome in outcomes])


def test_curves_have_the_grid_and_the_audited_epsilon(context_of, perceptron):
    drawn = curves_of(context_of(perceptron, epsilon=0.06))
    assert all(curve.x == sorted({*GRID, 0.06}) for curve in drawn)
    assert [curve.name for curve in drawn] == ["reference attack", "one step, log-odds", "10 steps", "random signs"]
    assert len({curve.y[0] for curve in drawn}) == 1  # without an epsilon there is no attack


@pytest.mark.parametrize("reference", [own, Square(0.1, queries=3)])
def test_reference_that_is_not_swept_has_no_curve(reference, context_of, perceptron):
    context = context_of(perceptron, reference=reference)
    names = [curve.name for curve in curves_of(context)]
    assert "reference attack" not in names
    assert ("100 queries" in names) == isinstance(reference, Square)


def test_model_without_gradients_has_a_curve_of_queries(context_of, perceptron):
    opaque = black_box(lambda images: perceptron(torch.from_numpy(images)).detach().numpy())
    assert [curve.name for curve in curves_of(context_of(opaque))] == ["100 queries", "random signs"]


def test_curves_decide_nothing(context_of, perceptron):
    context = context_of(perceptron)
    curves_of(context)
    assert context.evaluator.entries == []
    cost = (context.effort.shown * len({*GRID, 0.1})) * (curves.expected_cost(context) / (len(GRID) + 1))
    assert context.evaluator.clock.done == pytest.approx(cost)
