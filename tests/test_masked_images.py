"""Models whose truth is known: what they do to images, and errors."""

from __future__ import annotations

import math
from io import BytesIO

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn
from torch.nn import functional

from masked_cases import (
    a_network,
    images_for,
    readout,
)
from unmask.models import build
from unmask.models.masked import (
    DCTQuantised,
    InputNoise,
    JumpReLU,
    KWinners,
    Normalised,
    PrunedReLU,
    Quantised,
    RandomResizePad,
    ScaledLogits,
    ShiftedLogits,
    Slowed,
    SquashedLogits,
    SteppedReLU,
    Thermometer,
    with_activation,
)
from unmask.numerics import undisturbed


@pytest.fixture(scope="module")
def network():
    return a_network()


# --- what rounding does to images


@given(levels=st.integers(2, 256))
def test_quantised_keeps_images_on_the_levels(levels):
    steps = levels - 1
    grid = torch.arange(levels).reshape(1, levels) / steps
    wrapped = Quantised(nn.Flatten(), levels)
    assert torch.equal(wrapped(grid), grid)
    assert torch.equal(wrapped(grid[:, :-1] + 0.4 / steps), grid[:, :-1])


@given(levels=st.integers(2, 20), channels=st.sampled_from([1, 3]))
def test_a_thermometer_counts_the_levels_that_a_pixel_exceeds(levels, channels):
    images = images_for(2, (channels, 3, 4), dtype=torch.float64)
    encoded = Thermometer(nn.Identity(), levels)(images)
    assert encoded.shape == (2, channels * levels, 3, 4)
    assert set(encoded.unique().tolist()) <= {0.0, 1.0}
    by_colour = encoded.unflatten(1, (channels, levels))
    assert torch.equal(by_colour.sum(2), (images * levels).ceil() - 1)
    assert torch.equal(by_colour, by_colour.sort(2, descending=True).values)


def test_a_thermometer_and_the_network_built_for_it():
    network = build("lenet+", inputs=(3 * 6, 8, 8), classes=5, width=4)
    outputs = Thermometer(network, levels=6)(images_for(2, (3, 8, 8)))
    assert outputs.shape == (2, 5)
    outputs.sum().backward()
    assert all(one.grad is not None for one in network.parameters())


@pytest.mark.parametrize("quality", [5, 50, 75, 95])
def test_dct_rounding_is_that_of_jpeg(quality):
    """Of a grey image of 8 bits; the library's transform works in integers and ends with whole numbers."""
    rough = functional.interpolate(images_for(1, (1, 6, 6)), (24, 32), mode="bicubic", align_corners=False).clamp(0, 1)
    pixels = (rough[0, 0] * 255).round()
    file = BytesIO()
    Image.fromarray(pixels.numpy().astype(np.uint8)).save(file, "jpeg", quality=quality)
    wanted = torch.from_numpy(np.asarray(Image.open(file)).copy())
    found = 255 * DCTQuantised(nn.Identity(), quality)(pixels[None, None] / 255)[0, 0]
    assert (found - wanted).abs().mean() < 0.35  # 0.25 is that of rounding to whole numbers alone
    assert (found - pixels).abs().mean() > 0.6


def test_dct_rounding_fills_what_eight_does_not_divide_and_works_channel_by_channel():
    images = images_for(2, (3, 11, 8))
    found = DCTQuantised(nn.Identity())(images)
    filled = torch.cat([images, images[:, :, -1:].expand(-1, -1, 5, -1)], 2)
    torch.testing.assert_close(found, DCTQuantised(nn.Identity())(filled)[:, :, :11])
    torch.testing.assert_close(found[:, 1:2], DCTQuantised(nn.Identity())(images[:, 1:2]))


def test_flat_images_are_kept_by_dct_rounding():
    images = torch.full((1, 1, 8, 8), 128 / 255)
    torch.testing.assert_close(DCTQuantised(nn.Identity(), 1)(images), images)


# --- what chance does to images


def test_input_noise_has_the_stated_standard_deviation():
    with undisturbed(readout):
        noise = InputNoise(nn.Flatten(), 0.2)(torch.zeros(100, 1000))
    assert noise.std().item() == pytest.approx(0.2, rel=0.01)


def test_every_resized_image_is_the_nearest_pixels_somewhere_on_black():
    pixels, (height, width) = 3, (6, 9)
    image = images_for(1, (2, height, width)) + 0.1  # nowhere black itself
    with undisturbed(readout):
        seen = RandomResizePad(nn.Identity(), pixels)(image.expand(400, -1, -1, -1))
    possible = []
    for less in range(pixels + 1):
        small = functional.interpolate(image, (height - less, width - less), mode="nearest")
        for above in range(less + 1):
            for left in range(less + 1):
                possible.append(functional.pad(small, (left, less - left, above, less - above)))
    met = [int((seen == one).flatten(1).all(1).sum()) for one in possible]
    assert sum(met) == 400
    assert all(met)  # the rarest is expected 6 times


def test_each_example_is_resized_on_its_own():
    with undisturbed(readout):
        seen = RandomResizePad(nn.Identity(), 3)(torch.ones(50, 1, 8, 8))
    assert len(seen.sum((1, 2, 3)).unique()) == 4


# --- errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ScaledLogits(readout, 0), r"^factor: expected a number above 0, got 0$"),
        (lambda: SquashedLogits(readout, math.inf), r"^factor: expected a number above 0, got inf$"),
        (lambda: ShiftedLogits(readout, math.inf), r"^offset: expected a finite number, got inf$"),
        (lambda: InputNoise(readout, -0.1), r"^sigma: expected a number of at least 0, got -0.1$"),
        (lambda: RandomResizePad(readout, -1), r"^pixels: expected a whole number of at least 0, got -1$"),
        (lambda: RandomResizePad(readout, 8)(images_for()), r"^pixels: expected below the images' 8x8, got 8$"),
        (lambda: Quantised(readout, 1), r"^levels: expected a whole number of at least 2, got 1$"),
        (lambda: Thermometer(readout, 2.5), r"^levels: expected a whole number of at least 2, got 2.5$"),
        (lambda: DCTQuantised(readout, 0), r"^quality: expected a whole number from 1 to 100, got 0$"),
        (lambda: KWinners(0), r"^share: expected a number above 0 and up to 1, got 0$"),
        (lambda: JumpReLU(-1), r"^threshold, rise: expected numbers of at least 0, got -1 and 5.0$"),
        (lambda: SteppedReLU(0), r"^step, slope: expected a number above 0 and a finite one, got 0 and 0.0$"),
        (lambda: PrunedReLU(0), r"^share: expected a number above 0, got 0$"),
        (
            lambda: Normalised(readout, [0.5], [0.0]),
            r"^mean, std: expected as many numbers, .*, got \[0.5\] and \[0.0\]$",
        ),
        (lambda: Normalised(readout, [], []), r"^mean, std: expected as many numbers, .*, got \[\] and \[\]$"),
        (
            lambda: Normalised(readout, [0.5] * 3, [1.0] * 3)(images_for()),
            r"^mean, std: expected one or 1, as the channels, got 3$",
        ),
        (lambda: Slowed(readout, 0), r"^passes: expected a whole number of at least 1, got 0$"),
        (
            lambda: with_activation(nn.Sequential(nn.Tanh()), KWinners()),
            r"^model: expected a network with nn.ReLU in it, got Sequential without$",
        ),
    ],
)
def test_errors_say_what_was_expected_and_found(call, message):
    with pytest.raises(ValueError, match=message):
        call()
