"""A run that diverges ends, and one that is stuck at chance says so."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from training_cases import RESUMED, assert_same, deep, run
from unmask.models import build
from unmask.training import STUCK_EVERY, DivergedError, Steps, Trainer
from unmask.training.objectives import build as build_objective
from unmask.training.run import CHECK_EVERY

JUMP = replace(RESUMED, optimizer="sgd", schedule=Steps(at=(6,), factors=(1e30,)))


def test_a_loss_that_is_not_finite_ends_the_run_at_the_last_good_checkpoint(few, tmp_path):
    model = build("mlp", inputs=(1, 8, 8), classes=10, widths=(16,))
    epochs = JUMP(model, few, checkpoint=tmp_path)
    assert next(epochs).update == 4
    with pytest.raises(
        DivergedError,
        match=r"^loss: expected a finite number, got (nan|inf) at update 8; the last good checkpoint is .*"
        r"checkpoint\.json; begin again in another folder, at a lower learning rate$",
    ) as caught:
        next(epochs)
    assert caught.value.update == 8
    assert caught.value.checkpoint == tmp_path / "checkpoint.json"
    assert json.loads(caught.value.checkpoint.read_text())["update"] == 4
    with pytest.raises(DivergedError, match="at update 8"):  # the weights are put back before they are looked at
        next(JUMP(model, few, checkpoint=tmp_path, resume=True))


def test_a_run_that_diverged_does_not_go_on_for_long(digits):
    ticks = []
    trainer = Trainer(updates=1000, batch_size=2, optimizer="sgd", learning_rate=1e30)
    with pytest.raises(DivergedError, match=r"at update [23]; no checkpoint was kept"):
        next(trainer(deep(), digits, progress=ticks.append))
    assert len(ticks) <= CHECK_EVERY


def test_weights_that_are_not_finite_are_not_kept(few, tmp_path):
    """The only update of the epoch breaks the weights; its loss was measured before."""
    trainer = Trainer(updates=3, batch_size=120, optimizer="sgd", learning_rate=1e39)
    with pytest.raises(
        DivergedError, match=r"^weights: expected finite numbers, .* at update 1; no checkpoint was kept"
    ):
        next(trainer(deep(), few, checkpoint=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def dead():
    """A network whose hidden units are all off, on every image, and so have no gradient."""
    model = build("mlp", inputs=(1, 8, 8), classes=10, widths=(16,))
    model[1].bias.data.fill_(-20.0)
    return model


def made(name):
    return build_objective(name, **{} if name == "normal" else {"epsilon": 0.1})


STUCK = {
    "dead start": (dead, {}),
    "dead start, fgsm": (dead, {"objective": build_objective("fgsm", epsilon=0.1)}),
    "high rate": (deep, {"learning_rate": 1.0}),
    "learned, then lost": (deep, {"schedule": Steps(at=(350,), factors=(1000.0,))}),
}


@pytest.mark.parametrize("name", STUCK)
def test_a_run_that_is_stuck_at_chance_says_so_within_500_updates(name, digits):
    """Though its epoch has 539; the epoch then goes on."""
    network, settings = STUCK[name]
    trainer = Trainer(**{"updates": 600, "batch_size": 2, "learning_rate": 0.003} | settings)
    epochs = run(trainer, network(), digits)
    assert [(one.number, one.update, one.stuck) for one in epochs] == [(1, 500, True), (1, 539, True), (2, 600, True)]


def test_to_say_that_it_is_stuck_does_not_change_the_run(few, tmp_path, monkeypatch):
    monkeypatch.setattr("unmask.training.run.STUCK_EVERY", 50)
    trainer = Trainer(updates=70, batch_size=2, learning_rate=1.0)
    epochs = run(trainer, said := deep(), few)
    assert [(epoch.update, epoch.stuck) for epoch in epochs] == [(50, True), (60, True), (70, True)]
    next(trainer(deep(), few, checkpoint=tmp_path))
    run(trainer, resumed := deep(), few, checkpoint=tmp_path, resume=True)
    monkeypatch.setattr("unmask.training.run.Run.is_stuck", lambda *arguments: False)
    epochs = run(trainer, unsaid := deep(), few)
    assert [epoch.update for epoch in epochs] == [60, 70]
    assert_same(said, unsaid)
    assert_same(resumed, unsaid)


@pytest.mark.parametrize("objective", ["normal", "fgsm"])
def test_a_short_run_is_judged_at_its_end(objective, digits):
    trainer = Trainer(updates=90, learning_rate=1.0, objective=made(objective))
    assert [epoch.stuck for epoch in run(trainer, deep(), digits)] == [False] * 9 + [True]


def test_guessing_costs_less_where_one_class_is_common(digits):
    """Of 56 images 50 are of one class: the network knows no more than that, and its loss is far below ln 10."""
    rows = torch.cat([(digits.labels == 0).nonzero()[:50, 0], (digits.labels == 1).nonzero()[:6, 0]])
    epochs = run(Trainer(updates=200, learning_rate=0.05), dead(), digits.take(rows.numpy()))
    assert epochs[-1].loss < 0.4
    assert epochs[-1].stuck


@pytest.mark.parametrize(
    ("objective", "starts"),
    [
        ("normal", range(2)),
        ("fgsm", range(2)),
        pytest.param("normal", range(2, 20), marks=pytest.mark.slow),
        pytest.param("fgsm", range(2, 20), marks=pytest.mark.slow),
    ],
)
def test_no_healthy_start_of_twenty_is_taken_for_a_stuck_one(objective, starts, digits):
    """At update 100 already, where telling them apart is harder than at 500."""
    for seed in starts:
        model = build("mlp", inputs=(1, 8, 8), classes=10, widths=(32,), seed=seed)
        trainer = Trainer(updates=100, batch_size=20, objective=made(objective), seed=seed)
        assert not run(trainer, model, digits)[-1].stuck


@pytest.mark.parametrize("objective", ["fgsm", "rfgsm+clean", "logit-distance"])
def test_a_loss_above_that_of_guessing_does_not_tell(objective, digits):
    trainer = Trainer(updates=9, objective=made(objective))
    (epoch,) = run(trainer, build("mlp", inputs=(1, 8, 8), classes=10, widths=(64,)), digits)
    assert epoch.loss > 0.98 * np.log(10)
    assert not epoch.stuck


@pytest.mark.slow
def test_a_run_that_learns_nothing_from_a_loss_of_ones_own_is_called_stuck(digits):
    def brier(model, images, labels, *, step):
        return (model(images).softmax(1) - functional.one_hot(labels, 10)).square().sum(1).mean()

    def stuck(rate):
        trainer = Trainer(updates=STUCK_EVERY, batch_size=20, learning_rate=rate, objective=brier)
        return any(epoch.stuck for epoch in trainer(deep(), digits))

    assert stuck(1e-9)
    assert not stuck(1e-2)
