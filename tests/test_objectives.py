"""The objectives' contract, held by every objective; then what each one's formula comes to, and what it costs."""

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
from torch.utils.flop_counter import FlopCounterMode

from unmask.attacks import FGSM, PGD, RFGSM, RSFGSM, Through
from unmask.cli.train import OBJECTIVES, OPTIMIZERS
from unmask.losses import cross_entropy, log_odds
from unmask.models import build
from unmask.models.masked import ScaledLogits
from unmask.numerics import derive_seed, random_signs, random_uniform
from unmask.threats import Linf
from unmask.training import Trainer
from unmask.training.objectives import (
    NFGSM,
    PRESETS,
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
    at_step,
    soft_labels,
)
from unmask.training.optimizers import OPTIMIZERS as KNOWN_OPTIMIZERS


def brightest(images):
    """A source for images of any size: it names a pixel."""
    return images.flatten(1)


def darkest(images):
    return -images.flatten(1)


def teacher(images):
    """Sure of one of ten classes."""
    return 40 * images.flatten(1)[:, :10]


EPSILON = 0.1
DETERMINISTIC = {
    "normal": Normal(),
    "fgsm": Adversarial(attack=FGSM(epsilon=EPSILON)),
    "fgsm+clean": Adversarial(attack=FGSM(epsilon=EPSILON), clean_weight=0.5),
    "tempered": Tempered(temperature=20.0),
    "distilled": Distilled(teacher=teacher, temperature=20.0),
}
NOISY = {
    "rfgsm": Adversarial(attack=RFGSM(epsilon=EPSILON)),
    "rfgsm+clean": Adversarial(attack=RFGSM(epsilon=EPSILON), clean_weight=0.5),
    "rfgsm+fgsm": Mixture(attacks=(RFGSM(epsilon=EPSILON), FGSM(epsilon=EPSILON))),
    "pgd": Adversarial(attack=PGD(epsilon=EPSILON, steps=3)),
    "pgd+clean": Adversarial(attack=PGD(epsilon=EPSILON, steps=3, keep="last"), clean_weight=0.25),
    "ensemble": Ensemble(attack=RFGSM(epsilon=EPSILON), sources=(brightest, darkest)),
    "ensemble-no-clean": Ensemble(attack=RFGSM(epsilon=EPSILON), sources=(brightest,), clean_weight=0.0),
    "logit-distance": LogitDistance(epsilon=EPSILON),
    "logit-distance-remaining": LogitDistance(epsilon=EPSILON, step_from_offset="remaining"),
    "logit-distance-unweighted": LogitDistance(epsilon=EPSILON, weight=0.0),
    "step-distance": StepDistance(epsilon=EPSILON),
    "rs-fgsm": Adversarial(attack=RSFGSM(epsilon=EPSILON)),
    "n-fgsm": Adversarial(attack=NFGSM(epsilon=EPSILON)),
    "gradalign": GradAlign(epsilon=EPSILON),
    "gat": GuidedAdversarial(epsilon=EPSILON),
    "augmented": Augmented(objective=Adversarial(attack=FGSM(epsilon=EPSILON)), padding=2),
    "gat-every-other": GuidedAdversarial(epsilon=EPSILON, alpha=EPSILON, guide_every=2),
}
every_objective = pytest.mark.parametrize("objective", (DETERMINISTIC | NOISY).values(), ids=DETERMINISTIC | NOISY)

TWO_PASSES = (StepDistance, GradAlign, GuidedAdversarial)
"""Those whose batches do not share one pass."""


