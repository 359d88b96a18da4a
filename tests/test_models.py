"""The built-in networks: their tables, sizes, numbers of parameters, and errors."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from model_cases import CIFAR, DIGITS, MNIST, images_for, small
from unmask import models
from unmask.models import MODELS, build, initialise, lenet, mlp, resnet, vgg, widths_of

# The side of the smallest image that each network takes, worked out by hand from kernels, strides and padding.
SMALLEST = dict.fromkeys(MODELS, 1) | {
    "lenet+": 4,  # 4 -> 2 -> 1
    "lenet-a": 9,  # 9 -> 5 -> 1
    "lenet-b": 17,  # 17 -> 10 -> 5 -> 1
    "lenet-b-strided": 28,  # 28 -> 14 -> 5 -> 1
    "lenet-c": 10,  # 10 -> 8 -> 4 -> 2 -> 1
    "vgg-11": 32,  # five halvings
    "vgg-16": 32,
    "vgg-19": 32,
}


# --- shapes


@pytest.mark.parametrize(
    ("name", "widths"),
    [("lenet+", {"width": 20})] + [("mlp", {"widths": widths}) for widths in ((), (5,), (12, 11, 10, 9, 8, 7, 6))],
)
def test_the_widths_are_read_from_the_weights_in_whatever_order(name, widths):
    inputs = CIFAR if name.startswith(("resnet", "vgg")) else MNIST
    saved = build(name, inputs=inputs, classes=3, **widths).state_dict()
    assert widths_of(name, dict(sorted(saved.items())), inputs=inputs, classes=3) == widths


@pytest.mark.parametrize(("name", "other"), [("resnet-18", "resnet-34"), ("lenet+", "mlp"), ("linear", "mlp")])
def test_another_networks_weights_say_nothing_of_the_widths(name, other):
    assert widths_of(name, small(other, CIFAR).state_dict(), inputs=CIFAR, classes=10) == {}


@settings(max_examples=30, deadline=None)
@given(
    name=st.sampled_from(sorted(MODELS)),
    channels=st.integers(1, 3),
    extra=st.tuples(st.integers(0, 7), st.integers(0, 7)),
    classes=st.integers(2, 12),
    count=st.integers(1, 3),
)
def test_any_size_from_the_smallest_on_gives_finite_logits(name, channels, extra, classes, count):
    inputs = (channels, SMALLEST[name] + extra[0], SMALLEST[name] + extra[1])
    logits = small(name, inputs, classes)(images_for(inputs, count))
    assert logits.shape == (count, classes)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", [name for name in MODELS if SMALLEST[name] > 1])
@pytest.mark.parametrize("short", [1, 2])
def test_a_side_that_is_one_too_short_is_refused(name, short):
    inputs = [2, SMALLEST[name] + 5, SMALLEST[name] + 5]
    inputs[short] = SMALLEST[name] - 1
    with pytest.raises(ValueError, match=f"at least {SMALLEST[name]}x.*, got {inputs[1]}x{inputs[2]}$"):
        small(name, tuple(inputs))


def test_the_dry_run_leaves_batch_norm_statistics_alone():
    model = small("vgg-11", CIFAR)
    assert int(model.state_dict()["1.num_batches_tracked"]) == 0
    assert not model.state_dict()["1.running_mean"].any()


@pytest.mark.parametrize("name", ["resnet-18", "resnet-34"])
def test_the_resnet_stem_keeps_the_resolution(name):
    """Three halvings and no more: 32 -> 4. The ImageNet stem would leave 1."""
    model = small(name, CIFAR)
    assert model[:-3](images_for(CIFAR)).shape == (3, 8 * 4, 4, 4)


# --- parameters


def dense(before, after):
    return before * after + after


def conv(kernel, before, after, *, bias=True):
    return kernel * kernel * before * after + bias * after


def residual(width, stages, classes=10):
    total = conv(3, 3, width, bias=False) + 2 * width
    before = width
    for stage, blocks in enumerate(stages):
        after = width * 2**stage
        if stage:  # the projection in the stage's first block
            total += conv(1, before, after, bias=False) + 2 * after
        for block in range(blocks):
            total += conv(3, after if block else before, after, bias=False) + conv(3, after, after, bias=False)
            total += 2 * 2 * after
        before = after
    return total + dense(before, classes)


def plain(channels, classes=10):
    """VGG: convolutions with bias, batch norm's scale and shift, one linear layer."""
    pairs = zip([3, *channels], channels, strict=False)
    return sum(conv(3, before, after) + 2 * after for before, after in pairs) + dense(channels[-1], classes)


