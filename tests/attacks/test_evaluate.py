"""evaluate: attacks in turn, each on the examples that are still classified correctly."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from attack_cases import SHAPE
from torch import nn
from torch.nn import functional

from unmask.attacks import FGSM, PGD, Transfer, evaluate
from unmask.numerics import Batches


class Recording:
    """An attack that moves all pixels by ``shift`` and remembers whom it was given."""

    def __init__(self, shift):
        self.shift, self.seen = shift, []

    def __call__(self, model, images, labels):
        self.seen.append(images.flatten(1)[:, 0].tolist())
        return images + self.shift


def by_brightness(images):
    """Class 0 below a brightness of 0.5, else class 1."""
    level = images.flatten(1).mean(1)
    return torch.stack([0.5 - level, level - 0.5], dim=1)


@pytest.fixture
def brightness():
    """Images of one grey each, all of class 0."""
    levels = torch.tensor([0.1, 0.35, 0.25, 0.45])
    return levels.view(-1, 1, 1, 1).expand(-1, *SHAPE).clone(), torch.zeros(4, dtype=torch.int64)


def test_later_attacks_see_only_those_still_classified_correctly(brightness):
    images, labels = brightness
    attacks = [Recording(0.1), Recording(0.2), Recording(0.3)]
    outcome = evaluate(by_brightness, images, labels, attacks)
    assert [attack.seen for attack in attacks] == [
        [pytest.approx([0.1, 0.35, 0.25, 0.45])],
        [pytest.approx([0.1, 0.35, 0.25])],
        [pytest.approx([0.1, 0.25])],
    ]
    assert outcome.correct.tolist() == [True, False, False, False]
    assert outcome.predictions.tolist() == [0, 1, 1, 1]


def test_the_worst_case_of_each_example_comes_back(brightness):
    images, labels = brightness
    outcome = evaluate(by_brightness, images, labels, [Recording(0.2), Recording(0.4), Recording(0.05)])
    assert outcome.images.flatten(1)[:, 0].tolist() == pytest.approx([0.15, 0.55, 0.65, 0.65])  # the last one tried


def test_no_further_attack_is_run_when_none_is_left(brightness):
    images, labels = brightness
    attacks = [Recording(0.5), Recording(0.1)]
    assert not evaluate(by_brightness, images, labels, attacks).correct.any()
    assert attacks[1].seen == []


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_the_model_is_asked_as_it_is_now(optimizer, brightness):
    """Fused optimizers, and whoever writes to a parameter's data, leave no trace in its version."""
    images, labels = brightness
    model, idle = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(SHAPE), 2)), Recording(0.0)
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].bias.copy_(torch.tensor([1.0, 0.0]))
    step = optimizer(model.parameters(), lr=9.0, fused=True)
    assert evaluate(model, images, labels, idle).correct.all()
    (-functional.cross_entropy(model(images), labels)).backward()
    step.step()
    assert not evaluate(model, images, labels, idle).correct.any()
    model[1].weight.data.zero_()
    model[1].bias.data = torch.tensor([1.0, 0.0])
    assert evaluate(model, images, labels, idle).correct.all()


def unstable():
    """A network whose answers depend on its mode, and which remembers what it saw in training."""
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(math.prod(SHAPE)), nn.Dropout(), nn.Linear(math.prod(SHAPE), 2))


class Careless:
    """An attack as people write them: modes and gradients as it likes, and numbers from the global random state."""

    def __init__(self, leaves=None):
        self.leaves, self.modes, self.drawn = leaves, [], []

    def __call__(self, model, images, labels):
        self.modes.append([part.training for part in model.modules()])
        model(images.requires_grad_()).sum().backward()
        noise = torch.rand_like(images)
        self.drawn.append(noise)
        if self.leaves is not None:
            model.train(self.leaves)
        return (images + 0.1 * noise).requires_grad_()


@pytest.mark.parametrize("leaves", [None, False, True])
@pytest.mark.parametrize("training", [False, True])
def test_anybodys_attack_meets_evaluation_mode_and_leaves_no_trace(leaves, training, brightness):
    model, attacks = unstable().train(training), [Careless(leaves), Careless(leaves)]
    model[2].eval()
    modes, before, state = [one.training for one in model.modules()], copy.deepcopy(model), torch.get_rng_state()
    first, second = (evaluate(model, *brightness, attacks) for _ in range(2))
    assert not any(any(seen) for one in attacks for seen in one.modes)
    assert [one.training for one in model.modules()] == modes
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(model.buffers(), before.buffers(), strict=True))
    assert all(one.grad is None for one in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.images, second.images)
    assert not first.images.requires_grad


