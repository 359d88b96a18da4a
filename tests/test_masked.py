"""Models whose truth is known: the contract that all of them hold, then what is said of each, asserted."""

from __future__ import annotations

import copy
import math
import re
from io import BytesIO

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn
from torch.nn import functional

from unmask.gradients import input_gradient
from unmask.losses import cross_entropy, log_odds
from unmask.models import MODELS, build, masked
from unmask.models.masked import (
    DCTQuantised,
    InputNoise,
    JumpReLU,
    KWinners,
    Normalised,
    PrunedReLU,
    Quantised,
    RandomResizePad,
    RandomSignBackward,
    ScaledLogits,
    ShiftedLogits,
    Slowed,
    SoftmaxOutput,
    SquashedLogits,
    SteppedReLU,
    Thermometer,
    ZeroBackward,
    deciding_as,
    with_activation,
)
from unmask.numerics import undisturbed

EXACT = {
    "logits times 300": ScaledLogits,
    "logits times 0.3": lambda model: ScaledLogits(model, 0.3),
    "logits times 0.001": lambda model: ScaledLogits(model, 0.001),
    "squashed": SquashedLogits,
    "squashed, little": lambda model: SquashedLogits(model, 0.1),
    "softmax": SoftmaxOutput,
    "zero gradient": ZeroBackward,
    "random signs": RandomSignBackward,
    "slow": lambda model: Slowed(model, 3),
    "no noise": lambda model: InputNoise(model, 0.0),
    "no resizing": lambda model: RandomResizePad(model, 0),
    "not normalised": lambda model: Normalised(model, [0.0], [1.0]),
}
CHANGED = {
    "logits plus 1e6": ShiftedLogits,
    "16 levels": Quantised,
    "8 bits": lambda model: Quantised(model, 256),
    "dct": DCTQuantised,
    "thermometer": Thermometer,
    "normalised": lambda model: Normalised(model, [0.5], [0.25]),
}
RANDOM = {"noise": InputNoise, "resized and padded": RandomResizePad}
DRAWING = (*RANDOM, "no noise", "no resizing")
"""Those that draw from the global random state, whatever they make of it."""
WRAPPERS = EXACT | CHANGED | RANDOM
ACTIVATIONS = {
    "k winners": KWinners(),
    "jump": JumpReLU(),
    "jump, retrofit": JumpReLU(threshold=0.1, rise=0.0),
    "steps": SteppedReLU(),
    "steps, turned round": SteppedReLU(slope=-1.0),
    "pruned": PrunedReLU(),
}
BLIND = [Quantised, DCTQuantised, Thermometer, ZeroBackward]
"""Those whose gradient is zero everywhere."""


def readout(images):
    """A callable that is no module: any images to five logits, a linear map."""
    flat = images.flatten(1)
    weights = torch.sin(torch.arange(5 * flat.shape[1], dtype=torch.float64) ** 2).view(-1, 5)
    return flat @ weights.to(images)


def images_for(count=16, shape=(1, 8, 8), seed=0, dtype=torch.float32):
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def gradient(model, images, loss=log_odds):
    labels = torch.arange(len(images)) % 2
    return input_gradient(model, images, labels, loss=loss).gradient


@pytest.fixture(scope="module")
def network():
    return build("mlp", inputs=(1, 8, 8), classes=5, widths=(32, 16), initialisation="xavier", seed=0).eval()


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
    """What the test above guards against: neighbours that become one number."""
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


# --- what each does to gradients


@pytest.mark.parametrize("wrap", BLIND)
def test_gradients_that_are_zero(wrap):
    images = images_for()
    assert gradient(readout, images).all()
    assert torch.equal(gradient(wrap(readout), images), torch.zeros_like(images))
    points = images.clone().requires_grad_()
    wrap(readout)(points).sum().backward()  # as a user's own attack asks, who reads .grad
    assert torch.equal(points.grad, torch.zeros_like(images))
    assert not torch.equal(wrap(readout)(images), wrap(readout)(images.flip(0)))


