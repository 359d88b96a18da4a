"""Activations that mask."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from masked_cases import (
    ACTIVATIONS,
    a_network,
    gradient,
    images_for,
    readout,
)
from unmask.models import MODELS, build
from unmask.models.masked import (
    JumpReLU,
    KWinners,
    PrunedReLU,
    SteppedReLU,
    with_activation,
)
from unmask.numerics import undisturbed


@pytest.fixture(scope="module")
def network():
    return a_network()


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
