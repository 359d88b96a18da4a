"""The contract of networks, held by every one in ``MODELS``: a new one is tested by being listed there."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from model_cases import CIFAR, DIGITS, MNIST, TAKES_WIDTH, images_for, small
from unmask.models import MODELS, digest, load_weights, save_weights, widths_of

every_network = pytest.mark.parametrize("name", MODELS)


def refusal(name, inputs):
    """Return the message with which a network refuses images of a shape, or an empty text."""
    try:
        small(name, inputs)
    except ValueError as error:
        return str(error)
    return ""


@every_network
@pytest.mark.parametrize("inputs", [MNIST, CIFAR, DIGITS], ids=["mnist", "cifar", "digits"])
def test_logits_are_finite_and_alike_in_both_precisions_or_the_images_are_refused_as_too_small(name, inputs):
    if message := refusal(name, inputs):
        assert inputs != CIFAR
        assert message.startswith("inputs: expected images of at least ")
        return
    model = small(name, inputs)
    logits = model(images_for(inputs))
    assert logits.shape == (3, 10)
    assert logits.isfinite().all()
    precise = model.double()(images_for(inputs).double())
    assert precise.dtype == torch.float64
    torch.testing.assert_close(logits.double(), precise, rtol=1e-4, atol=1e-5)


@every_network
def test_gradients_reach_every_parameter_and_the_images(name):
    model, images = small(name, CIFAR).double(), images_for(CIFAR, count=8).double().requires_grad_()
    model(images).square().sum().backward()
    assert images.grad.any()
    assert [key for key, one in model.named_parameters() if one.grad is None or not one.grad.any()] == []


@every_network
def test_in_evaluation_mode_an_image_ignores_the_rest_of_the_batch(name):
    model, images = small(name, CIFAR).double(), images_for(CIFAR).double()
    model.train()(images)  # statistics other than the initial ones
    model.eval()
    torch.testing.assert_close(model(images)[:1], model(images[:1]))
    assert torch.equal(model(images), model(images))


@every_network
def test_weights_are_saved_and_loaded(name, tmp_path):
    save_weights(one := small(name, CIFAR, seed=1), tmp_path / "weights.safetensors")
    load_weights(other := small(name, CIFAR, seed=2), tmp_path / "weights.safetensors")
    assert digest(one) == digest(other)
    assert torch.equal(one(images_for(CIFAR)), other(images_for(CIFAR)))


@pytest.mark.parametrize("name", TAKES_WIDTH)
def test_the_width_is_read_from_the_weights(name):
    for width in (3, 5):
        saved = small(name, CIFAR, width=width).state_dict()
        assert widths_of(name, dict(sorted(saved.items())), inputs=CIFAR, classes=10) == {"width": width}


# --- seeds and initialisation


@pytest.mark.parametrize("initialisation", ["torch", "xavier"])
@pytest.mark.parametrize("name", MODELS)
def test_weights_are_a_function_of_the_seed(name, initialisation):
    inputs = (3, 32, 32)
    one = small(name, inputs, seed=1, initialisation=initialisation).state_dict()
    torch.rand(7)  # whatever happened to the global generator meanwhile
    same = small(name, inputs, seed=1, initialisation=initialisation).state_dict()
    other = small(name, inputs, seed=2, initialisation=initialisation).state_dict()
    assert all(torch.equal(one[key], same[key]) for key in one)
    drawn = [key for key in one if key.endswith("weight") and one[key].dim() > 1]
    assert drawn
    assert not any(torch.equal(one[key], other[key]) for key in drawn)


@pytest.mark.parametrize("name", MODELS)
def test_the_global_random_state_is_left_alone(name):
    before = torch.get_rng_state()
    for initialisation in ("torch", "xavier"):
        small(name, CIFAR, initialisation=initialisation)
        assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", MODELS)
def test_xavier_fills_its_interval_and_zeroes_biases(name):
    model = small(name, CIFAR, initialisation="xavier")
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            receptive = math.prod(layer.weight.shape[2:])
            bound = math.sqrt(6 / (receptive * (layer.weight.shape[0] + layer.weight.shape[1])))
            largest = layer.weight.detach().abs().max().item()
            # All n weights stay under 0.8 of the bound with probability 0.8^n; the smallest layer has 32.
            assert 0.8 * bound < largest <= bound * (1 + 1e-6)
            assert layer.bias is None or not layer.bias.any()
