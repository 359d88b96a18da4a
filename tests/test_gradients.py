"""The gradient with respect to the images."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unmask.gradients import input_gradient, recordable
from unmask.losses import cross_entropy, log_odds
from unmask.models import build

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
