"""Models whose truth is known: the contract of all of them, and pairs that decide alike."""

from __future__ import annotations

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from masked_cases import (
    DRAWING,
    EXACT,
    RANDOM,
    WRAPPERS,
    a_network,
    gradient,
    images_for,
    readout,
)
from unmask.models import masked
from unmask.models.masked import (
    ScaledLogits,
    SoftmaxOutput,
    SquashedLogits,
    deciding_as,
)
from unmask.numerics import undisturbed


@pytest.fixture(scope="module")
def network():
    return a_network()


# --- the contract


@settings(max_examples=80, deadline=None)
@given(
    name=st.sampled_from(sorted(WRAPPERS)),
    channels=st.sampled_from([1, 3]),
    height=st.integers(4, 19),
    width=st.integers(4, 19),
    count=st.integers(1, 3),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_any_images_and_any_callable(name, channels, height, width, count, dtype):
    images = images_for(count, (channels, height, width), dtype=dtype)
    before, state = images.clone(), torch.get_rng_state()
    outputs = WRAPPERS[name](readout)(images)
    assert outputs.shape == (count, 5)
    assert outputs.dtype == dtype
    assert outputs.isfinite().all()
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), state) == (name not in DRAWING)
    at = gradient(WRAPPERS[name](readout), images)
    assert at.shape == images.shape
    assert at.dtype == dtype


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_a_wrapper_is_a_module_around_a_module(wrap):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.Dropout())
    wrapped = wrap(network)
    assert list(map(id, wrapped.parameters())) == list(map(id, network.parameters()))
    assert {name.removeprefix("model.") for name in wrapped.state_dict()} == set(network.state_dict())
    assert not wrapped.eval().model[2].training
    assert wrapped.double().model[1].weight.dtype == torch.float64


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_precision_is_that_of_the_images(wrap):
    """Constants are not rounded on the way: a module that was made float32 and then float64 is a float64 one."""
    images = images_for(4, (3, 9, 9), dtype=torch.float64)
    one, other = (wrap(readout), wrap(readout).float().double())
    with undisturbed(one, seed=3):
        first = one(images)
    with undisturbed(other, seed=3):
        assert torch.equal(first, other(images))


@pytest.mark.parametrize("wrap", RANDOM.values(), ids=RANDOM)
def test_random_wrappers_follow_the_seed(wrap):
    images, model = images_for(), wrap(readout)
    assert not torch.equal(model(images), model(images))
    outputs, states = [], []
    for seed in (1, 1, 2):
        states.append(torch.get_rng_state())
        with undisturbed(model, seed=seed):
            outputs.append(model(images))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
    assert torch.equal(states[0], states[2])


def test_the_table_names_all_of_them():
    table = re.findall(r"^\| `(\w+)`", masked.__doc__, flags=re.MULTILINE)
    assert sorted(table) == sorted(name for name in masked.__all__ if name[0].isupper())
    for name, home in re.findall(r"^\| `(\w+)` +\| (\w+)", masked.__doc__, flags=re.MULTILINE):
        assert getattr(masked, name).__module__ == f"unmask.models.masked.{home}"


# --- exact pairs


@st.composite
def near_ties(draw):
    """Logits (N, K): numbers of any size, and in each row some that are a few steps of the precision apart."""
    dtype, bits = draw(st.sampled_from([(torch.float32, torch.int32), (torch.float64, torch.int64)]))
    rows, classes = draw(st.integers(1, 9)), draw(st.integers(2, 21))
    seed, size = draw(st.integers(0, 10**6)), draw(st.sampled_from([1e-6, 1e-2, 1.0, 8.0, 30.0, 1e4, 1e30]))
    generator = torch.Generator().manual_seed(seed)
    wild = size * torch.randn(rows, classes, generator=generator, dtype=torch.float64).to(dtype)
    steps = torch.randint(-3, 4, (rows, classes), generator=generator)
    close = (wild.amax(1, keepdim=True).view(bits) + steps.to(bits)).view(dtype)
    return torch.where(
        torch.rand(rows, classes, generator=generator) < draw(st.sampled_from([0.0, 0.5, 1.0])), close, wild
    )


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from(sorted(EXACT)), logits=near_ties())
def test_an_exact_pair_decides_alike(name, logits):
    outputs = EXACT[name](lambda images: images.flatten(1))(logits[:, None, None, :])
    assert torch.equal(outputs.argmax(1), logits.argmax(1))


def test_a_product_alone_would_not_decide_alike():
    """The product makes one number of neighbours, against which the test above guards."""
    low, high = torch.tensor([1.9, 1.9]).nextafter(torch.tensor([1.9, 2.0]))
    assert low < high
    assert 300 * low == 300 * high
    for wrap in (ScaledLogits, SquashedLogits, SoftmaxOutput):
        assert wrap(nn.Flatten())(torch.stack([low, high])[None]).diff() > 0


@pytest.mark.parametrize("outputs", [[1.0, 1.0, 1.0], [2.0, 1.0, 0.0], [0.0, 0.0, 0.5], [-1.0, -1.0, -1.0]])
def test_rivals_are_held_one_step_below_and_keep_their_gradient(outputs):
    logits, outputs = torch.tensor([[1.0, 2.0, 2.0]]), torch.tensor([outputs], requires_grad=True)
    held = deciding_as(logits, outputs)
    below = torch.nextafter(outputs[0, 1], torch.tensor(-math.inf))
    expected = [min(outputs[0, 0], below), outputs[0, 1], min(outputs[0, 2], below)]
    assert torch.equal(held, torch.stack(expected)[None])
    held.sum().backward()
    assert torch.equal(outputs.grad, torch.ones_like(outputs))


@pytest.mark.parametrize("wrap", EXACT.values(), ids=EXACT)
def test_a_trained_network_and_its_pair_are_fooled_by_the_same_images(wrap, perceptron, held_out):
    near = held_out.images + 0.2 * (2 * images_for(len(held_out.images)) - 1)
    assert torch.equal(wrap(perceptron)(near).argmax(1), perceptron(near).argmax(1))