@pytest.mark.parametrize(
    ("name", "inputs", "formula", "known"),
    [
        ("mlp", MNIST, dense(784, 600) + dense(600, 128) + dense(128, 10), 549_218),
        ("linear", MNIST, dense(784, 10), 7_850),
        ("lenet+", MNIST, conv(5, 1, 32) + conv(5, 32, 64) + dense(64 * 7 * 7, 1024) + dense(1024, 10), 3_274_634),
        ("lenet+", DIGITS, conv(5, 1, 32) + conv(5, 32, 64) + dense(64 * 2 * 2, 1024) + dense(1024, 10), 325_514),
        ("lenet-a", MNIST, conv(5, 1, 64) + conv(5, 64, 64) + dense(64 * 20 * 20, 128) + dense(128, 10), 3_382_346),
        (
            "lenet-b",
            MNIST,
            conv(8, 1, 64) + conv(6, 64, 128) + conv(5, 128, 128) + dense(128 * 12 * 12, 10),
            893_258,
        ),
        ("lenet-b-strided", MNIST, conv(8, 1, 64) + conv(6, 64, 128) + conv(5, 128, 128) + dense(128, 10), 710_218),
        ("lenet-c", MNIST, conv(3, 1, 128) + conv(3, 128, 64) + dense(64 * 5 * 5, 128) + dense(128, 10), 281_290),
        ("lenet-d", MNIST, dense(784, 300) + 3 * dense(300, 300) + dense(300, 10), 509_410),
        ("resnet-18", CIFAR, residual(64, [2, 2, 2, 2]), 11_173_962),
        ("resnet-34", CIFAR, residual(64, [3, 4, 6, 3]), 21_282_122),
        ("vgg-11", CIFAR, plain([64, 128, 256, 256, 512, 512, 512, 512]), 9_231_114),
        ("vgg-16", CIFAR, plain([64] * 2 + [128] * 2 + [256] * 3 + [512] * 6), 14_728_266),
        ("vgg-19", CIFAR, plain([64] * 2 + [128] * 2 + [256] * 4 + [512] * 8), 20_040_522),
    ],
)
def test_number_of_parameters(name, inputs, formula, known):
    with torch.device("meta"):
        model = MODELS[name](inputs=inputs, classes=10)
    assert sum(parameter.numel() for parameter in model.parameters()) == formula == known


def test_width_scales_every_hidden_layer():
    model = MODELS["lenet+"](inputs=DIGITS, classes=10, width=8)
    expected = conv(5, 1, 8) + conv(5, 8, 16) + dense(16 * 2 * 2, 256) + dense(256, 10)
    assert sum(parameter.numel() for parameter in model.parameters()) == expected
    assert sum(parameter.numel() for parameter in resnet.resnet(depth=18, width=16).parameters()) == residual(
        16, [2, 2, 2, 2]
    )


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("lenet+", "Conv2d ReLU MaxPool2d Conv2d ReLU MaxPool2d Flatten Linear ReLU Linear"),
        ("lenet-a", "Conv2d ReLU Conv2d ReLU Dropout0.25 Flatten Linear ReLU Dropout0.5 Linear"),
        ("lenet-b", "Dropout0.2 Conv2d ReLU Conv2d ReLU Conv2d ReLU Dropout0.5 Flatten Linear"),
        ("lenet-c", "Conv2d Tanh MaxPool2d Conv2d Tanh MaxPool2d Flatten Linear ReLU Linear"),
        ("lenet-d", "Flatten " + 4 * "Linear ReLU Dropout0.5 " + "Linear"),
    ],
)
def test_order_of_layers_is_the_published_table(name, layers):
    made = [type(one).__name__ + (str(one.p) if isinstance(one, nn.Dropout) else "") for one in small(name, MNIST)]
    assert made == layers.split()