class Watched(nn.Module):
    """A network with batch norm and dropout, which keeps the images that it gets in training mode."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layers = nn.Sequential(
                nn.Flatten(), nn.Linear(36, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 10)
            )
        self.seen, self.attacked = [], 0

    def forward(self, images):
        if self.training:
            self.seen.append(images)
        self.attacked += not self.training
        return self.layers(images)


@pytest.fixture
def model():
    return Watched()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(12, 1, 6, 6, generator=generator), torch.randint(4, (12,), generator=generator)


# --- the contracts


def expected(objective, model, seen, labels):
    """The loss by its formula, from passes over the images that were seen."""
    if isinstance(objective, GradAlign):
        points = seen[0].requires_grad_()
        climbed = objective.loss(model(points), labels.repeat(2)).sum()
        at_image, at_noisy = torch.autograd.grad(climbed, points, create_graph=True)[0].flatten(1).chunk(2)
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
        return functional.cross_entropy(logits / 20, labels)
    if isinstance(objective, Distilled):
        soft = (teacher(seen[0]) / 20).softmax(1)
        return -(soft * (logits / 20).log_softmax(1)).sum(1).mean()
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
    """How far from the given images it may train."""
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


@every_objective
def test_it_is_finite_on_a_saturated_model(objective, perceptron, digits):
    model = ScaledLogits(perceptron, 300.0)
    loss = objective(model, digits.images[:50], digits.labels[:50])
    assert loss.isfinite()
    assert all(one.isfinite().all() for one in torch.autograd.grad(loss, list(perceptron.parameters())))


@pytest.mark.parametrize("name", [name for name in DETERMINISTIC | NOISY if name != "gradalign"])  # whose loss has it
def test_a_gradient_that_is_no_number_leaves_its_image_where_it_is(name):
    def by_length(images):
        return (images / images.square().sum((1, 2, 3), keepdim=True).sqrt().add(1e-6)).flatten(1)

    black = torch.zeros(2, 1, 2, 5)
    assert (DETERMINISTIC | NOISY)[name](by_length, black, torch.tensor([0, 1])).isfinite()


@pytest.mark.parametrize("name", DETERMINISTIC | NOISY)
def test_the_noise_is_that_of_the_step(name, batch):
    losses, seen = [], []
    for step in (7, 7, 8):
        model = Watched()  # as the objective has not changed it yet: batch norm keeps count
        torch.manual_seed(0)
        losses.append((DETERMINISTIC | NOISY)[name](model, *batch, step=step))
        seen.append(torch.cat(model.seen))
    assert torch.equal(losses[0], losses[1])
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0], seen[2]) == (name in DETERMINISTIC)


@every_objective
def test_it_leaves_no_trace_but_that_of_its_passes(objective, model, batch):
    frozen = model.layers[4].eval()
    torch.manual_seed(2)
    objective(model, *batch)
    after = torch.get_rng_state()
    assert [part for part in model.modules() if not part.training] == [frozen]
    assert all(one.grad is None for one in model.parameters())
    torch.manual_seed(2)
    for seen in list(model.seen):
        model(seen)
    assert torch.equal(torch.get_rng_state(), after)


@every_objective
def test_it_can_be_measured_where_gradients_are_switched_off(objective, batch):
    losses = []
    for mode in (torch.enable_grad, torch.no_grad):
        torch.manual_seed(0)
        with mode():
            losses.append(objective(Watched(), *batch))
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "normal"])
def test_images_outside_0_to_1_are_refused_by_whatever_moves_them(name, model, batch):
    images, labels = batch
    with pytest.raises(ValueError, match=r"images: expected pixels in \[0, 1\], got .*; put normalisation inside"):
        PRESETS[name](0.1)(model, 4 * images - 2, labels)


def test_the_noise_of_an_attack_within_another_is_that_of_the_step_too():
    attack = Through(attack=PGD(epsilon=0.1, seed=5), stand_in=nn.Flatten())
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


# --- what each formula comes to


def linear():
    """Two classes, 9 pixels, float64; the images are so far from 0 and 1 that no pixel is cut."""
    generator = torch.Generator().manual_seed(3)
    images = 0.3 + 0.4 * torch.rand(20, 1, 3, 3, generator=generator, dtype=torch.float64)
    labels = torch.randint(2, (20,), generator=generator)
    weight = torch.randn(2, 9, generator=generator, dtype=torch.float64)
    model = Watched()
    model.layers = nn.Sequential(nn.Flatten(), nn.Linear(9, 2, bias=False).double())
    model.layers[1].weight.data = weight
    return model, images, labels, weight[1 - labels] - weight[labels]


def smooth():
    """A network in float64 without noise of its own, in training mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.Tanh(), nn.Linear(16, 4)).double()


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
    """Where no unit is active, the two gradients are 0 and have no angle."""
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
    climbed = functional.cross_entropy(model(start), labels, reduction="none") + 20 * guided * distance
    (gradient,) = torch.autograd.grad(climbed.sum(), start)
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


# --- the ensemble


def sequence(steps, *, seed=0):
    """Who is attacked in each step: one of two sources, or the model in training."""
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
        r"Ensemble\(attack=FGSM\(epsilon=0\.1, loss=<function log_odds>\), "
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


# --- what an update costs

COSTS = {  # forward, gradient in the images, gradient in the weights: one unit each
    "normal": 3,
    "fgsm": 5,
    "fgsm+clean": 8,
    "rfgsm": 5,
    "rfgsm+clean": 8,
    "rfgsm+fgsm": 10,
    "pgd": 83,
    "logit-distance": 10,
    "lambda0": 10,
    "step-distance": 7,
    "rs-fgsm": 5,
    "n-fgsm": 5,
    "gradalign": 17,
    "gat": 8,
    "ensemble": 8,
}


