"""Training: it learns, and what it cannot use is refused before anything is computed."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from training_cases import RESUMED, assert_same, convolutional, dropping, run
from unmask.attacks import FGSM, PGD, predict
from unmask.models import build
from unmask.training import Steps, Trainer
from unmask.training.objectives import Adversarial


def test_it_learns_the_digits(perceptron, held_out):
    assert (predict(perceptron, held_out.images) == held_out.labels).double().mean() > 0.95


def test_an_epoch_is_a_pass_over_all_images(few):
    ticks = []
    epochs = run(RESUMED, dropping(), few, progress=ticks.append)
    assert [(epoch.number, epoch.update) for epoch in epochs] == [(1, 4), (2, 8), (3, 10)]
    assert ticks == [1] * 10
    seen = []
    watch = Adversarial(attack=lambda model, images, labels: (seen.append(images), images)[1])
    run(replace(RESUMED, objective=watch, updates=8), dropping(), few)
    first, second = torch.cat(seen[:4]), torch.cat(seen[4:])
    assert not torch.equal(first, second)
    for passed in (first, second):
        assert torch.equal(passed.flatten(1).sum(1).sort().values, few.images.flatten(1).sum(1).sort().values)


def test_float64_takes_the_same_path_with_more_digits(digits):
    models = {}
    for precision in ("float32", "float64"):
        models[precision] = build("mlp", inputs=(1, 8, 8), classes=10, widths=(16,))
        run(Trainer(updates=18, precision=precision, optimizer="sgd"), models[precision], digits)
    assert {one.dtype for one in models["float64"].parameters()} == {torch.float64}
    torch.testing.assert_close(models["float64"].float().state_dict(), models["float32"].state_dict())


@pytest.mark.parametrize("objective", [PGD(0.05, steps=2), FGSM(0.05)], ids=["pgd", "fgsm"])
def test_bf16_mixed_keeps_the_weights_in_float32(objective, digits):
    trainer = Trainer(
        updates=30, precision="bf16-mixed", objective=Adversarial(attack=objective), learning_rate=0.01, batch_size=60
    )
    model = convolutional()
    epochs = run(trainer, model, digits)
    assert {one.dtype for one in model.parameters()} == {torch.float32}
    assert epochs[-1].loss < 0.9 * epochs[0].loss


def test_channels_last_changes_the_result_by_rounding_only(digits):
    usual, last = convolutional(), convolutional()
    epochs = run(Trainer(updates=18), usual, digits)
    again = run(Trainer(updates=18, channels_last=True), last, digits)
    assert last[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert [epoch.loss for epoch in again] == pytest.approx([epoch.loss for epoch in epochs], rel=1e-4)
    torch.testing.assert_close(last.state_dict(), usual.state_dict(), rtol=0, atol=1e-4)


def test_the_schedule_sets_the_learning_rate_of_each_update(few):
    model = dropping()
    before = [one.clone() for one in model.parameters()]
    stopped = replace(RESUMED, updates=4, schedule=Steps(at=(0,), factors=(0.0,)))
    run(stopped, model, few)
    assert all(torch.equal(*pair) for pair in zip(model.parameters(), before, strict=True))


def test_the_global_random_state_is_left_alone(few):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    for _ in RESUMED(dropping(), few):
        assert torch.equal(torch.get_rng_state(), before)
    model = dropping()
    torch.rand(1)  # nor does it matter
    run(RESUMED, model, few)
    run(RESUMED, other := dropping(), few)
    assert_same(model, other)


# --- models


def test_a_last_batch_of_one_image_is_too_small_for_batch_norm(few):
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 10))
    size = len(few) - 1
    message = f"batch_size: expected one that leaves no batch of one image, .* got {size} for {len(few)} images"
    with pytest.raises(ValueError, match=message):
        run(Trainer(updates=2, batch_size=size), model, few)


def test_complex_and_whole_numbers_stay_as_they_are(few):
    class Filtered(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("filter", torch.exp(2j * torch.pi * torch.rand(8, 8)))
            self.last = nn.Linear(64, 10)

        def forward(self, images):
            return self.last(torch.fft.ifft2(torch.fft.fft2(images) * self.filter).real.flatten(1))

    model = Filtered()
    before = model.filter.clone()
    run(replace(RESUMED, updates=1), model, few)
    assert torch.equal(model.filter, before)


def test_a_part_in_evaluation_mode_stays_so_while_the_rest_trains(few):
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16)).requires_grad_(False).eval()
    model, modes = nn.Sequential(backbone, nn.Linear(16, 10)), []
    before = copy.deepcopy(backbone)
    for _ in RESUMED(model, few):
        modes.append((model.training, backbone.training))
        model.eval()  # as one does to evaluate between the passes
    assert set(modes) == {(True, False)}
    assert_same(backbone, before)


def test_so_it_does_when_resumed_after_an_evaluation(few, tmp_path):
    def frozen():
        torch.manual_seed(0)
        backbone = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16)).requires_grad_(False).eval()
        return nn.Sequential(backbone, nn.Linear(16, 10))

    run(RESUMED, through := frozen(), few)
    next(RESUMED(model := frozen(), few, checkpoint=tmp_path))
    run(RESUMED, model.eval(), few, checkpoint=tmp_path, resume=True)
    assert_same(model, through)
    assert [part.training for part in model] == [False, True]


def test_a_model_in_evaluation_mode_as_a_whole_is_trained(few):
    for _ in RESUMED(model := dropping().eval(), few):
        assert all(part.training for part in model.modules())


@pytest.mark.parametrize("layer", [nn.LazyLinear(16), nn.LazyBatchNorm1d(affine=False)])
def test_a_network_without_weights_as_yet_is_refused(layer, few):
    model = nn.Sequential(nn.Flatten(), layer, nn.Linear(16, 10))
    with pytest.raises(ValueError, match=r"model: expected weights, got layers that make theirs later \(lazy\)"):
        next(RESUMED(model, few))


# --- refusals


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"updates": 0}, "updates and batch_size: expected whole numbers from 1 up, got 0 and 30"),
        ({"batch_size": 0}, "updates and batch_size: expected whole numbers from 1 up, got 10 and 0"),
        ({"updates": 3.0}, "updates and batch_size: expected whole numbers from 1 up, got 3.0 and 30"),
        ({"schedule": 0.1}, r"schedule: expected one of unmask.training.optimizers, such as Constant\(\), got 0.1"),
        ({"learning_rate": float("nan")}, "learning_rate: expected a finite number above 0, got nan"),
        ({"weight_decay": -1}, "weight_decay: expected a finite number from 0 up, got -1"),
        ({"objective": "fgsm"}, "objective: expected one of unmask.training.objectives, .* got 'fgsm'"),
        ({"objective": FGSM(epsilon=0.1)}, r"objective: expected one that takes \(.*, step\), got FGSM\(epsilon=0.1"),
        ({"objective": lambda model, images, labels: 0}, r"objective: expected one that takes \(.*, step\), got <lamb"),
        ({"precision": "float16"}, "precision: expected 'float32', 'float64' or 'bf16-mixed', got 'float16'"),
    ],
)
def test_impossible_settings_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        replace(RESUMED, **setting)


def test_an_unknown_optimizer_is_refused(few):
    with pytest.raises(ValueError, match=r"optimizer: expected one of sgd, .*, got 'lion'"):
        next(replace(RESUMED, optimizer="lion")(dropping(), few))


@pytest.mark.parametrize(
    ("loss", "found"),
    [
        (lambda logits: functional.cross_entropy(logits, logits.argmax(1), reduction="none"), r"of shape .*\(30,\)"),
        (lambda logits: logits.sum().item(), "of shape .* got float"),
        (lambda logits: logits.detach().sum(), "with a gradient, got one without; is it detached"),
    ],
)
def test_an_objective_that_returns_no_loss_is_refused(loss, found, few):
    with pytest.raises(ValueError, match=f"objective: expected a loss {found}"):
        next(replace(RESUMED, objective=lambda model, images, labels, *, step: loss(model(images)))(dropping(), few))


def test_numpys_whole_numbers_are_whole_numbers():
    assert Trainer(updates=np.int64(3), batch_size=np.int32(2)).updates == 3


def test_a_watch_is_a_watch(few):
    with pytest.raises(ValueError, match=r"watch: expected an unmask\.training\.watch\.Watch, got int"):
        next(RESUMED(dropping(), few, watch=100))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Softmax(1)), "expected logits, got probabilities"),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 7)), r"expected logits \(N, 10\) for 10 classes, got \(N, 7\)"),
        (nn.Flatten(), "expected weights to train, got none that ask for a gradient"),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).requires_grad_(False), "expected weights to train, got none"),
        (torch.flatten, "expected a torch module to train, got builtin_function_or_method"),
        (nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), r"raised RuntimeError on images \(2, 1, 8, 8\)"),
    ],
)
def test_a_model_that_does_not_fit_the_data_is_refused_before_anything_is_written(model, message, few, tmp_path):
    with pytest.raises(ValueError, match=f"^model: {message}"):
        next(RESUMED(model, few, checkpoint=tmp_path / "run"))
    assert not (tmp_path / "run").exists()
