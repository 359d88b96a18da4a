"""Objectives that use other people's attacks, other models, or moved images."""

from __future__ import annotations

import copy
import math
import re
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from objective_cases import Watched, a_batch, brightest, teacher
from unmask.attacks import FGSM, PGD, Transfer
from unmask.losses import log_odds
from unmask.models import build
from unmask.training import Trainer
from unmask.training.objectives import (
    Adversarial,
    Augmented,
    Distilled,
    Ensemble,
    Mixture,
    Normal,
    Tempered,
    at_step,
    soft_labels,
)


@pytest.fixture
def model():
    return Watched()


@pytest.fixture
def batch():
    return a_batch()


def test_the_noise_of_an_attack_within_another_is_that_of_the_step_too():
    attack = Transfer(attack=PGD(0.1, seed=5), proxy=nn.Flatten())
    first, second = (at_step(attack, step).attack.seed for step in (1, 2))
    assert len({first, second, 5}) == 3


def test_an_attack_that_is_no_dataclass_keeps_its_noise():
    class Own:
        seed = 3

        def __call__(self, model, images, labels):
            return images

    attack = Own()
    assert at_step(attack, 1) is attack


def test_an_attack_is_any_function(model, batch):
    model.eval()
    unchanged = Adversarial(attack=lambda model, images, labels: images)
    assert torch.equal(unchanged(model, *batch), Normal()(model, *batch))


# --- augmentation


