"""Objectives: the formula of each, and exact values where theory gives them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from objective_cases import CASES, EPSILON, TWO_PASSES, Watched, a_batch, linear, smooth, teacher
from unmask.attacks import FGSM, RFGSM
from unmask.losses import cross_entropy, log_odds
from unmask.numerics import derive_seed, random_signs, random_uniform
from unmask.threats import Linf
from unmask.training.objectives import (
    NFGSM,
    Adversarial,
    Augmented,
    Distilled,
    Ensemble,
    GradAlign,
    GuidedAdversarial,
    LogitDistance,
    Mixture,
    Normal,
    StepDistance,
    Tempered,
)

WITH_FORMULA = (
    *(Adversarial, Augmented, Distilled, Ensemble, GradAlign, GuidedAdversarial, LogitDistance, Mixture, Normal),
    *(StepDistance, Tempered),
)
"""The classes whose formula is written below; what holds of every objective is in the contract tests."""

KNOWN = {name: objective for name, objective in CASES.items() if isinstance(objective, WITH_FORMULA)}

every_objective = pytest.mark.parametrize("objective", KNOWN.values(), ids=KNOWN)


@pytest.fixture
def model():
    return Watched()


@pytest.fixture
def batch():
    return a_batch()


def expected(objective, model, seen, labels):
    """The loss by its formula, from passes over the images that were seen."""
    if isinstance(objective, GradAlign):
        points = seen[0].requires_grad_()
        maximised = objective.loss(model(points), labels.repeat(2)).sum()
        at_image, at_noisy = torch.autograd.grad(maximised, points, create_graph=True)[0].flatten(1).chunk(2)
        cosine = (at_image * at_noisy).sum(1) / (at_image.norm(dim=1) * at_noisy.norm(dim=1))
        return functional.cross_entropy(model(seen[1]), labels) + objective.weight * (1 - cosine.mean())
    logits = [model(images) for images in seen]
    if isinstance(objective, StepDistance):
        start, end = logits
        return functional.cross_entropy(end, labels) + objective.weight * (end - start).pow(2).sum(1).mean()
    if isinstance(objective, GuidedAdversarial):
        clean, adversarial = logits
        distance = (clean.softmax(1) - adversarial.softmax(1)).pow(2).sum(1).mean()
        return functional.cross_entropy(clean, labels) + objective.weight * distance
    (logits,) = logits
    if isinstance(objective, Tempered):
        return functional.cross_entropy(logits / objective.temperature, labels)
    if isinstance(objective, Distilled):
        soft = (teacher(seen[0]) / objective.temperature).softmax(1)
        return -(soft * (logits / objective.temperature).log_softmax(1)).sum(1).mean()
    if isinstance(objective, Mixture):
        return functional.cross_entropy(logits, labels.repeat(2))
    first, last = logits.chunk(2) if len(logits) > len(labels) else (logits, logits)
    loss = functional.cross_entropy(first, labels)
    if isinstance(objective, LogitDistance):
        return loss + objective.weight * (first - last).pow(2).sum(1).mean()
    share = getattr(objective, "clean_weight", 0.0)
    return (1 - share) * loss + share * functional.cross_entropy(last, labels)


@every_objective
def test_the_loss_is_its_formula_at_images_that_are_data(objective, model, batch):
    images, labels = batch
    torch.manual_seed(1)
    loss = objective(model, images, labels, step=5)
    seen = list(model.seen)
    assert len(seen) == (2 if isinstance(objective, TWO_PASSES) else 1)
    assert all(one.is_leaf for one in seen)
    assert int(model.layers[2].num_batches_tracked) == len(seen)
    torch.manual_seed(1)
    reference = expected(objective, model, [one.detach().clone() for one in seen], labels)
    torch.testing.assert_close(loss, reference)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    for found, wanted in zip(gradients, torch.autograd.grad(reference, list(model.parameters())), strict=True):
        torch.testing.assert_close(found, wanted)


def reach(objective):
    """Return the greatest distance from the given images at which it may train."""
    if isinstance(objective, Augmented):
        return 1.0
    if isinstance(objective, LogitDistance) and objective.step_from_offset == "full":
        return EPSILON * (1 + 1 / 30) if objective.alpha is None else EPSILON + objective.alpha
    attack = getattr(objective, "attack", None)
    return EPSILON * (
        0 if isinstance(objective, Normal | Tempered | Distilled) else 1 + attack.k if isinstance(attack, NFGSM) else 1
    )


@every_objective
def test_it_trains_on_images_near_the_given_ones(objective, model, batch):
    images, labels = batch
    objective(model, images, labels)
    seen = torch.cat(model.seen)
    for part in seen.split(len(images)):
        assert (part - images).abs().max() <= reach(objective) + 1e-6
        assert part.min() >= 0
        assert part.max() <= 1
    if getattr(objective, "clean_weight", 0):
        assert torch.equal(seen[len(images) :], images)


@every_objective
def test_attacks_see_the_model_in_evaluation_mode(objective, model, batch):
    objective(model, *batch)
    from_elsewhere = isinstance(objective, Normal | StepDistance | Ensemble | Tempered | Distilled)
    assert (model.attacked > 0) == (not from_elsewhere)


@pytest.mark.parametrize(("reading", "step"), [("full", 0.1), ("remaining", 0.07)])
def test_logit_distance_on_a_linear_model(reading, step):
    """Of two classes the direction is sign(w_other - w_y) everywhere; so is all that follows from it."""
    model, images, labels, rise = linear()
    loss = LogitDistance(epsilon=0.1, alpha=0.03, weight=2.0, step_from_offset=reading)(model, images, labels)

    x, weight = images.flatten(1), model.layers[1].weight.data
    at_fgsm, at_rfgsm = model.seen[0].flatten(1).chunk(2)
    torch.testing.assert_close(at_fgsm, x + 0.1 * rise.sign())
    offset = (at_rfgsm - x - step * rise.sign()) / 0.03
    torch.testing.assert_close(offset.abs(), torch.ones_like(x))
    assert 0.3 < (offset > 0).double().mean() < 0.7

    lead = (x * rise).sum(1) + 0.1 * weight.diff(dim=0).abs().sum()
    distance = ((0.1 * rise.sign() - 0.03 * offset - step * rise.sign()) @ weight.T).square().sum(1)
    assert loss.item() == pytest.approx((torch.log1p(lead.exp()) + 2 * distance).mean().item(), rel=1e-12)


def test_without_its_weight_logit_distance_is_training_with_fgsm(perceptron, digits):
    batch = perceptron, digits.images[:50], digits.labels[:50]
    torch.testing.assert_close(
        LogitDistance(epsilon=EPSILON, weight=0.0)(*batch), Adversarial(attack=FGSM(epsilon=EPSILON))(*batch)
    )


def test_a_mixture_trains_on_the_images_of_logit_distance(batch):
    ablation = Mixture(attacks=(FGSM(epsilon=EPSILON), RFGSM(epsilon=EPSILON, alpha=0.03)))
    regularized = LogitDistance(epsilon=EPSILON, alpha=0.03, step_from_offset="remaining")
    models = Watched(), Watched()
    for objective, model in zip((ablation, regularized), models, strict=True):
        objective(model, *batch, step=4)
    torch.testing.assert_close(models[0].seen, models[1].seen)


@pytest.mark.parametrize("alpha", [0.0, 0.02, None])
def test_step_distance_on_a_linear_model(alpha):
    model, images, labels, rise = linear()
    objective = StepDistance(epsilon=0.1, alpha=alpha, weight=2.0, seed=5)
    loss = objective(model, images, labels, step=3)

    offset = (0.05 if alpha is None else alpha) * random_signs(images, seed=derive_seed(5, 3)).flatten(1)
    change = (offset + 0.1 * rise.sign()).clamp(-0.1, 0.1)
    lead = ((images.flatten(1) + change) * rise).sum(1)
    distance = ((change - offset) @ model.layers[1].weight.T).square().sum(1)
    assert loss.item() == pytest.approx((torch.log1p(lead.exp()) + 2 * distance).mean().item(), rel=1e-12)


@pytest.mark.parametrize("loss", [log_odds, cross_entropy])
def test_of_a_linear_model_of_two_classes_all_gradients_are_aligned(loss):
    model, images, labels, _ = linear()
    aligned = GradAlign(epsilon=0.1, weight=1e6, loss=loss)(model, images, labels)
    assert aligned.item() == pytest.approx(Adversarial(attack=FGSM(epsilon=0.1))(model, images, labels).item())


def test_gradalign_on_a_model_whose_gradient_is_the_image():
    images = 0.3 + 0.4 * torch.rand(20, 1, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels = torch.zeros(20, dtype=torch.int64)

    def model(x):
        half = x.flatten(1).square().sum(1) / 2
        return torch.stack([torch.zeros_like(half), half], dim=1)

    objective = GradAlign(epsilon=0.1, weight=3.0, seed=2)
    term = objective(model, images, labels, step=4) - replace(objective, weight=0.0)(model, images, labels, step=4)
    noisy = Linf(epsilon=0.1).random_start(images, seed=derive_seed(2, 4))
    dot = (images * noisy).flatten(1).sum(1)
    cosine = dot / (images.flatten(1).norm(dim=1) * noisy.flatten(1).norm(dim=1))
    assert 1 - cosine.mean() > 0.001
    assert term.item() == pytest.approx(3 * (1 - cosine.mean()).item())


def test_without_its_weight_gradalign_is_training_with_fgsm(perceptron, digits):
    batch = perceptron, digits.images[:50], digits.labels[:50]
    torch.testing.assert_close(
        GradAlign(epsilon=EPSILON, weight=0.0)(*batch), Adversarial(attack=FGSM(epsilon=EPSILON))(*batch)
    )


def test_images_without_a_gradient_do_not_spoil_gradalign(batch):
    """If no unit is active, the two gradients are 0 and have no angle."""
    dead = nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.ReLU(), nn.Linear(16, 4))
    nn.init.constant_(dead[1].bias, -100.0)
    loss = GradAlign(epsilon=EPSILON)(dead, *batch)
    assert loss.isfinite()
    assert all(one.isfinite().all() for one in torch.autograd.grad(loss, list(dead.parameters())))


@pytest.mark.parametrize(("guide_every", "step", "guided"), [(1, 0, True), (2, 0, False), (2, 1, True)])
def test_gat_computed_anew_from_its_description(guide_every, step, guided, batch):
    """Nothing is reused here: each set of logits is a pass of its own."""
    model, images, labels = smooth(), batch[0].double(), batch[1]
    objective = GuidedAdversarial(epsilon=0.1, alpha=0.04, weight=20.0, guide_every=guide_every, seed=6)
    loss = objective(model, images, labels, step=step)

    start = (images + 0.04 * random_signs(images, seed=derive_seed(6, step))).clamp(0, 1).requires_grad_()
    distance = (model(images).detach().softmax(1) - model(start).softmax(1)).square().sum(1)
    maximised = functional.cross_entropy(model(start), labels, reduction="none") + 20 * guided * distance
    (gradient,) = torch.autograd.grad(maximised.sum(), start)
    moved = (start + 0.1 * gradient.sign()).detach().clamp(images - 0.1, images + 0.1).clamp(0, 1)
    distance = (model(images).softmax(1) - model(moved).softmax(1)).square().sum(1)
    anew = functional.cross_entropy(model(images), labels) + 20 * distance.mean()
    torch.testing.assert_close(loss, anew, rtol=1e-12, atol=0)
    gradients = (torch.autograd.grad(one, list(model.parameters())) for one in (loss, anew))
    for found, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)


def test_the_distance_guides_gat(batch):
    model, images, labels = smooth(), batch[0].double(), batch[1]
    losses = [
        GuidedAdversarial(epsilon=0.1, weight=20.0, guide_every=every)(model, images, labels) for every in (1, 10**9)
    ]
    assert losses[0] > losses[1]


# --- N-FGSM


def test_nfgsm_on_a_linear_model():
    model, images, labels, rise = linear()
    found = NFGSM(epsilon=0.1, k=1.5, seed=4)(model, images, labels)
    noise = 0.15 * (2 * random_uniform(images, seed=4) - 1)
    torch.testing.assert_close(found, images + noise + 0.1 * rise.sign().view_as(images), rtol=0, atol=1e-12)


def test_nfgsm_leaves_the_ball_by_its_noise_but_stays_an_image(perceptron, digits):
    images = digits.images[:50]
    found = NFGSM(epsilon=0.6)(perceptron, images, digits.labels[:50])  # noise of up to 1.2: more than a pixel's range
    assert found.min() >= 0
    assert found.max() <= 1
    change = (NFGSM(epsilon=0.1)(perceptron, images, digits.labels[:50]) - images).abs().max()
    assert 0.15 < change <= 0.3 + 1e-6


def test_without_noise_nfgsm_is_fgsm(perceptron, digits):
    batch = perceptron, digits.images[:50], digits.labels[:50]
    assert torch.equal(NFGSM(epsilon=0.1, k=0.0)(*batch), FGSM(epsilon=0.1)(*batch))
