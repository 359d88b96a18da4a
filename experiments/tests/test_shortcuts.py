"""Shortcuts: the same network for less work, to the last bit or up to rounding."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn

from unmask.models import build
from unmask_experiments.shortcuts import fold_grey, pool_first

MNIST, CIFAR = (1, 28, 28), (3, 32, 32)


def small(name, inputs, width=4):
    options = {"widths": (16, 8)} if name == "mlp" else {"width": width}
    return build(name, inputs=inputs, classes=10, seed=0, **options).eval()


def images_for(inputs):
    return torch.rand(3, *inputs, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("name", "inputs"), [("lenet+", MNIST), ("vgg-11", CIFAR)])
def test_pooling_first_changes_no_bit(name, inputs, layout):
    model = small(name, inputs).to(memory_format=layout)
    images = images_for(inputs).contiguous(memory_format=layout)
    found = [gradients(one, images) for one in (model, pool_first(model))]
    assert [type(layer) for layer in pool_first(model)] != [type(layer) for layer in model]
    assert all(torch.equal(before, after) for before, after in zip(*found, strict=True))
    assert pool_first(model).state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize("name", ["lenet-c", "resnet-18", "mlp"])
def test_networks_without_relu_before_a_pool_stay_as_they_are(name):
    model = small(name, CIFAR)
    assert list(pool_first(model)) == list(model)


def gradients(model: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    """The logits, and the gradients of one loss in the images and in every parameter."""
    images = images.detach().requires_grad_()
    logits = model(images)
    return [logits, *torch.autograd.grad(logits.logsumexp(1).sum(), [images, *model.parameters()])]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["lenet+", "lenet-a", "lenet-b-strided", "lenet-c"])
def test_folding_changes_nothing_but_the_rounding_of_the_images_gradient(name, dtype, layout):
    model = small(name, MNIST, width=64).to(dtype).to(memory_format=layout)
    folded = fold_grey(model)
    assert [type(layer) for layer in folded] != [type(layer) for layer in model]
    images = images_for(MNIST).to(dtype).contiguous(memory_format=layout)
    before, after = gradients(model, images), gradients(folded, images)
    torch.testing.assert_close(after[1], before[1])
    assert all(
        torch.equal(one, other) for one, other in zip(before[:1] + before[2:], after[:1] + after[2:], strict=True)
    )
    assert folded.state_dict().keys() == model.state_dict().keys()
    assert all(mine is theirs for mine, theirs in zip(folded.parameters(), model.parameters(), strict=True))


@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 0, 1), (2, 1, 1), ((1, 2), (2, 0), (1, 2))])
def test_a_folded_layer_has_the_convolutions_first_and_second_derivatives(stride, padding, dilation):
    layer = nn.Conv2d(1, 6, (3, 2), stride=stride, padding=padding, dilation=dilation).double()
    folded = fold_grey(nn.Sequential(layer))
    images = torch.rand(2, 1, 7, 6, dtype=torch.float64, requires_grad=True)

    def logits(images, weight, bias):
        return torch.func.functional_call(folded, {"0.weight": weight, "0.bias": bias}, (images,))

    assert torch.equal(folded(images), layer(images))
    assert torch.autograd.gradcheck(logits, (images, layer.weight, layer.bias))
    assert torch.autograd.gradgradcheck(logits, (images, layer.weight, layer.bias))


def test_a_folded_layer_leaves_the_weights_gradient_alone_where_only_that_in_the_images_is_asked_for():
    folded = fold_grey(nn.Sequential(nn.Conv2d(1, 9, 3)))
    images = images_for(MNIST).requires_grad_()
    with torch.profiler.profile() as profile:
        torch.autograd.grad(folded(images).sum(), images)
    assert not [one.key for one in profile.key_averages() if "convolution_backward" in one.key]


def test_a_folded_layer_under_autocast_stays_in_float64_as_the_convolution_does():
    model = nn.Sequential(nn.Conv2d(1, 9, 3)).double()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        before, after = (gradients(one, images_for(MNIST).double()) for one in (model, fold_grey(model)))
    assert after[0].dtype == torch.float64
    torch.testing.assert_close(after, before)


@pytest.mark.parametrize("bias", [True, False])
def test_a_folded_layer_under_autocast_is_the_convolution_but_for_the_rounding_of_the_images_gradient(bias):
    model = nn.Sequential(nn.Conv2d(1, 9, 3, bias=bias))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        before, after = (gradients(one, images_for(MNIST)) for one in (model, fold_grey(model)))
    assert after[0].dtype == torch.bfloat16
    assert all(
        torch.equal(one, other) for one, other in zip(before[:1] + before[2:], after[:1] + after[2:], strict=True)
    )
    torch.testing.assert_close(after[1], before[1], rtol=0.02, atol=0.02 * float(before[1].abs().max()))


def test_a_folded_layer_under_autocast_sums_its_bfloat16_products_in_float32():
    layer = nn.Conv2d(1, 49, 7, bias=False)
    nn.init.ones_(layer.weight)
    images = torch.zeros(1, 1, 13, 13, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sent = fold_grey(nn.Sequential(layer))(images)
    # The pixel in the middle gets 49 x 49 ones: 2401, of which bfloat16 would lose some 40, added up one by one.
    (gradient,) = torch.autograd.grad(sent.sum(), images)
    assert float(gradient[0, 0, 6, 6]) == pytest.approx(49 * 49, rel=2**-8)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 27, 3),
        nn.Conv2d(1, 9, 3, padding="same"),
        nn.Conv2d(1, 9, 3, padding_mode="reflect"),
        nn.Conv2d(1, 8, 3),
    ],
)
def test_layers_that_fold_does_not_fit_stay_as_they_are(layer):
    assert list(fold_grey(nn.Sequential(layer))) == [layer]


@pytest.mark.parametrize("shortened", [pool_first, fold_grey])
@pytest.mark.parametrize("inplace", [False, True])
def test_a_shortened_network_keeps_its_names_its_mode_and_layers_that_work_in_place(shortened, inplace):
    layers = {"conv": nn.Conv2d(1, 9, 3), "relu": nn.ReLU(inplace=inplace), "pool": nn.MaxPool2d(2)}
    model = nn.Sequential(OrderedDict(layers, flat=nn.Flatten(), last=nn.LazyLinear(10))).eval()
    images = images_for(MNIST)
    before, after = gradients(model, images), gradients(shortened(model), images)
    assert [type(layer) for layer in shortened(model)] != [type(layer) for layer in model]
    assert all(torch.allclose(*pair, rtol=1e-5, atol=1e-7) for pair in zip(before, after, strict=True))
    assert shortened(model).state_dict().keys() == model.state_dict().keys()
    assert not shortened(model).training
    weight = model[0].weight
    shortened(model)[0].weight = nn.Parameter(torch.zeros_like(weight))
    assert shortened is pool_first or model[0].weight is weight


def test_a_pool_that_returns_where_its_maxima_are_stays_behind_relu():
    model = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2, return_indices=True))
    assert list(pool_first(model)) == list(model)


@pytest.mark.parametrize("shortened", [pool_first, fold_grey])
def test_a_network_that_is_no_sequence_is_returned_as_it_is(shortened):
    part = nn.Identity()
    assert shortened(part) is part
