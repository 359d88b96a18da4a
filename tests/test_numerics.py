"""Random numbers that belong to an example, models left as they were, and work done in batches."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from unmask.numerics import (
    derive_seed,
    describe,
    fastest_layout,
    laid_out,
    random_below,
    random_keys,
    random_signs,
    random_uniform,
    random_words,
    undisturbed,
)

DRAWS = [random_uniform, random_signs]


def images_for(count, shape=(1, 8, 8), seed=0):
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))


# --- random numbers


@pytest.mark.parametrize("images", [images_for(400), torch.zeros(1, 1, 160, 160)], ids=["many", "one, constant"])
def test_uniform_numbers_are_uniform(images):
    numbers = random_uniform(images, seed=0)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert stats.kstest(numbers.flatten().numpy(), "uniform").pvalue > 0.01


@pytest.mark.parametrize("images", [images_for(400), torch.zeros(1, 1, 160, 160)], ids=["many", "one, constant"])
def test_signs_are_balanced(images):
    signs = random_signs(images, seed=0)
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    assert stats.binomtest(int((signs > 0).sum()), signs.numel(), 0.5).pvalue > 0.01


@pytest.mark.parametrize("draw", DRAWS)
def test_neighbours_are_independent(draw):
    """From a pixel, an example or a seed to the next, and after a change too small to see."""
    images = images_for(400)
    numbers = draw(images, seed=0).flatten(1)
    nudged = images.clone()
    nudged[:, 0, 4, 4] += 1e-6
    pairs = {
        "pixels": (numbers[:, 1:], numbers[:, :-1]),
        "examples": (numbers[1:], numbers[:-1]),
        "seeds": (numbers, draw(images, seed=1).flatten(1)),
        "nudge": (numbers, draw(nudged, seed=0).flatten(1)),
    }
    for name, (one, other) in pairs.items():
        assert stats.pearsonr(one.flatten().numpy(), other.flatten().numpy()).pvalue > 0.01, name


@pytest.mark.parametrize("draw", DRAWS)
@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 6),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)),
    seed=st.integers(0, 2**63 - 1),
)
def test_numbers_belong_to_the_example(draw, count, shape, seed):
    images = images_for(count, shape)
    together = draw(images, seed=seed)
    alone = torch.cat([draw(one[None], seed=seed) for one in images])
    assert torch.equal(alone, together)
    assert torch.equal(draw(images.flip(0), seed=seed), together.flip(0))
    assert torch.equal(draw(images.double(), seed=seed), together.double())
    elsewhere = images.to(memory_format=torch.channels_last)
    assert torch.equal(draw(elsewhere, seed=seed), together)


@pytest.mark.parametrize("draw", DRAWS)
def test_minus_zero_is_zero(draw):
    images = torch.zeros(1, 1, 4, 4)
    assert torch.equal(draw(-images, seed=0), draw(images, seed=0))


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_numbers_are_in_range_in_every_precision(draw, dtype):
    numbers = draw(images_for(4).to(dtype), seed=0)
    assert numbers.dtype == dtype
    assert numbers.abs().max() <= 1
    assert numbers.double().std() > 0.2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("draw", DRAWS)
def test_numbers_are_the_same_on_a_gpu(draw):
    images = images_for(8)
    assert torch.equal(draw(images.cuda(), seed=0).cpu(), draw(images, seed=0))


def test_no_images_draw_no_numbers():
    assert random_uniform(torch.zeros(0, 1, 4, 4), seed=0).shape == (0, 1, 4, 4)


@settings(max_examples=40, deadline=None)
@given(count=st.integers(0, 20), after=st.integers(0, 2**40), seed=st.integers(0, 2**63 - 1))
def test_words_are_one_stream_for_each_example(count, after, seed):
    images = images_for(3)
    words = random_words(random_keys(images, seed=seed), count + 5, after=after)
    assert torch.equal(random_words(random_keys(images[1:2], seed=seed), count + 5, after=after), words[1:2])
    assert torch.equal(random_words(random_keys(images, seed=seed), 5, after=after + count), words[:, count:])
    assert len(words.unique()) == words.numel()


@pytest.mark.parametrize("limit", [1, 2, 10, 1000, 2**31])
def test_whole_numbers_below_a_limit_are_uniform(limit):
    numbers = random_below(random_words(random_keys(images_for(40), seed=0), 1000), limit)
    assert numbers.dtype == torch.int64
    assert numbers.min() >= 0
    assert numbers.max() < limit
    bins = min(limit, 20)
    counts = (numbers.flatten() * bins // limit).bincount(minlength=bins)
    assert stats.chisquare(counts.numpy()).pvalue > 0.01 if limit > 1 else numbers.eq(0).all()


def test_half_of_all_words_are_below_zero():
    words = random_words(random_keys(images_for(40), seed=0), 1000)
    assert stats.binomtest(int((words < 0).sum()), words.numel(), 0.5).pvalue > 0.01


@settings(max_examples=100)
@given(st.integers(0, 2**63 - 1), st.lists(st.integers(0, 9) | st.sampled_from("ab"), min_size=1, max_size=3))
def test_derived_seeds_are_seeds_of_their_own(seed, parts):
    derived = derive_seed(seed, *parts)
    assert derived == derive_seed(seed, *parts)
    assert 0 <= derived < 2**63
    assert derived != derive_seed(seed + 1, *parts)
    assert derived != derive_seed(seed, *parts, 0)


# --- undisturbed


def test_a_model_is_in_evaluation_mode_inside_and_as_it_was_afterwards():
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm2d(1), nn.Dropout()))
    model[1][0].eval()
    before = [part.training for part in model.modules()]
    with undisturbed(model):
        assert not any(part.training for part in model.modules())
    assert [part.training for part in model.modules()] == before
    with pytest.raises(ArithmeticError), undisturbed(model):
        raise ArithmeticError
    assert [part.training for part in model.modules()] == before


def test_random_numbers_inside_follow_from_the_seed_and_cost_none_outside():
    state = torch.get_rng_state()
    drawn = []
    for seed in (0, 0, 1):
        with undisturbed(nn.Identity(), seed=seed):
            drawn.append(torch.rand(3))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(0)
    assert not torch.equal(drawn[0], torch.rand(3))  # nobody meets the numbers that seed 0 gives at large


def test_a_function_serves_as_a_model():
    with undisturbed(lambda images: images):
        pass


# --- layout


class Viewing(nn.Module):
    """A network as many write it: ``view`` wants the channels' planes one after the other."""

    def __init__(self):
        super().__init__()
        self.convolution, self.dense = nn.Conv2d(1, 4, 3), nn.Linear(144, 5)

    def forward(self, images):
        return self.dense(self.convolution(images).view(len(images), -1))


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_laid_out_with_their_channels_together(channels):
    images = images_for(2, shape=(channels, 4, 4))
    for before in (images, images.to(memory_format=torch.channels_last)):
        moved = laid_out(before, torch.channels_last)
        assert moved.stride() == (16 * channels, 1, 4 * channels, channels)
        assert torch.equal(moved, images)
    assert not laid_out(images.requires_grad_(), torch.channels_last).requires_grad


@pytest.mark.parametrize(
    ("model", "dtype", "layout"),
    [
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten()), torch.float32, torch.channels_last),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten()).double(), torch.float64, torch.preserve_format),
        (nn.Flatten(), torch.float32, torch.preserve_format),
        (lambda images: images.flatten(1), torch.float32, torch.preserve_format),
        (Viewing(), torch.float32, torch.preserve_format),
    ],
    ids=["convolution", "float64", "no convolution", "a function", "view"],
)
def test_the_layout_is_one_that_the_model_bears(model, dtype, layout):
    assert fastest_layout(model, images_for(3).to(dtype)) is layout


@pytest.mark.parametrize(
    ("value", "text"), [(derive_seed, "derive seed"), (8 / 255, "0.0313725"), (40, "40"), (None, "None"), ("a", "a")]
)
def test_values_in_words(value, text):
    assert describe(value) == text
