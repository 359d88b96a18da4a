"""Agreement with foolbox and torchattacks, two independent implementations: the same images but for rounding.

Attacks that draw their random numbers differently cannot agree; they must be as strong, at equal budget.
"""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch

from unmask.attacks import APGD, FGSM, PGD, Square, TargetedAPGD, predict
from unmask.gradients import input_gradient
from unmask.losses import cross_entropy, dlr, log_odds
from unmask.models import build
from unmask.numerics import derive_seed
from unmask.threats import Linf

pytestmark = pytest.mark.slow

EPSILON, STEPS, STEP_SIZE = 0.1, 10, 0.02
SEED = 3


@pytest.fixture(scope="module")
def problem():
    """A network that is not saturated, images over all of [0, 1], and labels of which most are wrong."""
    model = build("lenet+", inputs=(1, 12, 12), classes=10, width=4).eval()
    images = (1.25 * torch.rand(64, 1, 12, 12, generator=torch.Generator().manual_seed(0)) - 0.125).clamp(0, 1)
    return model, images, torch.arange(64) % 10


def load(name):
    """A peer's package; what it warns of while it is imported is its own affair."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason=f"{name} is not installed")


def foolbox_fgsm(model, images, labels):
    foolbox = load("foolbox")
    attack = foolbox.attacks.LinfFastGradientAttack()
    return attack.run(foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu"), images, labels, epsilon=EPSILON)


def torchattacks_fgsm(model, images, labels):
    return load("torchattacks").FGSM(model, eps=EPSILON)(images, labels)


def foolbox_pgd(model, images, labels, start=None):
    """``start`` goes in where foolbox would draw one."""
    foolbox = load("foolbox")
    attack = foolbox.attacks.LinfPGD(abs_stepsize=STEP_SIZE, steps=STEPS, random_start=start is not None)
    attack.get_random_start = lambda x, epsilon: type(x)(start)
    return attack.run(foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu"), images, labels, epsilon=EPSILON)


def torchattacks_pgd(model, images, labels):
    attack = load("torchattacks").PGD(model, eps=EPSILON, alpha=STEP_SIZE, steps=STEPS, random_start=False)
    return attack(images, labels)


def our_pgd(start):
    return PGD(
        epsilon=EPSILON, steps=STEPS, step_size=STEP_SIZE, start=start, keep="last", loss=cross_entropy, seed=SEED
    )


def share_of_equal_pixels(found, expected):
    return ((found - expected).abs() < 1e-6).double().mean()


@pytest.mark.parametrize("peer", [foolbox_fgsm, torchattacks_fgsm])
def test_fgsm_agrees_wherever_the_gradient_is_no_rounding_error(problem, peer):
    model, images, labels = problem
    slope = input_gradient(model, images, labels, loss=cross_entropy).gradient.abs()
    certain = slope > 1e-6 * slope.amax(dim=(1, 2, 3), keepdim=True)
    assert certain.double().mean() > 0.9
    found = FGSM(epsilon=EPSILON, loss=cross_entropy)(model, images, labels)
    torch.testing.assert_close(found[certain], peer(model, images, labels)[certain], rtol=0, atol=1e-6)


@pytest.mark.parametrize("peer", [foolbox_pgd, torchattacks_pgd])
def test_pgd_from_the_images_agrees(problem, peer):
    found, expected = our_pgd("clean")(*problem), peer(*problem)
    assert share_of_equal_pixels(found, expected) >= 0.999


def test_pgd_from_a_random_start_agrees(problem):
    start = Linf(EPSILON).random_start(problem[1], seed=derive_seed(SEED, "restart", 0))
    found, expected = our_pgd("random")(*problem), foolbox_pgd(*problem, start=start)
    assert share_of_equal_pixels(found, expected) >= 0.999
    assert share_of_equal_pixels(found, our_pgd("clean")(*problem)) < 0.9


def test_log_odds_gives_the_peers_images_too(problem):
    """It has cross entropy's signs, so on a network that is not saturated it finds the same images."""
    model, images, labels = problem
    found = FGSM(EPSILON, loss=log_odds)(model, images, labels)
    assert share_of_equal_pixels(found, torchattacks_fgsm(model, images, labels)) >= 0.999


class Watched(torch.nn.Module):
    """Remembers the points it is asked about."""

    def __init__(self, model):
        super().__init__()
        self.model, self.points = model, []

    def forward(self, images):
        self.points.append(images.detach().clone())
        return self.model(images)


@pytest.mark.parametrize(("loss", "name"), [(cross_entropy, "ce"), (dlr, "dlr")])
def test_apgd_visits_the_points_that_torchattacks_visits(perceptron, held_out, monkeypatch, loss, name):
    """From the peer's start, up to step 41, the second checkpoint, on images that are not fooled.

    Of the first 22 losses the peer compares one with 0, and not with the one before it: some examples may part there.
    """
    attack = APGD(epsilon=0.03, steps=100, loss=loss)
    standing = predict(perceptron, attack(perceptron, held_out.images, held_out.labels)) == held_out.labels
    images, labels = held_out.images[standing][:60], held_out.labels[standing][:60]
    theirs, ours = Watched(perceptron), Watched(perceptron)
    with torch.random.fork_rng():
        load("torchattacks").APGD(theirs, eps=0.03, steps=100, loss=name)(images, labels)
    monkeypatch.setattr(Linf, "random_start", lambda self, images, seed: theirs.points[1].clone())
    attack(ours, images, labels)
    pairs = list(zip(ours.points[1:42], theirs.points[1:42], strict=True))
    assert len(pairs) == 41
    agree = torch.stack([(one - other).abs().flatten(1).amax(1) < 1e-5 for one, other in pairs])
    assert agree[:22].all()
    assert agree[-1].double().mean() > 0.9


# --- attacks that draw their own random numbers: as strong as the peer's, at equal budget


def still_right(model, images, labels):
    return int((predict(model, images) == labels).sum())


@pytest.mark.parametrize(
    ("attack", "name", "settings"),
    [
        (Square(epsilon=0.1, queries=100), "Square", {"n_queries": 100}),
        (APGD(epsilon=0.1, steps=10, loss=cross_entropy), "APGD", {"steps": 10}),
        (APGD(epsilon=0.1, steps=10, loss=dlr), "APGD", {"steps": 10, "loss": "dlr"}),
        (TargetedAPGD(epsilon=0.1, steps=5), "APGDT", {"steps": 5, "n_classes": 10}),
    ],
    ids=["Square", "APGD, cross entropy", "APGD, DLR", "APGD, targeted"],
)
def test_as_strong_as_torchattacks(perceptron, held_out, attack, name, settings):
    """Images still classified correctly, over three seeds; ours may leave one in a hundred more."""
    images, labels = held_out.images[:100], held_out.labels[:100]
    ours, theirs = 0, 0
    for seed in range(3):
        ours += still_right(perceptron, replace(attack, seed=seed)(perceptron, images, labels), labels)
        with torch.random.fork_rng():
            peer = getattr(load("torchattacks"), name)(perceptron, eps=0.1, seed=seed, **settings)
            theirs += still_right(perceptron, peer(images, labels), labels)
    assert ours <= theirs + 3