def test_augmented_images_are_moved_and_mirrored_and_no_two_updates_alike():
    """Each is a window of the padded image, mirrored or not; over many updates all of them occur."""
    image = 0.1 + 0.9 * torch.rand(1, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    padded = functional.pad(image[0], (1, 1, 1, 1))
    windows = [padded[:, down : down + 3, across : across + 4] for down in range(3) for across in range(3)]
    windows += [window.flip(2) for window in windows]
    augmented = Augmented(objective=Normal(), padding=1)
    found = [augmented.augment(image, step=step)[0] for step in range(400)]
    counts = [sum(torch.equal(one, window) for one in found) for window in windows]
    assert sum(counts) == 400
    assert min(counts) > 0
    unmoved = Augmented(objective=Normal(), padding=0, flip=False)
    assert torch.equal(unmoved.augment(image, step=3), image)


def test_an_image_is_augmented_alike_in_every_batch_and_layout(batch):
    augmented, images = Augmented(objective=Normal(), padding=2), batch[0]
    together = augmented.augment(images, step=7)
    assert torch.equal(together[3:5], augmented.augment(images[3:5], step=7))
    coloured = torch.rand(4, 3, 6, 6).to(memory_format=torch.channels_last)
    moved = augmented.augment(coloured, step=7)
    assert moved.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(moved, augmented.augment(coloured.contiguous(), step=7))


def test_a_padding_below_0_is_refused():
    with pytest.raises(ValueError, match="padding: expected a whole number of pixels from 0 up, got -1"):
        Augmented(objective=Normal(), padding=-1)


# --- the ensemble


def sequence(steps, *, seed=0):
    """Return the model that is attacked in each step: one of two sources, or the model in training."""
    drawn = []

    def named(name):
        return lambda images: (drawn.append(name), images.flatten(1))[1]

    def ask(model, images, labels):
        model(images)
        return images

    objective = Ensemble(attack=ask, sources=(named("first"), named("second")), seed=seed)
    images, labels = torch.rand(1, 1, 1, 2), torch.tensor([0])
    for step in range(steps):
        before = len(drawn)
        objective(lambda x: x.flatten(1), images, labels, step=step)
        if len(drawn) == before:
            drawn.append("itself")
    return drawn


def test_an_ensemble_attacks_each_of_its_models_equally_often():
    counts = Counter(sequence(900))
    assert set(counts) == {"first", "second", "itself"}
    assert all(240 < count < 360 for count in counts.values())  # 300 expected, with a standard deviation of 14


def test_the_same_seed_draws_the_same_sources():
    assert sequence(30) == sequence(30)
    assert sequence(30) != sequence(30, seed=1)


def test_an_ensemble_trains_on_what_its_source_makes(model, batch):
    images, labels = batch
    objective = Ensemble(attack=FGSM(epsilon=0.1), sources=(brightest,) * 10**4, clean_weight=0.0)
    objective(model, images, labels)
    assert torch.equal(model.seen[0], FGSM(epsilon=0.1)(brightest, images, labels))


def test_an_ensemble_leaves_its_sources_as_they_were(batch):
    source = Watched()
    before = copy.deepcopy(source.state_dict())
    Ensemble(attack=FGSM(epsilon=0.1), sources=(source,) * 10**4)(Watched(), *batch)
    assert source.attacked == 1
    assert source.training
    assert all(torch.equal(before[name], value) for name, value in source.state_dict().items())
    assert all(one.grad is None for one in source.parameters())


def described_as(objective):
    trainer = Trainer(updates=1, objective=objective)
    return trainer.in_words(model := nn.Linear(1, 1), trainer.prepare(model))["objective"]


def test_a_run_is_described_by_the_weights_of_its_sources():
    source, same, other = Watched(), Watched(), Watched()
    nn.init.constant_(other.layers[5].bias, 1.0)
    described = [
        described_as(Ensemble(attack=FGSM(epsilon=0.1), sources=sources))
        for sources in [(source,), (same,), (other,), (source, other), (source, brightest)]
    ]
    assert described[0] == described[1]
    assert len(set(described)) == 4
    assert re.fullmatch(
        r"Ensemble\(attack=FGSM\(epsilon=0\.1, loss=<function cross_entropy>\), "
        r"sources=\(Watched [0-9a-f]{16}, brightest\), clean_weight=0\.5, seed=0\)",
        described[4],
    )


# --- distillation


def test_soft_labels_are_those_of_a_teacher_that_is_left_as_it_was(batch):
    model, (images, _) = Watched(), batch
    before = copy.deepcopy(model.state_dict())
    found = soft_labels(model, images, 20.0)
    assert model.training
    assert not found.requires_grad
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    torch.testing.assert_close(found, (model.eval()(images) / 20).softmax(1))


def test_what_is_trained_hot_has_larger_logits_and_saturates_when_used_cold(digits, held_out):
    """Logits grow with the temperature, accuracy does not change; the student learns from its teacher alone."""
    wrong = (digits.labels + 1) % 10

    def trained(objective, labels=digits.labels):
        model = build("mlp", inputs=(1, 8, 8), classes=10, widths=(64,), seed=0)
        for _ in Trainer(updates=200, learning_rate=0.01, objective=objective)(model, replace(digits, labels=labels)):
            pass
        return model.eval()

    cold, hot = trained(Tempered(temperature=1.0)), trained(Tempered(temperature=30.0))
    student = trained(Distilled(teacher=hot, temperature=30.0), wrong)
    images, labels = held_out.images, held_out.labels
    for model in (cold, hot, student):
        assert (model(images).argmax(1) == labels).double().mean() > 0.9
    leads = [-log_odds(model(images), labels).median() for model in (cold, hot, student)]
    assert leads[1] > 3 * leads[0]
    assert leads[2] > 3 * leads[0]
    shares = [(model(images).softmax(1).amax(1) == 1).double().mean() for model in (cold, hot, student)]
    assert shares[0] < 0.1
    assert min(shares[1:]) > 0.5


def test_a_distilled_run_is_described_by_the_weights_of_its_teacher():
    source, other = Watched(), Watched()
    nn.init.constant_(other.layers[5].bias, 1.0)
    described = [repr(Distilled(teacher=one, temperature=20.0)) for one in (source, Watched(), other, teacher)]
    assert described[0] == described[1] != described[2]
    assert re.fullmatch(r"Distilled\(teacher=Watched [0-9a-f]{16}, temperature=20\.0\)", described[0])
    assert described[3] == "Distilled(teacher=teacher, temperature=20.0)"


def test_a_teacher_of_other_classes_is_refused(batch):
    with pytest.raises(ValueError, match=r"^teacher: expected the model's 10 classes, got 36$"):
        Distilled(teacher=brightest)(Watched(), *batch)


# --- attacks of one's own


def test_an_attack_that_writes_into_its_images_leaves_the_clean_ones_alone():
    def brighten(model, images, labels):
        return images.add_(0.25).clamp_(0, 1)

    def brightness(images):
        total = images.flatten(1).sum(1, keepdim=True)
        return torch.cat([total, torch.zeros_like(total)], 1)

    given = torch.full((1, 1, 1, 2), 0.5), torch.tensor([0])
    loss = Adversarial(attack=brighten, clean_weight=0.5)(brightness, *given)
    assert float(loss) == pytest.approx((math.log1p(math.exp(-1.5)) + math.log1p(math.exp(-1.0))) / 2)
    assert (given[0] == 0.5).all()


@pytest.mark.parametrize("made", [lambda attack: Adversarial(attack=attack), lambda attack: Mixture(attacks=(attack,))])
def test_what_an_attack_makes_is_checked_and_taken_in_the_type_of_the_images(made, batch):
    model = Watched()
    assert made(lambda model, images, labels: images.double())(model, *batch).dtype == torch.float32
    with pytest.raises(ValueError, match=r"<lambda>: expected images of shape .* from the attack, got tuple"):
        made(lambda model, images, labels: (images, labels))(model, *batch)


@pytest.mark.parametrize(
    "made",
    [
        lambda attack, source: Adversarial(attack=attack),
        lambda attack, source: Adversarial(attack=attack, clean_weight=0.5),
        lambda attack, source: Mixture(attacks=(attack, FGSM(epsilon=0.1))),
        lambda attack, source: Ensemble(attack=attack, sources=(source,)),
    ],
)
def test_anybodys_attack_meets_evaluation_mode_and_its_images_have_no_history(made):
    def batch_normed():
        return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 3))

    modes, (source, model) = [], (batch_normed().eval(), batch_normed().train())

    def own(attacked, images, labels):
        modes.append(attacked.training)
        assert all(one.grad is None for one in attacked.parameters())
        moved = images.requires_grad_() + 0 * attacked(images).sum()
        moved.sum().backward(retain_graph=True)  # as many do to get the gradient in the images
        attacked.train(not attacked.training)
        return moved

    images, labels = torch.rand(6, 1, 2, 2), torch.arange(6) % 3
    for step in range(6):  # of an ensemble, each is attacked
        held = [torch.ones_like(one) for one in model.parameters()]
        for one, grad in zip(model.parameters(), held, strict=True):
            one.grad = grad
        loss = made(own, source)(model, images, labels, step=step)
        assert all(one.grad is grad for one, grad in zip(model.parameters(), held, strict=True))
        assert all(bool((grad == 1).all()) for grad in held)
        loss.backward()
    assert modes == [False] * 6
    assert not images.requires_grad
    assert model.training
    assert not source.training
    assert all(one.grad is None for one in source.parameters())
    assert int(model[1].num_batches_tracked) == 6
    assert int(source[1].num_batches_tracked) == 0


@pytest.mark.parametrize(
    "made",
    [
        lambda: Adversarial(attack=FGSM),
        lambda: Mixture(attacks=FGSM(epsilon=0.1)),
        lambda: Mixture(attacks=(FGSM,)),
        lambda: Ensemble(attack="fgsm", sources=(brightest,)),
    ],
)
def test_what_is_no_attack_is_refused(made):
    with pytest.raises(ValueError, match=r"attacks?: expected"):
        made()
