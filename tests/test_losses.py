"""The losses against their definitions, and how each behaves where float32 and float64 end."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from unmask.losses import cross_entropy, dlr, log_odds, margin, targeted_dlr


def towards_the_next(logits, labels):
    """The targeted loss, each example's target being the class after its own."""
    return targeted_dlr(logits, labels, targets=(labels + 1) % logits.shape[1])


LOSSES = [cross_entropy, log_odds, margin, dlr, towards_the_next]


@st.composite
def batches(draw, scales=(0.1, 1.0, 10.0)):
    """Logits (N, K) in float64 without ties, and labels (N,)."""
    count, classes, scale = draw(st.integers(1, 5)), draw(st.integers(4, 8)), draw(st.sampled_from(scales))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    logits = scale * torch.randn(count, classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(classes, (count,), generator=generator)


def gradient(loss, logits, labels):
    logits = logits.clone().requires_grad_()
    return torch.autograd.grad(loss(logits, labels).sum(), logits)[0]


def leading_by(lead, dtype, classes=2):
    """One example whose true class 0 leads each other one by ``lead``."""
    logits = torch.zeros(1, classes, dtype=dtype)
    logits[0, 0] = lead
    return logits, torch.tensor([0])


@settings(max_examples=50, deadline=None)
@given(batches())
def test_definitions(batch):
    logits, labels = batch
    for row, (z, y) in enumerate(zip(logits.tolist(), labels.tolist(), strict=True)):
        others = [value for k, value in enumerate(z) if k != y]
        ranked = sorted(z, reverse=True)
        expected = {
            cross_entropy: math.log(sum(math.exp(value - z[y]) for value in z)),
            log_odds: math.log(sum(math.exp(value - z[y]) for value in others)),
            margin: max(others) - z[y],
            dlr: (max(others) - z[y]) / (ranked[0] - ranked[2]),
            towards_the_next: (z[(y + 1) % len(z)] - z[y]) / (ranked[0] - (ranked[2] + ranked[3]) / 2),
        }
        for loss, value in expected.items():
            assert loss(logits, labels)[row].item() == pytest.approx(value, rel=1e-9, abs=1e-9), loss


@pytest.mark.parametrize("loss", LOSSES)
@settings(max_examples=20, deadline=None)
@given(batch=batches())
def test_an_examples_loss_does_not_depend_on_the_batch(loss, batch):
    """No mean over the batch, in the loss or in its gradient."""
    logits, labels = batch
    assert loss(logits, labels).shape == labels.shape
    alone = [(z[None], y[None]) for z, y in zip(logits, labels, strict=True)]
    torch.testing.assert_close(loss(logits, labels), torch.cat([loss(*one) for one in alone]))
    torch.testing.assert_close(gradient(loss, logits, labels), torch.cat([gradient(loss, *one) for one in alone]))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_is_kept(loss, dtype):
    logits, labels = leading_by(1.0, dtype, classes=4)
    logits[0, 1] = 0.5
    assert loss(logits, labels).dtype == dtype


@pytest.mark.parametrize("loss", LOSSES)
@settings(max_examples=20, deadline=None)
@given(batch=batches())
def test_gradients_agree_with_finite_differences(loss, batch):
    logits, labels = batch
    assert torch.autograd.gradcheck(lambda z: loss(z, labels), logits.requires_grad_(), eps=1e-7, atol=1e-4)


@settings(max_examples=50, deadline=None)
@given(batches())
def test_cross_entropy_is_the_softplus_of_the_log_odds(batch):
    logits, labels = batch
    torch.testing.assert_close(functional.softplus(log_odds(logits, labels)), cross_entropy(logits, labels))


@settings(max_examples=50, deadline=None)
@given(batches(scales=(0.1, 1.0, 3.0)))
def test_log_odds_points_the_way_of_cross_entropy(batch):
    """The chain rule of softplus: one gradient is sigmoid(log-odds) times the other."""
    logits, labels = batch
    ours, usual = gradient(log_odds, logits, labels), gradient(cross_entropy, logits, labels)
    assert torch.equal(ours.sign(), usual.sign())
    torch.testing.assert_close(usual, torch.sigmoid(log_odds(logits, labels))[:, None] * ours)


@pytest.mark.parametrize(
    ("dtype", "threshold"),
    [(torch.float32, 16.6), (torch.float64, 36.7)],
    ids=["float32", "float64"],
)
def test_where_cross_entropy_forgets_the_true_class(dtype, threshold):
    """From a lead of ln 2^24 (ln 2^53) nats on, softmax of the true class rounds to 1."""
    below = gradient(cross_entropy, *leading_by(threshold - 0.2, dtype))
    above = gradient(cross_entropy, *leading_by(threshold + 0.2, dtype))
    assert below[0, 0] < 0
    assert above[0, 0] == 0
    assert above[0, 1] > 0


def test_where_cross_entropy_has_no_gradient_left():
    """Past 103.97 nats the other class's softmax is below half of float32's smallest number, 2^-149."""
    assert gradient(cross_entropy, *leading_by(103.8, torch.float32)).any()
    assert not gradient(cross_entropy, *leading_by(104.2, torch.float32)).any()
    assert gradient(cross_entropy, *leading_by(104.2, torch.float64))[0, 1] > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("lead", [-1e30, -50.0, 0.0, 16.7, 104.2, 1e4, 1e30])
def test_log_odds_never_saturates(dtype, lead):
    logits, labels = leading_by(lead, dtype, classes=5)
    slope = gradient(log_odds, logits, labels)[0]
    assert slope[0] == -1
    torch.testing.assert_close(slope[1:], torch.full((4,), 0.25, dtype=dtype))
    torch.testing.assert_close(log_odds(logits, labels), torch.tensor([math.log(4) - lead], dtype=dtype))


@settings(max_examples=50, deadline=None)
@given(batches(), st.floats(0.01, 100), st.floats(-50, 50))
def test_dlr_ignores_scale_and_offset(batch, scale, offset):
    logits, labels = batch
    for loss in (dlr, towards_the_next):
        torch.testing.assert_close(loss(scale * logits + offset, labels), loss(logits, labels), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("loss", [dlr, towards_the_next])
def test_dlr_of_equal_logits_is_finite(loss):
    labels = torch.tensor([0])
    assert loss(torch.ones(1, 4), labels) == 0
    assert gradient(loss, torch.ones(1, 4), labels).isfinite().all()


@settings(max_examples=50, deadline=None)
@given(batches())
def test_the_sign_of_margin_and_dlr_is_the_decision(batch):
    logits, labels = batch
    wrong = logits.argmax(1) != labels
    assert torch.equal(margin(logits, labels) > 0, wrong)
    assert torch.equal(dlr(logits, labels) > 0, wrong)


@pytest.mark.parametrize(
    ("loss", "classes", "message"),
    [
        (log_odds, 1, "^logits: expected at least 2 classes, got 1"),
        (margin, 1, "^logits: expected at least 2 classes, got 1"),
        (dlr, 2, "^dlr: expected at least 3 classes, got 2; use margin or log_odds"),
        (towards_the_next, 3, "^targeted_dlr: expected at least 4 classes, got 3; use margin or log_odds"),
    ],
)
def test_too_few_classes_are_refused(loss, classes, message):
    with pytest.raises(ValueError, match=message):
        loss(torch.zeros(1, classes), torch.tensor([0]))
