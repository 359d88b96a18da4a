"""The objectives' contract, held by every objective; then what the regularizer's formula comes to."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from unmask.attacks import FGSM, PGD, RFGSM
from unmask.cli.train import OBJECTIVES, OPTIMIZERS
from unmask.models.masked import ScaledLogits
from unmask.objectives import PRESETS, Adversarial, LogitDistance, Normal
from unmask.optim import OPTIMIZERS as KNOWN_OPTIMIZERS

EPSILON = 0.1
DETERMINISTIC = {
    "normal": Normal(),
    "fgsm": Adversarial(attack=FGSM(epsilon=EPSILON)),
    "fgsm+clean": Adversarial(attack=FGSM(epsilon=EPSILON), clean_weight=0.5),
}
NOISY = {
    "rfgsm": Adversarial(attack=RFGSM(epsilon=EPSILON)),
    "rfgsm+clean": Adversarial(attack=RFGSM(epsilon=EPSILON), clean_weight=0.5),
    "pgd": Adversarial(attack=PGD(epsilon=EPSILON, steps=3)),
    "pgd+clean": Adversarial(attack=PGD(epsilon=EPSILON, steps=3, keep="last"), clean_weight=0.25),
    "logit-distance": LogitDistance(epsilon=EPSILON),
    "logit-distance-remaining": LogitDistance(epsilon=EPSILON, step_from_offset="remaining"),
    "logit-distance-unweighted": LogitDistance(epsilon=EPSILON, weight=0.0),
}
every_objective = pytest.mark.parametrize("objective", (DETERMINISTIC | NOISY).values(), ids=DETERMINISTIC | NOISY)


class Watched(nn.Module):
    """A network with batch norm and dropout, which keeps the images that it gets in training mode."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layers = nn.Sequential(
                nn.Flatten(), nn.Linear(36, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 4)
            )
        self.seen = []

    def forward(self, images):
        if self.training:
            self.seen.append(images)
        return self.layers(images)


@pytest.fixture
def model():
    return Watched()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(12, 1, 6, 6, generator=generator), torch.randint(4, (12,), generator=generator)


def expected(objective, logits, labels):
    """The loss by its formula, from the logits of the one pass."""
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
    (seen,) = model.seen  # one pass, whatever the parts of the loss
    assert not seen.requires_grad
    assert int(model.layers[2].num_batches_tracked) == 1
    torch.manual_seed(1)
    torch.testing.assert_close(loss, reference := expected(objective, model(seen.clone()), labels))
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    for found, wanted in zip(gradients, torch.autograd.grad(reference, list(model.parameters())), strict=True):
        torch.testing.assert_close(found, wanted)


@every_objective
def test_it_trains_on_images_near_the_given_ones(objective, model, batch):
    images, labels = batch
    objective(model, images, labels)
    (seen,) = model.seen
    reach = 0 if isinstance(objective, Normal) else EPSILON + (getattr(objective, "alpha", 0) or 0)
    for part in seen.split(len(images)):
        assert (part - images).abs().max() <= reach + 1e-6
        assert part.min() >= 0
        assert part.max() <= 1
    if getattr(objective, "clean_weight", 0):
        assert torch.equal(seen[len(images) :], images)


@every_objective
def test_it_is_finite_on_a_saturated_model(objective, perceptron, digits):
    model = ScaledLogits(perceptron, 300.0)
    loss = objective(model, digits.images[:50], digits.labels[:50])
    assert loss.isfinite()
    assert all(one.isfinite().all() for one in torch.autograd.grad(loss, list(perceptron.parameters())))


@pytest.mark.parametrize("name", DETERMINISTIC | NOISY)
def test_the_noise_is_that_of_the_step(name, batch):
    losses, seen = [], []
    for step in (7, 7, 8):
        model = Watched()  # as the objective has not changed it yet: batch norm keeps count
        torch.manual_seed(0)
        losses.append((DETERMINISTIC | NOISY)[name](model, *batch, step=step))
        seen += model.seen
    assert torch.equal(losses[0], losses[1])
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0], seen[2]) == (name in DETERMINISTIC)


@every_objective
def test_it_leaves_no_trace_but_that_of_its_one_pass(objective, model, batch):
    frozen = model.layers[4].eval()
    torch.manual_seed(2)
    objective(model, *batch)
    after = torch.get_rng_state()
    assert [part for part in model.modules() if not part.training] == [frozen]
    assert all(one.grad is None for one in model.parameters())
    torch.manual_seed(2)
    model(model.seen[0])
    assert torch.equal(torch.get_rng_state(), after)


def test_an_attack_is_any_function(model, batch):
    model.eval()
    unchanged = Adversarial(attack=lambda model, images, labels: images)
    assert torch.equal(unchanged(model, *batch), Normal()(model, *batch))


@pytest.mark.parametrize(("reading", "step"), [("full", 0.1), ("remaining", 0.07)])
def test_logit_distance_on_a_linear_model(reading, step):
    """Of two classes the direction is sign(w_other - w_y) everywhere; so is all that follows from it."""
    generator = torch.Generator().manual_seed(3)
    images = 0.3 + 0.4 * torch.rand(20, 1, 3, 3, generator=generator, dtype=torch.float64)  # no pixel is cut to [0, 1]
    labels = torch.randint(2, (20,), generator=generator)
    weight = torch.randn(2, 9, generator=generator, dtype=torch.float64)
    model = Watched()
    model.layers = nn.Sequential(nn.Flatten(), nn.Linear(9, 2, bias=False).double())
    model.layers[1].weight.data = weight
    loss = LogitDistance(epsilon=0.1, alpha=0.03, weight=2.0, step_from_offset=reading)(model, images, labels)

    x, rise = images.flatten(1), weight[1 - labels] - weight[labels]
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


def test_the_command_line_knows_every_name():
    assert tuple(PRESETS) == OBJECTIVES
    assert tuple(KNOWN_OPTIMIZERS) == OPTIMIZERS


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_trains_against_the_epsilon_it_is_given(name):
    objective = PRESETS[name](0.25)
    assert getattr(getattr(objective, "attack", objective), "epsilon", None) == (None if name == "normal" else 0.25)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Adversarial(attack=FGSM(epsilon=0.1), clean_weight=1), "clean_weight: .* from 0 to below 1, got 1"),
        (lambda: Adversarial(attack=FGSM(epsilon=0.1), clean_weight=-0.1), "clean_weight: expected .* got -0.1"),
        (lambda: LogitDistance(epsilon=8), r"epsilon: expected a number in \[0, 1\], got 8"),
        (lambda: LogitDistance(epsilon=0.1, weight=-1), r"weight and alpha: expected .*, got -1 and 0.01"),
        (lambda: LogitDistance(epsilon=0.1, alpha=2), r"weight and alpha: expected .*, got 5.0 and 2"),
        (
            lambda: LogitDistance(epsilon=0.1, step_from_offset="half"),
            "step_from_offset: expected 'full' or 'remaining', got 'half'",
        ),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
