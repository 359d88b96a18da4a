"""A watch for masking: right readings, no trace, and a rule."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from training_cases import assert_same
from unmask.numerics import Batches, random_signs
from unmask.training import Reading, Rule, Watch, above_chance
from watch_cases import HEALTHY, network, watching

# --- the time of a reading


@pytest.mark.parametrize(
    ("updates", "looked"),
    [
        (range(1, 301), [1, 100, 200, 300]),
        (range(9, 301, 9), [9, 108, 207]),
        ([batch // 40 for batch in range(40, 12_040, 10)], [1, 100, 200, 300]),
        ([50, 250, 251, 299, 300], [50, 250, 300]),
    ],
)
def test_it_reads_once_for_each_so_many_updates_however_it_is_called(updates, looked, digits):
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


def test_a_reading_leaves_no_trace(digits):
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
        (
            {"pgd_accuracy": 0.6, "fgsm_accuracy": 0.91},
            0.6,
            "accuracy is 91.0 % under FGSM and 60.0 % under PGD",
        ),
        (
            {"pgd_accuracy": 0.1, "fgsm_accuracy": 0.21},
            0.2,
            "accuracy under PGD is 10.0 %, less than 50 % of",
        ),
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


# --- refusals


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
        (lambda x, y: Watch("eight", images=x, labels=y), r"epsilon: expected a number .* such as .*, got 'eight'"),
        (lambda x, y: Watch(epsilon=8, images=x, labels=y), r"epsilon: expected a number in \[0, 1\], got 8"),
        (lambda x, y: Watch(epsilon=0.1, images=255 * x, labels=y), r"images: expected pixels in \[0, 1\], got"),
        (lambda x, y: Watch(epsilon=0.1, images=x, labels=y[:1]), "labels: expected int64 of shape"),
        (lambda x, y: Watch(epsilon=0.1, images=x, labels=y, every=0), "every and images: .* of each, got 0 and 8"),
        (lambda x, y: Watch(epsilon=0.1, images=x[:0], labels=y[:0]), "every and images: .* of each, got 100 and 0"),
        (lambda x, y: Watch(epsilon=0.1, images=x, labels=y, steps=0), "steps: expected .* above 0, got 0"),
        (lambda x, y: Watch(epsilon=0.1, images=x, labels=y, alpha=2), r"alpha: expected a number in \[0, 1\], got 2"),
        (lambda x, y: Rule(fall=0), "fall and gap: expected numbers above 0 and up to 1, got 0 and 0.3"),
        (lambda x, y: Rule(share=1), "share: expected a number from 0 to below 1, got 1"),
        (lambda x, y: Rule(gap=30), "fall and gap: expected .*, got 0.2 and 30"),
    ],
)
def test_impossible_settings_are_refused(make, message, digits):
    with pytest.raises(ValueError, match=message):
        make(digits.images[:8], digits.labels[:8])


def test_epsilon_may_be_text_in_the_first_place(digits):
    assert Watch("8/255", images=digits.images[:8], labels=digits.labels[:8]).epsilon == 8 / 255
