"""Vivek et al. 2019: the measurements of a network, by hand where they can be had."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from interruptions import killer
from unmask.attacks import PGD
from unmask.data import Dataset
from unmask.gradients import input_gradient
from unmask.losses import cross_entropy
from unmask.models import build
from unmask.numerics import Batches
from unmask_experiments.vivek2019.evaluate import Evaluation, LossCurves, alignment, in_parts, pgd_ends
from unmask_experiments.vivek2019.precision import (
    DRAWS,
    InBfloat16,
    moved_weights,
    rounded_to_bfloat16,
    rounded_weights,
)

BATCHES = Batches(size=500)


@pytest.fixture
def steep():
    """A linear network of two classes on images of one pixel, right above a half, and nowhere near saturated."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2, bias=False))
    model[1].weight.data.copy_(torch.tensor([[0.0], [4.0]]))
    shifted = nn.Sequential(model, Shift())
    images = torch.tensor([0.05, 0.3, 0.45, 0.56, 0.7, 0.95]).view(-1, 1, 1, 1)
    labels = torch.tensor([0, 0, 0, 1, 1, 0])
    return shifted, Dataset(name="pixels", images=images, labels=labels, classes=("low", "high"))


class Shift(nn.Module):
    """Takes 2 from the second logit."""

    def forward(self, logits):
        return logits - torch.tensor([0.0, 2.0])


def test_an_evaluation_counts_who_stands(steep):
    model, data = steep
    found = Evaluation(epsilon=0.1, step_size=0.01, steps=(4, 5, 20))(model, data)
    # By hand: within 0.1 of the boundary falls; 5 steps of 0.01 from a random start may not get there, 20 do.
    assert found["standing"]["clean"] == 5
    assert {found["standing"][name] for name in ("fgsm", "fgsm log-odds", "ifgsm", "longer pgd", "worst")} == {3}
    assert 3 <= found["standing"]["pgd"] <= 5
    assert found["loss"]["clean"] < found["loss"]["pgd"] <= found["loss"]["longer pgd"] <= found["loss"]["fgsm"] + 1e-6


def test_an_evaluation_in_parts_is_the_same_and_goes_on_after_a_kill(steep, tmp_path):
    model, data = steep
    measure = Evaluation(epsilon=0.1, step_size=0.01, steps=(4, 5, 20))
    whole = measure(model, data)
    with pytest.raises(KeyboardInterrupt):
        in_parts(measure, model, data, folder=tmp_path, progress=killer(1), size=4)
    (first,) = tmp_path.iterdir()
    first.write_text(first.read_text().replace('"clean": 4', '"clean": 104'))
    shares = []
    found = in_parts(measure, model, data, folder=tmp_path, progress=shares.append, size=4)
    assert shares == [4 / 6, 1.0]
    assert found["standing"] == whole["standing"] | {"clean": whole["standing"]["clean"] + 100}
    assert found["loss"] == pytest.approx(whole["loss"], rel=1e-12)


def test_one_path_gives_the_ends_of_two_pgds(perceptron, held_out):
    images, labels = held_out.images[:40], held_out.labels[:40]
    ends = pgd_ends(perceptron, images, labels, epsilon=0.2, steps=(3, 7), size=0.05, seed=4)
    for end, steps in zip(ends, (3, 7), strict=True):
        alone = PGD(epsilon=0.2, steps=steps, step_size=0.05, keep="last", loss=cross_entropy, seed=4)
        assert torch.equal(end, alone(perceptron, images, labels))


def test_curves_begin_at_the_clean_loss_and_agree_on_a_linear_model(linear, held_out):
    measure = LossCurves(epsilon=0.2, epsilons=(0.1, 0.2), noise=0.01, steps=40, step_size=0.2 / 30)
    found = measure(linear, held_out.sample(50, 0))
    clean = cross_entropy(linear(held_out.sample(50, 0).images), held_out.sample(50, 0).labels).mean()
    for attack in ("FGSM", "R-FGSM", "PGD"):
        assert found[attack]["loss"][0] == pytest.approx(clean.item(), rel=1e-5)
        assert sorted(found[attack]["loss"]) == found[attack]["loss"]
    assert found["PGD"]["loss"][2] == pytest.approx(found["FGSM"]["loss"][2], rel=0.1)


def test_a_linear_model_of_two_classes_has_the_same_gradient_everywhere(steep):
    model, data = steep
    found = alignment(model, data, noise=0.05, epsilon=0.3, seed=0, batches=BATCHES)
    assert found == pytest.approx({"noise": 1.0, "ball": 1.0})


def test_in_bfloat16_the_logits_are_coarser_and_come_back_in_float32(perceptron, held_out):
    logits, exact = InBfloat16(perceptron)(held_out.images), perceptron(held_out.images)
    assert logits.dtype == torch.float32
    assert 0 < (logits - exact).abs().max() < 0.1 * exact.abs().max()


def test_rounding_to_bfloat16_gives_the_logits_and_gradients_of_its_units():
    model = build("lenet+", inputs=(1, 8, 8), classes=10, width=4, seed=0)
    images, labels = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 10
    exact, units, rounded = (
        input_gradient(one, images, labels, loss=cross_entropy)
        for one in (model, InBfloat16(model), rounded_to_bfloat16(model))
    )
    for kind in ("logits", "gradient"):
        coarse, alike, fine = (getattr(one, kind) for one in (units, rounded, exact))
        assert (alike - coarse).abs().mean() < 0.5 * (alike - fine).abs().mean()


def test_weights_move_as_far_as_rounding_moves_them_and_differently_in_each_draw(perceptron):
    rounded, *moved = (
        torch.cat([weights.flatten() for weights in one.parameters()])
        for one in (rounded_weights(perceptron), *(moved_weights(perceptron, draw) for draw in range(DRAWS)))
    )
    exact = torch.cat([weights.flatten() for weights in perceptron.parameters()])
    assert torch.equal(rounded.bfloat16().float(), rounded)
    for one in moved:
        assert torch.allclose((one - exact).abs(), (rounded - exact).abs(), atol=1e-7)
        assert 0.3 < (one > exact).float().mean() < 0.7
    assert not torch.equal(moved[0], moved[1])
