"""Training that is watched: it stops where masking sets in, and goes back."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from training_cases import assert_same
from unmask.training import Rule, Watch
from unmask.training.objectives import build as build_objective
from watch_cases import HEALTHY, MASKS, network, watching


@pytest.fixture(scope="module")
def masked(digits):
    """A run that was stopped: its watch, its network, its epochs."""
    watch, model = watching(digits), network()
    return watch, model, list(MASKS(model, digits, watch=watch))


# --- in a loop of plain torch


def test_it_takes_three_lines_in_a_loop_of_plain_torch(digits):
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(0)
    kept = {}
    watch = watching(digits)
    for update in range(1, 1001):
        rows = torch.randint(len(digits), (64,), generator=generator)
        optimizer.zero_grad()
        MASKS.objective(model, digits.images[rows], digits.labels[rows]).backward()
        optimizer.step()
        if update % 50 == 0:
            kept[update] = copy.deepcopy(model)
        if watch(model, update).masked:
            watch.restore(model)
            break
    assert 50 < update < 1000
    assert update % 50 == 0
    assert_same(model, kept[update - 50])
    assert "under FGSM" in watch.masked


def test_after_going_back_the_healthy_reading_holds_until_the_next(digits, monkeypatch):
    shares = iter([0.5, 0.1, 0.5])
    monkeypatch.setattr(
        Watch,
        "_measured",
        lambda self, model, update: replace(HEALTHY, update=update, fgsm_accuracy=0.5, pgd_accuracy=next(shares)),
    )
    watch, model, seen = watching(digits, every=2), network(), []
    for update in range(1, 5):
        reading = watch(model, update)
        seen.append((reading.update, bool(reading.masked)))
        if reading.masked:
            watch.restore(model)
    assert seen == [(1, False), (2, True), (1, False), (4, False)]


def test_a_reading_can_be_asked_for_out_of_turn(digits):
    watch, model = watching(digits, every=50), network()
    assert [watch(model, 1).update, watch(model, 20).update, watch(model, 20, now=True).update] == [1, 1, 20]


# --- in the trainer


def test_training_stops_where_masking_sets_in_and_goes_back(masked, digits):
    watch, model, epochs = masked
    last = epochs[-1]
    assert last.update < MASKS.updates
    assert last.update - 50 == last.returned_to == watch.healthy.update
    assert last.readings[-1].masked == watch.masked != ""
    assert last.readings[-1].fgsm_accuracy > 2 * last.readings[-1].pgd_accuracy
    assert all(epoch.returned_to is None for epoch in epochs[:-1])
    assert [one for epoch in epochs for one in epoch.readings] == watch.readings
    assert [one.update for one in watch.readings] == [1, *range(50, last.update + 1, 50)]
    assert not last.stuck
    for _ in replace(MASKS, updates=last.returned_to)(shorter := network(), digits):
        pass
    assert_same(model, shorter)


def test_training_that_does_not_mask_is_left_to_run(digits):
    watch = watching(digits, epsilon=0.2, every=25, rule=Rule())
    trainer = replace(MASKS, updates=200, learning_rate=0.01, objective=build_objective("logit-distance", epsilon=0.2))
    epochs = list(trainer(network(), digits, watch=watch))
    assert (epochs[-1].update, epochs[-1].returned_to, watch.masked) == (200, None, "")
    assert watch.readings[-1].pgd_accuracy > 0.2 + watch.readings[0].pgd_accuracy


@pytest.mark.slow
def test_without_a_rule_it_only_reads(masked, digits):
    """And the network learns what it learns unwatched, though masking has set in."""
    trainer = replace(MASKS, updates=masked[2][-1].update + 20)
    watch = watching(digits, rule=None)
    epochs = list(trainer(watched := network(), digits, watch=watch))
    assert epochs[-1].update == trainer.updates
    assert [replace(one, masked="") for one in masked[0].readings] == watch.readings
    for _ in trainer(alone := network(), digits):
        pass
    assert_same(watched, alone)


def test_the_last_reading_ends_a_run_as_any_other(masked, digits, tmp_path):
    """Its checkpoint too holds the healthy weights, and the run is over."""
    trainer = replace(MASKS, updates=masked[2][-1].update)
    watch = watching(digits, every=10_000)
    epochs = list(trainer(network(), digits, watch=watch, checkpoint=tmp_path))
    assert (epochs[-1].returned_to, [one.update for one in watch.readings]) == (1, [1, trainer.updates])
    longer, again = replace(trainer, updates=10_000), watching(digits, every=10_000)
    other, begun = network(seed=1), network()
    assert list(longer(other, digits, watch=again, checkpoint=tmp_path, resume=True)) == []
    next(replace(trainer, updates=1)(begun, digits))
    assert_same(other, begun)


@pytest.mark.parametrize("left", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(4, marks=pytest.mark.slow)])
def test_a_resumed_run_is_watched_as_if_it_had_run_through(left, masked, digits, tmp_path):
    """Also where the last healthy weights are older than the checkpoint."""
    watch, model, epochs = masked
    running = MASKS(network(), digits, watch=watching(digits), checkpoint=tmp_path)
    for _ in epochs[:-left]:
        next(running)
    resumed, other = watching(digits), network(seed=1)
    rest = list(MASKS(other, digits, watch=resumed, checkpoint=tmp_path, resume=True))
    assert [(one.update, one.readings, one.returned_to) for one in rest] == [
        (one.update, one.readings, one.returned_to) for one in epochs[-left:]
    ]
    assert resumed.readings == watch.readings
    assert_same(other, model)
    again = watching(digits)
    other = network(seed=2)
    assert list(MASKS(other, digits, watch=again, checkpoint=tmp_path, resume=True)) == []
    assert again.masked == watch.masked
    assert_same(other, model)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            {},
            {"every": 60},
            r"is of a run with watch every 50 at .*, got every 60 at .*; resume with the same settings",
        ),
        ({}, {"rule": None}, r"watch .*Rule\(fall=0.2, gap=0.2, share=0.5\), got .* None; resume"),
        ({}, None, "watch every 50 at .*, got none"),
        (None, {}, "is of a run with no watch, got every 50 at"),
    ],
)
def test_a_run_is_not_resumed_under_another_watch(before, after, message, digits, tmp_path):
    watches = [None if changed is None else watching(digits, **changed) for changed in (before, after)]
    next(MASKS(network(), digits, checkpoint=tmp_path, watch=watches[0]))
    with pytest.raises(ValueError, match=message):
        next(MASKS(network(), digits, checkpoint=tmp_path, resume=True, watch=watches[1]))


def test_each_run_has_a_watch_of_its_own(masked, digits):
    with pytest.raises(ValueError, match=r"watch: expected a new one for a new run, got one with \d+ readings"):
        next(MASKS(network(), digits, watch=masked[0]))