def test_a_block_whose_body_is_silent_passes_its_input_on():
    block = resnet.Block(3, 3)
    nn.init.zeros_(block.body[-1].weight)
    images = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(block(images), images.relu())


def test_the_shortcut_of_a_smaller_image_is_a_strided_convolution():
    block = resnet.Block(3, 8, stride=2).double().eval()
    nn.init.zeros_(block.body[-1].weight)
    images = torch.randn(2, 3, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    strided = nn.functional.conv2d(images, block.shortcut[0].weight, stride=2)
    torch.testing.assert_close(block(images), block.shortcut[1](strided).relu())


def test_linear_is_linear():
    model = small("linear", DIGITS).double()
    a, b = images_for(DIGITS, seed=1).double(), images_for(DIGITS, seed=2).double()
    torch.testing.assert_close(model(0.25 * a + 0.75 * b), 0.25 * model(a) + 0.75 * model(b))


# --- initialisation


def test_xavier_gives_the_same_weights_in_every_precision():
    single, double = nn.Linear(5, 3), nn.Linear(5, 3).double()
    initialise(single, "xavier", 4)
    initialise(double, "xavier", 4)
    assert torch.equal(single.weight.double(), double.weight)


def test_torch_initialisation_leaves_weights_as_they_are():
    layer = nn.Linear(5, 3)
    before = layer.weight.detach().clone()
    initialise(layer, "torch", 0)
    assert torch.equal(layer.weight, before)


def test_build_is_on_the_cpu_whatever_the_default_device():
    with torch.device("meta"):
        model = small("mlp", DIGITS)
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}


# --- errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: build("lenet", inputs=MNIST, classes=10),
            r"^name: expected one of mlp, linear, .*, got lenet$",
        ),
        (
            lambda: build("mlp", inputs=MNIST, classes=10, width=3),
            r"^width: expected none \(mlp takes widths\), got 3$",
        ),
        (
            lambda: build("vgg-11", inputs=CIFAR, classes=10, widths=(3,)),
            r"^widths: expected none \(vgg-11 takes width\), got \(3,\)$",
        ),
        (
            lambda: build("linear", inputs=MNIST, classes=10, widths=()),
            r"^widths: expected none \(linear takes neither\), got \(\)$",
        ),
        (
            lambda: build("linear", inputs=MNIST, classes=10, initialisation="he"),
            r"^initialisation: expected one of torch, xavier, got he$",
        ),
        (lambda: mlp.mlp(inputs=(28, 28)), r"^inputs: expected three whole numbers above 0 .*, got \(28, 28\)$"),
        (lambda: mlp.mlp(inputs=(1, 0, 28)), r"^inputs: expected three whole numbers above 0 .*, got \(1, 0, 28\)$"),
        (lambda: mlp.linear(classes=1), r"^classes: expected a whole number of at least 2, got 1$"),
        (lambda: mlp.mlp(widths=(5, 0)), r"^width: expected a whole number of at least 1, got 0$"),
        (lambda: lenet.lenet_plus(width=0.5), r"^width: expected a whole number of at least 1, got 0.5$"),
        (lambda: lenet.lenet_b(strides=(5, 5, 5)), r"^inputs: expected images of at least 127x127 for lenet-b"),
        (
            lambda: lenet.lenet_b(strides=(2, 2, 0)),
            r"^strides: expected three whole numbers from 1 to 5, got \(2, 2, 0\)$",
        ),
        (lambda: resnet.resnet(depth=50), r"^depth: expected one of 18, 34, got 50$"),
        (lambda: vgg.vgg(depth=13), r"^depth: expected one of 11, 16, 19, got 13$"),
    ],
)
def test_errors_say_what_was_expected_and_found(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("module", [models, lenet, mlp, resnet, vgg, models.geometry])
def test_every_public_name_exists(module):
    assert all(hasattr(module, name) for name in module.__all__)
