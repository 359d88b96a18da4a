"""The gradient with respect to the images."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from unmask.gradients import directional_derivatives, input_gradient, recordable
from unmask.losses import cross_entropy, log_odds
from unmask.models import build
from unmask.models.masked import InputNoise, Quantised, ZeroBackward
from unmask.numerics import random_signs

LABELS = torch.tensor([0, 1, 2])


def images_for(count, dtype=torch.float32):
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=dtype)


@pytest.mark.parametrize("loss", [cross_entropy, log_odds])
def test_it_is_the_gradient(loss):
    model, images = build("mlp", inputs=(1, 8, 8), classes=4, widths=(16,)).double(), images_for(3, torch.float64)
    at = input_gradient(model, images, LABELS, loss=loss)
    direction = torch.randn(images.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ahead, behind = (loss(model(images + side * 1e-6 * direction), LABELS) for side in (1, -1))
    slope = (at.gradient * direction).flatten(1).sum(1)
    torch.testing.assert_close(slope, (ahead - behind) / 2e-6, rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(at.logits, model(images))
    torch.testing.assert_close(at.loss, loss(model(images), LABELS))


def test_an_examples_gradient_does_not_depend_on_how_many_there_are():
    """At a lead of 100 nats it is about 1e-43: a mean over the batch would round it to zero."""
    images = torch.zeros(1000, 1, 1, 2)
    images[..., 0] = 1
    labels = torch.zeros(1000, dtype=torch.int64)
    together = input_gradient(lambda x: 100 * x.flatten(1), images, labels, loss=cross_entropy).gradient
    alone = input_gradient(lambda x: 100 * x.flatten(1), images[:1], labels[:1], loss=cross_entropy).gradient
    assert alone.any()
    assert torch.equal(together, alone.expand_as(together))


def test_the_layout_changes_nothing_but_rounding():
    model, images = build("lenet+", inputs=(1, 8, 8), classes=4, width=4), images_for(3)
    usual, last = (
        input_gradient(model, images, LABELS, layout=layout) for layout in (torch.preserve_format, torch.channels_last)
    )
    torch.testing.assert_close(last.gradient, usual.gradient)
    torch.testing.assert_close(last.logits, usual.logits)


def test_parameters_and_images_get_no_gradient_and_results_no_history():
    model, images = nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), images_for(3).requires_grad_()
    at = input_gradient(model, images, LABELS)
    assert images.grad is None
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(one.requires_grad for one in at)


def test_where_no_path_leads_to_the_loss_the_gradient_is_zero():
    weight = torch.ones(4, requires_grad=True)
    for model in (lambda x: x.detach().flatten(1), lambda x: weight.expand(len(x), -1)):
        at = input_gradient(model, images_for(3), LABELS)
        assert torch.equal(at.gradient, torch.zeros(3, 1, 8, 8))
        assert at.logits.shape[0] == 3


def test_only_what_cannot_be_recorded_is_copied():
    usual = torch.zeros(2, requires_grad=True)
    assert recordable(usual).data_ptr() == usual.data_ptr()
    assert not recordable(usual).requires_grad
    with torch.inference_mode():
        made = torch.ones(2)
    assert not recordable(made).is_inference()
    assert torch.equal(recordable(made), made)


def towards(images, count=3):
    """Random signs for each image, and the count of them."""
    return torch.stack([random_signs(images, seed=seed) for seed in range(count)])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), step=st.floats(1e-4, 1), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_on_a_linear_model_of_two_classes_slopes_are_exact_also_at_the_range_of_pixels(seed, step, dtype):
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(2, 64, generator=generator, dtype=torch.float64)
    images = (1.5 * torch.rand(3, 1, 8, 8, generator=generator, dtype=torch.float64) - 0.25).clamp(0, 1).to(dtype)
    model, labels, directions = lambda x: x.flatten(1).double() @ weights.T, LABELS % 2, towards(images)
    slopes = directional_derivatives(model, images, labels, directions, step=step)
    ends = [(images + side * step * directions).clamp(0, 1).double().flatten(2) for side in (1, -1)]
    rise = torch.stack([weights[1 - y] - weights[y] for y in labels])
    expected = ((ends[0] - ends[1]) * rise).sum(2) / (2 * step)
    torch.testing.assert_close(slopes.measured, expected, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(slopes.promised, expected, rtol=1e-5, atol=1e-5)


def test_slopes_of_a_network_agree_and_along_the_gradients_sign_they_are_its_sum(perceptron, held_out):
    images, labels = held_out.images[:20], held_out.labels[:20]
    gradient = input_gradient(perceptron, images, labels).gradient
    slopes = directional_derivatives(perceptron, images, labels, gradient.sign()[None])
    assert slopes.measured.shape == (1, 20)
    inside = (0.25 * images + 0.5, labels)
    gradient = input_gradient(perceptron, *inside).gradient
    slopes = directional_derivatives(perceptron, *inside, gradient.sign()[None])
    torch.testing.assert_close(slopes.promised[0], gradient.double().abs().flatten(1).sum(1), rtol=1e-3, atol=0)
    torch.testing.assert_close(slopes.measured, slopes.promised, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("hide", [ZeroBackward, lambda model: Quantised(model, 16)], ids=["zero", "rounding"])
def test_slopes_tell_a_gradient_that_is_missing(perceptron, held_out, hide):
    images, labels = held_out.images[:20], held_out.labels[:20]
    slopes = directional_derivatives(hide(perceptron), images, labels, towards(images), step=0.1)
    assert not slopes.promised.any()
    assert (slopes.measured.abs() > 0.1).double().mean() > 0.8


def test_a_saturated_loss_promises_half_of_its_rise():
    """The true class's part of the gradient has rounded away, 30 nats ahead; the rival's is still there."""
    images = torch.full((1, 1, 1, 2), 0.5)
    images[..., 0] = 0.6
    direction = torch.tensor([-1.0, 1.0]).view(1, 1, 1, 1, 2)
    model = lambda x: 300 * x.flatten(1)  # noqa: E731
    slopes = directional_derivatives(model, images, torch.tensor([0]), direction, loss=cross_entropy)
    torch.testing.assert_close(2 * slopes.promised, slopes.measured, rtol=0.1, atol=0)


def test_all_passes_draw_the_same_noise_and_leave_no_trace(perceptron, held_out):
    model, images, labels = InputNoise(perceptron, 0.3), held_out.images[:10], held_out.labels[:10]
    model.train()
    before = torch.get_rng_state()
    slopes = directional_derivatives(model, images, labels, towards(images))
    torch.testing.assert_close(slopes.measured, slopes.promised, rtol=0.05, atol=0.3)
    assert model.training
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"step": 0}, r"^step: expected a number above 0 and up to 1, got 0"),
        ({"directions": torch.ones(3, 1, 8, 8)}, r"^directions: expected \(D, N, C, H, W\), .* got \(3, 1, 8, 8\)"),
    ],
)
def test_impossible_slopes_are_refused(changed, message):
    images = images_for(3)
    given = {"directions": torch.ones(1, 3, 1, 8, 8)} | changed
    with pytest.raises(ValueError, match=message):
        directional_derivatives(lambda x: x.flatten(1), images, LABELS, **given)