@pytest.mark.parametrize("wrapper", [ZeroBackward, RandomSignBackward])
def test_replaced_gradients_leave_outputs_and_parameter_gradients_as_they_were(network, wrapper):
    images = images_for()
    labels = torch.zeros(len(images), dtype=torch.long)
    wanted = torch.autograd.grad(functional.cross_entropy(network(images), labels), list(network.parameters()))
    # The images need a gradient, as they do in an attack; otherwise the replacement has nothing to do.
    outputs = wrapper(network)(images.clone().requires_grad_())
    assert torch.equal(outputs, network(images))
    found = torch.autograd.grad(functional.cross_entropy(outputs, labels), list(network.parameters()))
    assert all(map(torch.equal, wanted, found))


def test_zero_backward_is_zero_even_where_the_loss_is_not_finite(network):
    infinite = gradient(ZeroBackward(network), images_for(), lambda logits, labels: logits.sum(1) / 0)
    assert not infinite.any()


def test_random_signs_are_signs_and_depend_on_the_seed_alone(network):
    images = images_for(64)
    signs = gradient(RandomSignBackward(network, seed=3), images)
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(signs, gradient(RandomSignBackward(nn.Flatten(), seed=3), images))
    agreement = (signs == gradient(RandomSignBackward(network, seed=4), images)).double().mean()
    assert 0.4 < agreement < 0.6  # 4,096 fair coins: 0.5 with standard deviation 0.008


def test_random_signs_belong_to_the_example_and_shatter(network):
    images, wrapped = images_for(64), RandomSignBackward(network)
    signs = gradient(wrapped, images)
    assert torch.equal(gradient(wrapped, images[5:7]), signs[5:7])
    for step in (1e-3, 1 / 255, 0.01):
        nudge = step * (2 * images_for(64, seed=9) - 1)
        assert 0.4 < (gradient(wrapped, images + nudge) == signs).double().mean() < 0.6
    assert 0.4 < (signs == gradient(network, images).sign()).double().mean() < 0.6


def test_scaling_zeroes_the_float32_gradient_and_not_the_float64_one():
    image = torch.tensor([[1.0, 0.0]])  # times 300: between 104, where float32 underflows, and 745, where float64 does
    wrapped = ScaledLogits(nn.Flatten(), 300.0)
    assert gradient(nn.Flatten(), image, cross_entropy).all()
    assert not gradient(wrapped, image, cross_entropy).any()
    assert gradient(wrapped, image.double(), cross_entropy).any()


@pytest.mark.parametrize("factor", [300.0, 0.3, 0.001])
def test_the_log_odds_of_two_classes_keep_the_direction_at_any_factor(factor):
    def two(images):
        return readout(images)[:, :2]

    images = images_for()
    torch.testing.assert_close(gradient(ScaledLogits(two, factor), images), factor * gradient(two, images))


@pytest.mark.parametrize("factor", [0.3, 0.001])
@pytest.mark.parametrize("loss", [log_odds, cross_entropy])
def test_small_logits_mask_nothing(network, factor, loss):
    """The float32 direction is the float64 one."""
    wrapped, precise = ScaledLogits(network, factor), ScaledLogits(copy.deepcopy(network).double(), factor)
    found, wanted = (gradient(wrapped, images_for(), loss), gradient(precise, images_for().double(), loss))
    torch.testing.assert_close(found.double(), wanted, rtol=1e-3, atol=1e-5 * wanted.abs().max().item())


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 9.1), (torch.float64, 19.1)])
def test_squashing_leaves_no_gradient_past_its_bound(dtype, bound):
    wrapped = SquashedLogits(nn.Flatten(), 1.0)
    inside, outside = (torch.tensor([[lead, -lead]], dtype=dtype) for lead in (bound - 1, bound))
    assert gradient(wrapped, inside).all()
    assert not gradient(wrapped, outside).any()


def test_squashed_logits_are_a_plateau_for_a_search():
    sure = torch.tensor([[30.0, 20.0, -20.0]])
    outputs = SquashedLogits(nn.Flatten(), 1.0)(sure)
    assert torch.equal(outputs, SquashedLogits(nn.Flatten(), 1.0)(sure - torch.tensor([[5.0, 5.0, -5.0]])))
    assert outputs.abs().max() <= 1


def test_where_softmax_is_sure_no_gradient_is_left():
    image = torch.tensor([[200.0, 0.0]])
    assert gradient(nn.Flatten(), image).all()
    assert not gradient(SoftmaxOutput(nn.Flatten()), image).any()


