"""Attacks on models whose gradients are missing, zero or NaN."""

from __future__ import annotations

import pytest
import torch
from attack_cases import CASES, CLASSES, DTYPES, EPSILON, images_for, make, shown, two_classes
from torch import nn

from unmask.attacks import FGSM, FRSM, IFGSM, MIFGSM, PGD, RFGSM, DeepFool, predict
from unmask.losses import cross_entropy, log_odds
from unmask.models.masked import Quantised, ScaledLogits


class NotANumber(nn.Module):
    """The wrapped model's logits, with a NaN gradient in the left half of each image."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        broken = (0 * images[..., :3]).sqrt()  # 0, with slope 0 times infinity
        return self.model(images + torch.cat([broken, torch.zeros_like(broken)], dim=-1))


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize(
    "attack",
    [
        FGSM(EPSILON),
        RFGSM(EPSILON, alpha=0.0),
        IFGSM(EPSILON, steps=4),
        MIFGSM(EPSILON, steps=4),
        PGD(EPSILON, steps=4, start="clean"),
        PGD(EPSILON, steps=4, start="clean", keep="last", restarts=2),
    ],
    ids=shown,
)
def test_pixels_with_a_nan_gradient_stay(attack, dtype):
    model, images = NotANumber(make("plain", dtype)), images_for(5).to(dtype)
    found = attack(model, images, torch.zeros(5, dtype=torch.int64))
    assert torch.equal(found[..., :3], images[..., :3])
    assert ((found != images)[..., 3:].flatten(1).sum(1) > 9).all()


@pytest.mark.parametrize("attack", CASES.values(), ids=CASES)
def test_a_nan_gradient_gives_no_nan_pixel(attack):
    found = attack(NotANumber(make("plain")), images_for(5), torch.zeros(5, dtype=torch.int64))
    assert not found.isnan().any()


WITHOUT_GRADIENT = {
    "detached": lambda model: lambda images: model(images.detach()),
    "no graph at all": lambda model: lambda images: model(images.detach()).detach(),
    "rounding": lambda model: Quantised(model, levels=8),
    "constant": lambda model: lambda images: torch.ones(len(images), CLASSES),
    "constant parameter": lambda model: lambda images: model[1].bias[:CLASSES].expand(len(images), -1),
}


@pytest.mark.parametrize("kind", WITHOUT_GRADIENT)
@pytest.mark.parametrize("attack", CASES.values(), ids=CASES)
def test_a_model_without_gradient_is_one_with_gradient_zero(attack, kind):
    model, images = WITHOUT_GRADIENT[kind](make("plain")), images_for(5)
    labels = predict(model, images)
    found = attack(model, images, labels)
    if isinstance(attack, FGSM | IFGSM | MIFGSM | DeepFool):
        assert torch.equal(found, images)
    elif isinstance(attack, RFGSM):
        assert torch.equal(found, FRSM(EPSILON / 2)(model, images, labels))
    else:
        assert (found - images).abs().max() <= EPSILON + 1e-6


@pytest.mark.parametrize("attack", [FGSM, IFGSM, MIFGSM, PGD])
def test_log_odds_reaches_the_optimum_where_cross_entropy_has_no_gradient(attack):
    """With a lead of more than 104 nats, float32 cross entropy leaves nothing of the gradient."""
    linear, direction = two_classes(0, shift=1.0)
    images = 0.4 + 0.2 * images_for(3)
    sure = ScaledLogits(lambda x: linear(x.double()).float(), 1e4)
    labels = predict(sure, images)
    options = {"start": "clean"} if attack is PGD else {}
    blind = attack(EPSILON, loss=cross_entropy, **options)(sure, images, labels)
    assert torch.equal(blind, images)
    best = (images + EPSILON * (1 - 2 * labels.view(-1, 1, 1, 1)) * direction.sign()).float()
    torch.testing.assert_close(attack(EPSILON, loss=log_odds, **options)(sure, images, labels), best)
