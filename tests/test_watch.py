"""Masking watched during training: right readings, no trace, and a way back; in our loop and in anybody's."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from unmask.models import build
from unmask.numerics import Batches, random_signs
from unmask.training import Trainer
from unmask.training.objectives import PRESETS
from unmask.training.watch import Reading, Rule, Watch, above_chance

HEALTHY = Reading(
    update=1, clean_accuracy=0.99, fgsm_accuracy=0.9, pgd_accuracy=0.8, fgsm_loss=0.3, pgd_loss=0.5, logit_distance=0.1
)
MASKS = Trainer(  # a wide network and a large epsilon: with each of six seeds masking sets in within 350 updates
    updates=1000, batch_size=64, learning_rate=0.01, objective=PRESETS["fgsm"](0.3)
)


def network(seed=0):
    return build("mlp", inputs=(1, 8, 8), classes=10, widths=(128,), seed=seed)


def watching(digits, **changed):
    few = digits.images[:200], digits.labels[:200]
    settings = {"epsilon": 0.3, "images": few[0], "labels": few[1], "every": 50, "rule": Rule(gap=0.2)}
    return Watch(**settings | changed)


def assert_same(one, other):
    ours, theirs = one.state_dict(), other.state_dict()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


@pytest.fixture(scope="module")
def masked(digits):
    """A run that was stopped: its watch, its network, its epochs."""
    watch, model = watching(digits), network()
    return watch, model, list(MASKS(model, digits, watch=watch))


# --- when it looks


@pytest.mark.parametrize(
    ("updates", "looked"),
    [
        (range(1, 301), [1, 100, 200, 300]),
        (range(9, 301, 9), [9, 108, 207]),
        ([batch // 40 for batch in range(40, 12_040, 10)], [1, 100, 200, 300]),
        ([50, 250, 251, 299, 300], [50, 250, 300]),
    ],
)
def test_it_looks_once_for_each_so_many_updates_however_it_is_called(updates, looked, digits):
    watch, model = watching(digits, every=100, steps=1, images=digits.images[:2], labels=digits.labels[:2]), network()
    for update in updates:
        watch(model, update)
    assert [reading.update for reading in watch.readings] == looked


def test_it_watches_a_network_whose_first_parameter_holds_whole_numbers(digits):
    class Coded(nn.Module):
        def __init__(self):
            super().__init__()
            self.code, self.network = nn.Parameter(torch.arange(3), requires_grad=False), network()

        def forward(self, images):
            return self.network(images)

    assert watching(digits)(Coded(), 1) == watching(digits)(network(), 1)


# --- the numbers


def test_the_reading_of_a_linear_model_is_its_closed_form():
    """Of two classes the direction is sign(w_other - w_y) everywhere, so one step is as good as many."""
    generator = torch.Generator().manual_seed(3)
    images = 0.3 + 0.4 * torch.rand(50, 1, 3, 3, generator=generator, dtype=torch.float64)  # no pixel is cut to [0, 1]
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 2, bias=False).double())
    model[1].weight.data = weight = torch.randn(2, 9, generator=generator, dtype=torch.float64)
    labels = (images.flatten(1) @ weight.T).argmax(1)
    labels[::10] = 1 - labels[::10]
    reading = Watch(epsilon=0.1, images=images, labels=labels, alpha=0.03, seed=5)(model, 7)

    x, rise = images.flatten(1), weight[1 - labels] - weight[labels]
    lead = (x * rise).sum(1) + 0.1 * rise.abs().sum(1)
    share, loss = (lead < 0).double().mean().item(), functional.softplus(lead).mean().item()
    moved = 0.03 * (rise.sign() - random_signs(images, seed=5).flatten(1))
    assert reading == Reading(
        update=7,
        clean_accuracy=((x * rise).sum(1) < 0).double().mean().item(),
        fgsm_accuracy=share,
        pgd_accuracy=share,
        fgsm_loss=pytest.approx(loss, rel=1e-12),
        pgd_loss=pytest.approx(loss, rel=1e-12),
        logit_distance=pytest.approx((moved @ weight.T).norm(dim=1).mean().item(), rel=1e-12),
    )
    assert reading.clean_accuracy == 0.9 > share > 0


def test_it_reads_at_once_and_then_every_so_many_updates(linear, digits):
    watch = watching(digits, every=3)
    latest = [watch(linear, update).update for update in range(4, 11)]
    assert latest == [4, 4, 6, 6, 6, 9, 9]
    assert [reading.update for reading in watch.readings] == [4, 6, 9]
    assert len({replace(reading, update=0) for reading in watch.readings}) == 1  # the same images, the same noise


def test_neither_batches_nor_precision_change_what_is_read(perceptron, digits):
    one = watching(digits)(perceptron, 1)
    other = watching(digits, batches=Batches(size=7))(copy.deepcopy(perceptron).double(), 1)
    assert [getattr(other, name) for name in NUMBERS] == pytest.approx([getattr(one, name) for name in NUMBERS], 1e-4)


NUMBERS = [name for name in Reading.__dataclass_fields__ if name != "masked"]


def test_a_look_leaves_no_trace(digits):
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 10)
    ).train()
    frozen = model[4].eval()
    model(digits.images[:20]).sum().backward()
    before = copy.deepcopy(model)
    gradients = [one.grad.clone() for one in model.parameters()]
    torch.manual_seed(3)
    state = torch.get_rng_state()
    watching(digits)(model, 1)
    assert torch.equal(torch.get_rng_state(), state)
    assert [part for part in model.modules() if not part.training] == [frozen]
    assert_same(model, before)
    assert all(torch.equal(one.grad, grad) for one, grad in zip(model.parameters(), gradients, strict=True))


# --- the rule


@pytest.mark.parametrize(
    ("changed", "best", "reason"),
    [
        ({}, 0.8, ""),
        ({"pgd_accuracy": 0.61}, 0.8, ""),
        ({"pgd_accuracy": 0.6}, 0.8, ""),  # a fall of 0.2 to the last digit, which floating point overstates
        ({"pgd_accuracy": 0.59, "fgsm_accuracy": 0.6}, 0.8, "accuracy under PGD has fallen from 80.0 % to 59.0 %"),
        ({"pgd_accuracy": 0.6, "fgsm_accuracy": 0.9}, 0.6, ""),
        ({"pgd_accuracy": 0.6, "fgsm_accuracy": 0.91}, 0.6, "FGSM leaves 91.0 % standing and PGD 60.0 %, a gap of"),
        ({"pgd_accuracy": 0.1, "fgsm_accuracy": 0.21}, 0.2, "PGD leaves 10.0 % standing, less than 50 % of the 21.0 %"),
        ({"pgd_accuracy": 0.1, "fgsm_accuracy": 0.21}, 0.09, ""),  # PGD training, which is slow to begin with
        ({"pgd_accuracy": 0.105, "fgsm_accuracy": 0.21}, 0.2, ""),
        ({"pgd_accuracy": 0.04, "fgsm_accuracy": 0.2}, 0.2, ""),  # hardly more than guessing
        ({"pgd_accuracy": 0.0, "pgd_loss": math.nan}, 0.8, ""),
        ({"pgd_accuracy": 0.0, "fgsm_loss": math.inf}, 0.8, ""),
    ],
)
def test_what_the_rule_says(changed, best, reason):
    said = Rule()(replace(HEALTHY, **changed), best, chance=0.1)
    assert said.startswith(reason)
    assert bool(said) == bool(reason)


def test_the_fall_is_from_the_best_so_far(perceptron, digits, monkeypatch):
    """Each fall is of 0.15 only; what follows the best counts, not what follows the last."""
    accuracies = iter([0.3, 0.6, 0.45, 0.3, 0.45])
    monkeypatch.setattr(
        Watch,
        "_measured",
        lambda self, model, update: replace(HEALTHY, update=update, fgsm_accuracy=0.5, pgd_accuracy=next(accuracies)),
    )
    watch = watching(digits, every=1)
    assert [bool(watch(perceptron, update).masked) for update in range(1, 6)] == [False, False, False, True, False]
    assert watch.healthy.update == 5
    remembered = watching(digits, every=1)
    remembered.load_state_dict(watch.state_dict())
    assert remembered.readings == watch.readings


def test_a_network_that_diverged_is_neither_masked_nor_healthy(digits):
    model, watch = network(), watching(digits, every=1)
    watch(model, 1)
    healthy = copy.deepcopy(model)
    model[1].weight.data.fill_(math.nan)
    assert not watch(model, 2).masked
    assert watch.restore(model) == 1
    assert_same(model, healthy)


def test_without_a_healthy_reading_there_is_no_way_back(digits):
    with pytest.raises(ValueError, match="watch: expected a healthy reading to return to, got none; begin from other"):
        watching(digits).restore(network())


# --- in a loop that is not ours


def test_it_takes_three_lines_in_a_loop_of_plain_torch(digits):
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(0)
    kept = {}
    watch = watching(digits)
    for update in range(1, 1001):
        rows = torch.randint(len(digits), (64,), generator=generator)
        optimizer.zero_grad()
        PRESETS["fgsm"](0.3)(model, digits.images[rows], digits.labels[rows]).backward()
        optimizer.step()
        kept[update] = copy.deepcopy(model)
        if watch(model, update).masked:
            watch.restore(model)
            break
    assert 50 < update < 1000
    assert update % 50 == 0
    assert_same(model, kept[update - 50])
    assert "FGSM leaves" in watch.masked


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


# --- in ours


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
    trainer = replace(MASKS, updates=200, learning_rate=0.01, objective=PRESETS["logit-distance"](0.2))
    epochs = list(trainer(network(), digits, watch=watch))
    assert (epochs[-1].update, epochs[-1].returned_to, watch.masked) == (200, None, "")
    assert watch.readings[-1].pgd_accuracy > 0.2 + watch.readings[0].pgd_accuracy


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


def test_the_last_look_ends_a_run_as_any_other(masked, digits, tmp_path):
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


@pytest.mark.parametrize("left", [1, 2, 4])
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


@pytest.mark.parametrize(
    ("chance", "least"), [(0.0, 0.0), (0.1, 0.2), (0.5, 0.75), (0.72, 0.86)], ids=lambda value: f"{value:g}"
)
def test_well_above_guessing_is_where_a_network_can_be(chance, least):
    assert (above_chance(least - 1e-6, chance), above_chance(least + 1e-6, chance)) == (False, True)


def test_a_function_cannot_be_watched(digits):
    with pytest.raises(ValueError, match="model: expected a torch module to watch, got builtin_function_or_method"):
        watching(digits)(torch.flatten, 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x, y: Watch(epsilon="8/255", images=x, labels=y), "epsilon: expected a number such as 8/255, got text"),
        (lambda x, y: Watch(epsilon=8, images=x, labels=y), r"epsilon: expected a number in \[0, 1\], got 8"),
        (lambda x, y: Watch(epsilon=0.1, images=255 * x, labels=y), r"images: expected pixels in \[0, 1\], got"),
        (lambda x, y: Watch(epsilon=0.1, images=x, labels=y[:1]), "labels: expected int64 of shape"),
        (lambda x, y: Watch(epsilon=0.1, images=x, labels=y, every=0), "every and images: .* of each, got 0 and 8"),
        (lambda x, y: Watch(epsilon=0.1, images=x[:0], labels=y[:0]), "every and images: .* of each, got 100 and 0"),
        (
            lambda x, y: Watch(epsilon=0.1, images=x, labels=y, steps=0),
            "steps and restarts: expected at least 1, got 0",
        ),
        (lambda x, y: Watch(epsilon=0.1, images=x, labels=y, alpha=2), r"alpha: expected a number in \[0, 1\], got 2"),
        (lambda x, y: Rule(fall=0), "fall and gap: expected numbers above 0 and up to 1, got 0 and 0.3"),
        (lambda x, y: Rule(share=1), "share: expected a number from 0 to below 1, got 1"),
        (lambda x, y: Rule(gap=30), "fall and gap: expected .*, got 0.2 and 30"),
    ],
)
def test_impossible_settings_are_refused(make, message, digits):
    with pytest.raises(ValueError, match=message):
        make(digits.images[:8], digits.labels[:8])
