"""Attacks of other libraries: attacks of ours, and the model none the worse for it."""

from __future__ import annotations

import copy
import random
import sys
import warnings
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import unmask
from unmask.adapters import art_attack, black_box, foolbox_attack, torchattacks_attack
from unmask.adapters.wrapped import WrappedModel, isolated
from unmask.attacks import PGD, Attack, predict
from unmask.gradients import NoGradientError
from unmask.losses import cross_entropy

EPSILON = 0.1

quick_audit = partial(unmask.audit, effort=unmask.QUICK)


def load(name):
    """Import a library; its own warnings do not count."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason=f"{name} is not installed")


@pytest.fixture(scope="module")
def task(held_out):
    return held_out.images[:100], held_out.labels[:100]


def as_function(model):
    """The same model as a function of numpy arrays."""

    def answer(images):
        with torch.no_grad():
            return model(torch.from_numpy(images)).numpy()

    return answer


def foolbox_pgd():
    foolbox = load("foolbox")
    return foolbox_attack(foolbox.attacks.LinfPGD(steps=5, abs_stepsize=0.03, random_start=False), EPSILON)


def foolbox_random():
    return foolbox_attack(load("foolbox").attacks.LinfPGD(steps=5), EPSILON, seed=3)


def foolbox_minimal():
    return foolbox_attack(load("foolbox").attacks.LinfDeepFoolAttack(steps=5), EPSILON)


def torchattacks_pgd():
    return torchattacks_attack(load("torchattacks").PGD, eps=EPSILON, alpha=0.03, steps=5, random_start=False)


def torchattacks_random():
    return torchattacks_attack(load("torchattacks").PGD, eps=EPSILON, alpha=0.03, steps=5, seed=3)


def torchattacks_square():
    return torchattacks_attack(load("torchattacks").Square, eps=EPSILON, n_queries=20, needs_gradients=False)


def art_pgd():
    attack = load("art.attacks.evasion").ProjectedGradientDescentPyTorch
    return art_attack(attack, eps=EPSILON, eps_step=0.03, max_iter=5)


def art_square():
    return art_attack(load("art.attacks.evasion").SquareAttack, eps=EPSILON, max_iter=20, needs_gradients=False)


FIXED = [foolbox_pgd, torchattacks_pgd, art_pgd]
SEARCHES = [torchattacks_square, art_square]
FOREIGN = [*FIXED, foolbox_random, foolbox_minimal, torchattacks_random, *SEARCHES]
named = pytest.mark.parametrize("make", FOREIGN, ids=lambda make: make.__name__)


@named
def test_a_foreign_attack_declares_what_an_audit_asks(make):
    attack = make()
    assert isinstance(attack, Attack)
    assert unmask.as_attack(attack) is attack
    assert attack.settings["epsilon"] == EPSILON
    assert attack.replace(epsilon="1/4").epsilon == 0.25
    assert attack.needs_gradients == (make not in SEARCHES)


@named
def test_a_foreign_attack_stays_in_the_ball_and_fools_some(make, perceptron, task):
    found = make()(perceptron, *task)
    assert found.shape == task[0].shape
    assert found.dtype == torch.float32
    assert not found.requires_grad
    assert found.min() >= 0
    assert found.max() <= 1
    assert 0 < (found - task[0]).abs().max() <= EPSILON + 1e-6
    assert (predict(perceptron, found) == task[1]).sum() < (predict(perceptron, task[0]) == task[1]).sum()


@named
def test_a_foreign_attack_leaves_no_trace(make, perceptron, task):
    attack = make()
    model = nn.Sequential(copy.deepcopy(perceptron), nn.Dropout(0.5), nn.BatchNorm1d(10)).train()
    model[0].eval()
    kept = torch.ones_like(model[0][1].weight)
    model[0][1].weight.grad = kept
    modes = [part.training for part in model.modules()]
    weights = copy.deepcopy(model.state_dict())
    torch.manual_seed(5)
    state = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    first = attack(model, *task)
    assert torch.equal(torch.get_rng_state(), state[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == state[1:]
    assert [part.training for part in model.modules()] == modes
    assert all(torch.equal(one, weights[name]) for name, one in model.state_dict().items())
    assert model[0][1].weight.grad is kept
    assert torch.equal(kept, torch.ones_like(kept))
    assert all(one.requires_grad and one.grad is None for name, one in model.named_parameters() if name != "0.1.weight")
    torch.rand(1)
    np.random.random()
    assert torch.equal(attack(model, *task), first)  # whatever others draw


@pytest.mark.parametrize("make", FIXED, ids=lambda make: make.__name__)
def test_the_same_attack_finds_the_same_images_through_any_library(make, perceptron, task):
    """Five steps of 0.03 from the image along the signs of cross entropy's gradient, but for the signs of zeros."""
    ours = PGD(EPSILON, steps=5, step_size=0.03, start="clean", keep="last", loss=cross_entropy)
    found, expected = make()(perceptron, *task), ours(perceptron, *task)
    assert ((found - expected).abs() < 1e-5).double().mean() > 0.99