def test_softmax_rows_sum_to_one_and_the_logarithm_gives_the_logits_back(network):
    images = images_for()
    probabilities = SoftmaxOutput(network)(images)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(len(images)))
    torch.testing.assert_close(probabilities.log(), network(images).log_softmax(1))


@pytest.mark.parametrize("wrap", RANDOM.values(), ids=RANDOM)
def test_a_random_gradient_is_one_draw(wrap, network):
    images, model = images_for(), wrap(network)
    assert not torch.equal(gradient(model, images), gradient(model, images))


def test_normalising_divides_the_gradient(network):
    images = images_for()
    wrapped = Normalised(network, [0.5], [0.25])
    torch.testing.assert_close(gradient(wrapped, images), 4 * gradient(network, 4 * (images - 0.5)))


def test_each_channel_has_its_own_mean_and_deviation():
    images = images_for(2, (3, 4, 4))
    seen = Normalised(nn.Identity(), [0.1, 0.2, 0.3], [0.5, 1.0, 2.0])(images)
    for channel in range(3):
        torch.testing.assert_close(seen[:, channel], (images[:, channel] - 0.1 * (channel + 1)) / 2.0 ** (channel - 1))


def test_a_slow_model_is_asked_as_often_as_said_and_gives_its_own_gradient(network):
    images, calls = images_for(), []
    slow = Slowed(lambda batch: (calls.append(1), network(batch))[1], passes=4)
    assert torch.equal(gradient(slow, images), gradient(network, images))
    assert len(calls) == 4


# --- sandwiches


@settings(max_examples=100, deadline=None)
@given(logits=st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=10))
def test_a_shift_decides_alike_where_the_lead_is_more_than_a_step(logits):
    logits = torch.tensor([logits])
    shifted = ShiftedLogits(nn.Flatten())(logits)
    first, second = logits.double().topk(2).values[0]
    assert logits[0].double()[shifted.argmax()] >= first - 1 / 16
    if first - second > 1 / 16:
        assert torch.equal(shifted.argmax(1), logits.argmax(1))


def test_shifting_rounds_logits_to_sixteenths_and_leaves_the_gradient(network):
    images = images_for()
    rounded = ShiftedLogits(network)(images) - 1e6
    assert torch.equal(rounded, (network(images) * 16).round() / 16)
    assert len(rounded.unique()) > 5
    found, wanted = gradient(ShiftedLogits(network), images), gradient(network, images)
    assert functional.cosine_similarity(found.flatten(1), wanted.flatten(1)).min() > 0.99


def worst_lead(reach, weights, images, epsilon):
    """The least lead of the true class of a linear model of two classes; ``reach`` is where the ball's corner ends."""
    corner = (images - epsilon * weights.sign()).clamp(0, 1)
    return (reach(corner) * weights).sum((1, 2, 3))