def test_each_of_several_attacks_draws_numbers_of_its_own(brightness):
    images, labels = brightness
    again = [Careless(), Careless()]
    evaluate(by_brightness_of(unstable()), images, labels, again)
    assert not torch.equal(again[0].drawn[0], again[1].drawn[0])


def by_brightness_of(network):
    """A module that no noise of 0.1 can fool."""
    network.forward = lambda images: torch.stack([2 - images.flatten(1).mean(1), 0 * images.flatten(1).mean(1)], 1)
    return network


def test_an_attack_on_a_proxy_meets_evaluation_mode_too(brightness):
    attack, proxy = Careless(), unstable().train()
    evaluate(by_brightness, *brightness, Transfer(attack=attack, proxy=proxy))
    assert not any(attack.modes[0])
    assert proxy.training


def test_what_an_attack_returns_in_another_precision_is_taken(brightness):
    outcome = evaluate(by_brightness, *brightness, lambda model, images, labels: images.double())
    assert outcome.images.dtype == torch.float32


@pytest.mark.parametrize(
    ("returned", "found"),
    [
        (lambda images: (images, None), "got tuple"),
        (lambda images: images[:1], r"got shape \(1, "),
        (lambda images: images.numpy(), "got ndarray"),
        (lambda images: None, "got NoneType"),
    ],
)
def test_an_attack_that_returns_no_images_is_refused(returned, found, brightness):
    def broken(model, images, labels):
        return returned(images)

    with pytest.raises(ValueError, match=f"broken: expected images of shape .* from the attack, {found}"):
        evaluate(by_brightness, *brightness, broken)


@pytest.mark.parametrize(
    ("attacks", "message"),
    [
        ([PGD], "attack: expected one that takes .*, got PGD; a class is to be called first"),
        ([lambda images: images], "attack: expected one that takes .model, images, labels., got <lambda>$"),
        (["pgd"], "attack: expected a callable .*, got 'pgd'"),
        ([], "attacks: expected at least one, got none"),
    ],
)
def test_what_is_no_attack_is_refused(attacks, message, brightness):
    with pytest.raises(ValueError, match=message):
        evaluate(by_brightness, *brightness, attacks)


def test_the_loss_is_the_log_odds_at_the_images_found(brightness):
    outcome = evaluate(by_brightness, *brightness, [Recording(0.2), Recording(0.45)])
    expected = 2 * outcome.images.flatten(1).mean(1) - 1
    torch.testing.assert_close(outcome.loss, expected)
    assert (outcome.loss < 0).tolist() == outcome.correct.tolist()


def test_examples_are_attacked_in_batches(brightness):
    images, labels = brightness
    attack, finished = Recording(0.2), []
    task = (by_brightness, images, labels)
    outcome = evaluate(*task, attack, batches=Batches(size=3), progress=finished.append)
    assert outcome.correct.tolist() == [True, False, True, False]
    assert [len(seen) for seen in attack.seen] == [3, 1]
    assert finished == [3, 1]


def test_an_update_between_two_evaluations_is_noticed():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    images, labels = torch.rand(8, 1, 2, 2), torch.zeros(8, dtype=torch.int64)
    with torch.no_grad():
        model[1].bias.copy_(torch.tensor([9.0, 0.0]))
        before = evaluate(model, images, labels, FGSM(0.1)).correct
        model[1].bias.copy_(torch.tensor([0.0, 9.0]))
        after = evaluate(model, images, labels, FGSM(0.1)).correct
    assert before.all()
    assert not after.any()


def test_the_examiner_draws_other_numbers_than_the_attacker():
    drawn = []

    def noisy(images):
        drawn.append(torch.rand(()).item())
        return images.flatten(1)

    evaluate(noisy, torch.ones(1, 1, 1, 2), torch.tensor([0]), FGSM(0.1))
    attacker, examiner = drawn
    assert attacker != examiner