@pytest.mark.parametrize("make", [foolbox_pgd, torchattacks_pgd, art_pgd], ids=lambda make: make.__name__)
def test_a_foreign_attack_takes_any_callable_and_precision(make, perceptron, task):
    double = copy.deepcopy(perceptron).double()
    found = make()(lambda images: double(images), task[0].double(), task[1])
    assert found.dtype == torch.float64
    assert (found - task[0]).abs().max() <= EPSILON + 1e-6
    expected = make()(perceptron, *task)
    assert ((found - expected).abs() < 1e-5).double().mean() > 0.99


@pytest.mark.parametrize("make", SEARCHES, ids=lambda make: make.__name__)
def test_a_foreign_search_attacks_a_black_box(make, perceptron, task):
    assert torch.equal(make()(black_box(as_function(perceptron)), *task), make()(perceptron, *task))


@pytest.mark.parametrize("make", FIXED, ids=lambda make: make.__name__)
def test_a_foreign_attack_that_needs_gradients_gets_none_of_a_black_box(make, perceptron, task):
    with pytest.raises(NoGradientError, match="model: gives no gradients"):
        make()(black_box(as_function(perceptron)), *task)


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (foolbox_pgd, "Foolbox: attack LinfProjectedGradientDescentAttack(rel_stepsize=0.0333"),
        (torchattacks_pgd, "Torchattacks: attack PGD, epsilon 0.1, options {'alpha': 0.03, 'steps': 5, 'random_"),
        (art_pgd, "ART: attack ProjectedGradientDescentPyTorch, epsilon 0.1, options {'eps_step': 0.03, 'max_i"),
    ],
    ids=["foolbox", "torchattacks", "art"],
)
def test_a_foreign_attack_is_an_audits_reference(make, settings, perceptron, task):
    attack = make()
    images, labels = task[0][:40], task[1][:40]
    report = quick_audit(perceptron, images, labels, epsilon=EPSILON, reference=attack)
    assert report.reference.startswith(settings)
    assert report.claimed.count == int((predict(perceptron, attack(perceptron, images, labels)) == labels).sum())
    found = {finding.name for finding in report.findings}
    assert {"attack fails at epsilon 1", "more epsilon fools fewer"} <= found  # it was run at other epsilons too
    with pytest.raises(
        ValueError, match=r"reference attack: expected images in \[0, 1\] within epsilon 0.1, got pixels mov"
    ):
        quick_audit(perceptron, images, labels, epsilon=EPSILON, reference=replace(attack, epsilon=0.3))


def test_an_attack_without_an_epsilon_is_not_run_at_epsilon_one(perceptron, task):
    attack = torchattacks_attack(load("torchattacks").DeepFool, steps=2)
    assert attack.epsilon is None
    report = quick_audit(perceptron, task[0][:20], task[1][:20], epsilon=1.0, reference=attack)
    assert "attack fails at epsilon 1" not in {finding.name for finding in report.findings}


def test_an_epsilon_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"epsilon: expected a number in \[0, 1\], got 8"):
        foolbox_attack("LinfPGD", 8)


@pytest.mark.parametrize(
    ("attack", "library", "message"),
    [
        (foolbox_attack(print, 0.1), "foolbox", r"foolbox: not installed, or broken .*; pip install 'unmask\[peers\]'"),
        (
            art_attack(print),
            "art.estimators.classification",
            "adversarial-robustness-toolbox: not installed, or broken",
        ),
    ],
)
def test_a_missing_library_is_one_line(attack, library, message, monkeypatch, task):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ValueError, match=message):
        attack(nn.Flatten(), *task)


# --- the wrapped model


def test_a_wrapped_model_passes_on_every_gradient(perceptron, task):
    """Once and again through one forward pass, as attacks do that ask class by class."""
    images = task[0][:5].clone().requires_grad_()

    def gradients(model):
        logits = model(images)
        values = [*logits[:, :3].sum(0), cross_entropy(logits, task[1][:5]).sum()]
        return [torch.autograd.grad(value, images, retain_graph=True)[0] for value in values]

    found, expected = gradients(WrappedModel(perceptron, images)), gradients(perceptron)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_a_wrapped_model_for_a_model_without_a_path_gives_zero(task):
    images = task[0][:2].clone().requires_grad_()
    WrappedModel(lambda x: torch.zeros(len(x), 3), images)(images).sum().backward()
    assert torch.equal(images.grad, torch.zeros_like(images))


def test_random_states_come_back_after_an_error():
    states = torch.get_rng_state(), random.getstate()

    def fail():
        random.random()
        raise RuntimeError("no luck")

    with pytest.raises(RuntimeError, match="no luck"), isolated(nn.Flatten(), seed=0):
        fail()
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