@settings(max_examples=100, deadline=None)
@given(
    levels=st.sampled_from([2, 3, 16, 256]),
    epsilon=st.floats(0, 0.5),
    seed=st.integers(0, 1000),
    on_levels=st.booleans(),
)
def test_rounding_is_between_half_a_step_more_and_less(levels, epsilon, seed, on_levels):
    """On a linear model, whose worst case in the ball is a corner, also once rounded, since rounding is monotone."""
    weights = torch.randn(1, 1, 5, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    images, half = images_for(6, (1, 5, 5), seed, torch.float64), 0.5 / (levels - 1)
    rounded = Quantised(nn.Identity(), levels)
    images = rounded(images) if on_levels else images
    found = worst_lead(rounded, weights, images, epsilon)
    assert (worst_lead(nn.Identity(), weights, images, epsilon + half) <= found + 1e-9).all()
    if epsilon >= half:
        assert (found <= worst_lead(nn.Identity(), weights, images, epsilon - half) + 1e-9).all()
    anywhere = (images + epsilon * (2 * images_for(6, (1, 5, 5), seed + 1, torch.float64) - 1)).clamp(0, 1)
    assert ((rounded(anywhere) * weights).sum((1, 2, 3)) >= found - 1e-9).all()


def test_rounding_at_whole_levels_changes_nothing_for_a_linear_model():
    weights, epsilon = torch.randn(1, 1, 5, 5, generator=torch.Generator().manual_seed(0)).double(), 8 / 255
    images = (images_for(6, (1, 5, 5), dtype=torch.float64) * 255).round() / 255
    rounded = Quantised(nn.Identity(), 256)
    torch.testing.assert_close(*(worst_lead(reach, weights, images, epsilon) for reach in (rounded, nn.Identity())))


def test_a_model_that_errs_between_the_levels_is_more_robust_when_rounded():
    """Why the upper bound is claimed for linear models alone."""

    def spiked(images):
        off = (images * 255 - (images * 255).round()).abs().amax((1, 2, 3))
        return torch.stack([torch.full_like(off, 0.1), off], dim=1)

    images = torch.full((1, 1, 2, 2), 100.4 / 255, dtype=torch.float64)
    assert spiked(images).argmax() == 1
    assert Quantised(spiked, 256)(images).argmax() == 0


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


# --- activations


def test_k_winners_keep_the_largest_of_all_channels_and_pixels():
    values = torch.randn(3, 4, 5, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    outputs = KWinners(share=0.25)(values)
    won = outputs != 0
    assert won.flatten(1).sum(1).tolist() == [25, 25, 25]
    assert torch.equal(outputs[won], values[won])
    assert all(values[i][won[i]].min() > values[i][~won[i]].max() for i in range(3))
    outputs.sum().backward()
    assert torch.equal(values.grad, won.float())


def test_a_single_unit_always_wins():
    assert KWinners(share=0.01)(torch.tensor([[-3.0, -1.0]])).tolist() == [[0.0, -1.0]]


def test_k_winners_jump_where_two_units_change_places():
    before, after = torch.tensor([[1.0, 1.0 + 1e-6]]), torch.tensor([[1.0 + 1e-6, 1.0]])
    activation = KWinners(share=0.5)
    assert (activation(before) - activation(after)).abs().min() >= 1


def test_gradients_of_k_winners_say_less_about_the_next_point():
    """The mean cosine of the gradients at an image and at a point nearby, against that of ReLU."""
    network = build("lenet+", inputs=(1, 8, 8), classes=5, width=8, initialisation="xavier").eval()
    images = images_for(64)
    nearby = images + 0.02 * (2 * images_for(64, seed=1) - 1)
    smooth, shattered = (
        functional.cosine_similarity(gradient(one, images).flatten(1), gradient(one, nearby).flatten(1)).mean()
        for one in (network, with_activation(network, KWinners(share=0.1)))
    )
    assert smooth > 0.9
    assert shattered < 0.8


@pytest.mark.parametrize(("threshold", "rise"), [(0.0, 5.0), (0.4, 0.0), (0.5, 1.5)])
def test_a_jump_is_missing_from_the_gradient(threshold, rise):
    values = torch.tensor([-1.0, threshold - 1e-3, threshold + 1e-3, 2.0], requires_grad=True)
    outputs = JumpReLU(threshold=threshold, rise=rise)(values)
    torch.testing.assert_close(outputs[2] - outputs[1], torch.tensor(threshold + rise + 1e-3))
    (slopes,) = torch.autograd.grad(outputs.sum(), values)
    assert slopes.tolist() == [0.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize("slope", [0.0, -1.0, 0.5, 1.0])
def test_steps_have_their_slope_and_stay_near_relu(slope):
    values = torch.linspace(-1, 2, 1001, dtype=torch.float64, requires_grad=True)
    outputs = SteppedReLU(step=0.25, slope=slope)(values)
    (slopes,) = torch.autograd.grad(outputs.sum(), values)
    assert torch.equal(slopes, slope * (values > 0))
    bound = abs(1 - slope) * 0.25 / 2
    assert (outputs - values.relu()).abs().max().item() == pytest.approx(bound, abs=0.002)
    assert (outputs - values.relu()).abs().max() <= bound + 1e-12


def test_steps_turned_round_point_away_in_an_odd_number_of_layers():
    """Away from the gradient of a network of ReLUs that the same units are active in."""
    weights = nn.Linear(64, 32), nn.Linear(32, 5)
    for slope in (0.0, -1.0):
        relu = nn.Sequential(nn.Flatten(), weights[0], nn.ReLU(), weights[1])
        stepped = with_activation(relu, SteppedReLU(step=1e-4, slope=slope))
        torch.testing.assert_close(
            gradient(stepped, images_for()), slope * gradient(relu, images_for()), rtol=0.01, atol=1e-4
        )


def test_pruning_keeps_the_expectation_and_drops_the_rest():
    values = torch.tensor([[0.0, -1.0, 0.1, 0.4, 1.5]], dtype=torch.float64).expand(20_000, -1)
    with undisturbed(readout):
        outputs = PrunedReLU(share=0.6)(values)  # three draws; parts 0.05, 0.2 and 0.75
    assert not outputs[:, :2].any()
    for unit, part in ((2, 0.05), (3, 0.2), (4, 0.75)):
        odds = 1 - (1 - part) ** 3
        kept = outputs[:, unit] > 0
        assert kept.double().mean().item() == pytest.approx(odds, abs=0.015)  # standard deviation at most 0.0035
        torch.testing.assert_close(outputs[kept, unit].unique(), values[0, unit : unit + 1] / odds)


def test_a_pruned_gradient_is_one_draw_without_the_units_that_were_not_drawn(network):
    images, pruned = images_for(), with_activation(network, PrunedReLU(share=0.5))
    assert not torch.equal(gradient(pruned, images), gradient(pruned, images))
    values = torch.rand(4, 50, generator=torch.Generator().manual_seed(0)).requires_grad_()
    with undisturbed(readout):
        outputs = PrunedReLU(share=0.2)(values)
    assert 0 < (outputs == 0).sum() < 200
    (none,) = torch.autograd.grad(outputs[outputs == 0].sum(), values)
    assert not none.any()


def test_a_pruned_gradient_is_right_for_its_draw():
    values = torch.randn(3, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()

    def draw(points):
        with undisturbed(readout, seed=4):
            return PrunedReLU(share=0.5)(points)

    assert torch.autograd.gradcheck(draw, values)


@pytest.mark.parametrize("values", [[[0.0, 0.0]], [[-1.0, -2.0]], [[0.0, 3.0]], [[1e-45, 1e30]]])
def test_pruning_is_finite_where_few_units_are_active(values):
    values = torch.tensor(values, requires_grad=True)
    outputs = PrunedReLU(share=2.0)(values)
    assert outputs.isfinite().all()
    assert torch.autograd.grad(outputs.sum(), values)[0].isfinite().all()


@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS)
@pytest.mark.parametrize("name", ["mlp", "lenet+", "lenet-c", "resnet-18", "vgg-11"])
def test_any_network_can_be_given_any_activation(name, activation):
    width = {} if name == "mlp" else {"width": 2}
    inputs = (3, 32, 32) if name == "vgg-11" else (1, 10, 10)
    network = build(name, inputs=inputs, classes=5, **width).eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    changed = with_activation(network, activation)
    assert not any(isinstance(part, nn.ReLU) for part in changed.modules())
    assert any(isinstance(part, nn.ReLU) for part in network.modules())
    assert not any(part.training for part in changed.modules())
    assert all(map(torch.equal, changed.state_dict().values(), before.values()))
    assert changed.state_dict().keys() == before.keys()
    for dtype in (torch.float32, torch.float64):
        images, model = images_for(2, inputs, dtype=dtype), changed.to(dtype)
        state = torch.get_rng_state()
        assert model(images).dtype == dtype
        assert gradient(model, images).isfinite().all()
        assert torch.equal(torch.get_rng_state(), state) == (not isinstance(activation, PrunedReLU))
    assert all(map(torch.equal, network.state_dict().values(), before.values()))


def test_every_network_but_the_linear_one_has_relus_to_replace():
    with torch.device("meta"):
        has = {name for name in MODELS if any(isinstance(one, nn.ReLU) for one in made(name).modules())}
    assert has == set(MODELS) - {"linear"}


def made(name):
    return MODELS[name](inputs=(3, 32, 32), classes=5)


def test_one_relu_in_two_places_is_replaced_in_both():
    shared = nn.ReLU()
    changed = with_activation(nn.Sequential(shared, nn.Sequential(shared, nn.Tanh())), KWinners())
    assert [type(part) for part in (changed[0], *changed[1])] == [KWinners, KWinners, nn.Tanh]
    assert changed[0] is not changed[1][0]


@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_pruned_or_not_outputs_follow_the_seed(activation, network):
    images, changed = images_for(), with_activation(network, activation)
    with undisturbed(changed, seed=1):
        first = changed(images)
    with undisturbed(changed, seed=1):
        assert torch.equal(first, changed(images))


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