@pytest.mark.parametrize(("name", "cost"), (COSTS | {"tempered": 3, "distilled": 4}).items())
def test_an_update_costs_what_is_said(name, cost):
    """Counted by the products of a network of equal layers; the first of them asks for its input's gradient too."""
    batch, width, layers = 16, 8, 3
    scale = torch.ones(width, requires_grad=True)
    weights = [torch.eye(width).add(0.1).requires_grad_() for _ in range(layers)]

    def model(images):
        hidden = images.flatten(1) * scale
        for weight in weights:
            hidden = torch.tanh(hidden @ weight)
        return hidden

    presets = PRESETS | {
        "ensemble": lambda epsilon: Ensemble(attack=FGSM(epsilon=epsilon), sources=(model,)),
        "tempered": lambda epsilon: Tempered(),
        "distilled": lambda epsilon: Distilled(teacher=model),
    }
    images = torch.rand(batch, 1, 2, width // 2, generator=torch.Generator().manual_seed(0))
    with FlopCounterMode(display=False) as counter:
        presets[name](0.1)(model, images, torch.arange(batch) % width).backward()
    assert counter.get_total_flops() == cost * layers * 2 * batch * width * width


# --- names and settings


def test_the_command_line_knows_every_name():
    assert (*PRESETS, "ensemble") == OBJECTIVES
    assert set(COSTS) == set(OBJECTIVES)
    assert tuple(KNOWN_OPTIMIZERS) == OPTIMIZERS


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_trains_against_the_epsilon_it_is_given(name):
    assert set(re.findall(r"epsilon=([\d.]+)", repr(PRESETS[name](0.25)))) == (set() if name == "normal" else {"0.25"})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Adversarial(attack=FGSM(epsilon=0.1), clean_weight=1), "clean_weight: .* from 0 to below 1, got 1"),
        (lambda: Adversarial(attack=FGSM(epsilon=0.1), clean_weight=-0.1), "clean_weight: expected .* got -0.1"),
        (lambda: Tempered(temperature=0), "temperature: expected a number above 0, got 0"),
        (lambda: Distilled(teacher=teacher, temperature=-1), "temperature: expected a number above 0, got -1"),
        (lambda: Mixture(attacks=()), "attacks: expected at least one, got none"),
        (lambda: Ensemble(attack=FGSM(epsilon=0.1), sources=()), "sources: expected at least one .*, got none"),
        (
            lambda: Ensemble(attack=FGSM(epsilon=0.1), sources=(brightest,), clean_weight=1),
            "clean_weight: .* from 0 to below 1, got 1",
        ),
        *[
            (lambda kind=kind: kind(epsilon=8), r"epsilon: expected a number in \[0, 1\], got 8")
            for kind in (LogitDistance, StepDistance, NFGSM, GradAlign, GuidedAdversarial)
        ],
        (lambda: LogitDistance(epsilon=0.1, weight=-1), "weight: expected a finite number from 0 up, got -1"),
        (lambda: LogitDistance(epsilon=0.1, weight=math.nan), "weight: expected a finite number from 0 up, got nan"),
        (lambda: LogitDistance(epsilon=0.1, alpha=0.2), r"alpha: expected .* from 0 to epsilon \(0.1\), got 0.2"),
        (
            lambda: LogitDistance(epsilon=0.1, step_from_offset="half"),
            "step_from_offset: expected 'full' or 'remaining', got 'half'",
        ),
        (lambda: StepDistance(epsilon=0.1, weight=-1), "weight: expected a finite number from 0 up, got -1"),
        (lambda: StepDistance(epsilon=0.1, alpha=2), r"alpha: expected a number in \[0, 1\], got 2"),
        (lambda: NFGSM(epsilon=0.1, k=-1), "k: expected a number from 0 up, got -1"),
        (lambda: GradAlign(epsilon=0.1, weight=-1), "weight: expected a finite number from 0 up, got -1"),
        (lambda: GuidedAdversarial(epsilon=0.1, weight=math.inf), "weight: expected a finite number .*, got inf"),
        (lambda: GuidedAdversarial(epsilon=0.1, guide_every=0), "guide_every: expected .* from 1 up, got 0"),
        (lambda: GuidedAdversarial(epsilon=0.1, alpha=-1), r"alpha: expected a number in \[0, 1\], got -1"),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


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
