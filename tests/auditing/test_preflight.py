"""The preflight: images from anywhere, and checks on the model and a surrogate before anything is attacked."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from unmask.adapters import black_box
from unmask.attacks import predict
from unmask.auditing.preflight import LogProbabilities, check_surrogate, chosen, gather, preflight
from unmask.gradients import input_gradient
from unmask.models.masked import SoftmaxOutput
from unmask.numerics import Batches

IMAGES = torch.linspace(0, 1, 5 * 4).view(5, 1, 2, 2)
LABELS = torch.tensor([0, 1, 2, 3, 0])


def flat(images):
    """The four pixels as the logits of four classes."""
    return images.flatten(1)


def look(model, images=IMAGES, labels=LABELS, *, size=256, **options):
    return preflight(model, images, labels, batches=Batches(size=size), **options)


def test_images_come_from_any_iterable_of_batches():
    dataset = TensorDataset(IMAGES, LABELS)
    sources = [
        [(IMAGES[:2], LABELS[:2]), (IMAGES[2:], LABELS[2:])],
        DataLoader(dataset, batch_size=2),
        (pair for pair in [(IMAGES, LABELS)]),
        [[IMAGES.clone().requires_grad_(), LABELS]],
    ]
    for source in sources:
        images, labels = gather(source, None)
        assert torch.equal(images, IMAGES)
        assert torch.equal(labels, LABELS)
        assert not images.requires_grad


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES, None, r"labels: expected a tensor \(N,\) beside the images, got none"),
        ([], None, "images: expected at least one batch, got none"),
        (IMAGES[:0], LABELS[:0], "images: expected at least one, got none"),
        (
            IMAGES[:, 0],
            LABELS,
            r"images: expected a floating tensor \(N, C, H, W\), got torch.float32 of shape \(5, 2, 2",
        ),
        ((IMAGES * 255).to(torch.uint8), LABELS, "images: expected a floating tensor .*, got torch.uint8"),
        (
            IMAGES * 255,
            LABELS,
            r"images: expected pixels in \[0, 1\], got 0 to 255; put normalisation inside the model",
        ),
        (IMAGES * float("nan"), LABELS, r"images: expected pixels in \[0, 1\], got nan"),
        (IMAGES, LABELS.float(), r"labels: expected int64 of shape \(5,\), got torch.float32"),
        (IMAGES, LABELS[:4], r"labels: expected int64 of shape \(5,\), got torch.int64 of shape \(4,\)"),
    ],
)
def test_input_that_is_not_images_with_labels_is_refused(images, labels, message):
    with pytest.raises(ValueError, match=message):
        gather(images, labels)


def fails(images):
    raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (lambda x: flat(x)[:, :3], {}, r"model: expected logits \(N, 4\) for 4 classes, got \(N, 3\)"),
        (flat, {"classes": 5}, r"model: expected logits \(N, 5\) for 5 classes, got \(N, 4\)"),
        (flat, {"classes": 3}, "labels: expected classes from 0 to 2, got 0 to 3"),
        (flat, {"labels": LABELS - 1}, "labels: expected classes from 0 to 2, got -1 to 2"),
        (lambda x: x, {}, r"model: expected logits \(5, classes\) for 5 images, got \(5, 1, 2, 2\)"),
        (lambda x: flat(x)[0], {}, r"model: expected logits \(5, classes\) for 5 images, got \(4,\)"),
        (lambda x: flat(x)[:2], {}, r"model: expected logits \(5, classes\) for 5 images, got \(2, 4\)"),
        (lambda x: (flat(x), x), {}, r"model: expected logits \(5, classes\) for 5 images, got tuple"),
        (lambda x: flat(x).log() * float("nan"), {}, "model: expected finite logits, got NaN on 5 of 5 images"),
        (lambda x: 1 / flat(x), {}, "model: expected finite logits, got infinite values on 1 of 5 images"),
        (fails, {}, r"model: raised RuntimeError on images \(5, 1, 2, 2\): mat1 and mat2 shapes cannot"),
        (lambda x: {}["logits"], {}, "model: raised KeyError on images .*: 'logits'"),
    ],
)
def test_model_that_does_not_return_logits_is_refused(model, options, message):
    with pytest.raises(ValueError, match=message):
        look(model, **options)


def test_batch_too_large_for_the_memory_is_halved():
    def model(images):
        if len(images) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return flat(images)

    assert look(model).classes == 4


def test_plain_model_is_taken_as_it_is():
    audited = look(flat)
    assert audited.model is flat
    assert audited.given is flat
    assert (audited.classes, list(audited.notes)) == (4, [])
    assert audited.gradients
    assert not audited.random


def test_images_take_the_precision_of_the_model():
    assert look(flat).images.dtype == torch.float32
    assert look(nn.Sequential(nn.Flatten(), nn.Linear(4, 4)).eval().double()).images.dtype == torch.float64


def test_black_box_is_known_by_refusing_a_gradient():
    model = black_box(lambda images: images.reshape(len(images), -1))
    assert not look(model).gradients
    assert not look(lambda images: 2 * model(images)).gradients
    assert look(flat).gradients
    assert look(lambda images: flat(images).detach()).gradients  # its gradient is merely zero


class NoWayBack(torch.autograd.Function):
    """Rounds, and defines no backward pass."""

    @staticmethod
    def forward(context, images):
        return images.round()


@pytest.mark.parametrize("operation", [lambda x: x // 0.25, lambda x: torch.heaviside(x, x), NoWayBack.apply])
def test_missing_backward_pass_is_noted_and_gives_gradients_of_zero(operation):
    model = lambda images: flat(operation(images))  # noqa: E731
    audited = look(model)
    assert audited.gradients
    assert audited.notes[0].startswith("The model's backward pass fails (")
    assert torch.equal(predict(audited.model, IMAGES), predict(model, IMAGES))
    assert not input_gradient(audited.model, IMAGES, LABELS).gradient.any()


def test_training_mode_is_noted_and_stays():
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.BatchNorm1d(4)).eval()
    model[1].train()
    before = model[2].running_mean.clone()
    audited = look(model)
    assert list(audited.notes) == ["The model was in training mode; it was audited in evaluation mode."]
    assert [part.training for part in model.modules()] == [False, False, True, False]
    assert torch.equal(model[2].running_mean, before)


def test_probabilities_are_noted_and_become_logits():
    audited = look(SoftmaxOutput(flat).eval())
    assert audited.notes[0].startswith("The model returns probabilities, not logits:")
    assert torch.equal(predict(audited.model, IMAGES), predict(flat, IMAGES))
    torch.testing.assert_close(
        input_gradient(audited.model, IMAGES, LABELS).gradient, input_gradient(flat, IMAGES, LABELS).gradient
    )


@pytest.mark.parametrize("logits", [[[0.5, 0.6]], [[0.5, 0.5], [0.5, 0.6]], [[1.5, -0.5]]])
def test_logits_are_not_taken_for_probabilities(logits):
    rows = torch.tensor(logits)
    assert list(look(lambda x: rows, IMAGES[: len(rows)], LABELS[: len(rows)]).notes) == []


def test_logarithm_of_no_probability_is_finite():
    logits = LogProbabilities(lambda x: torch.tensor([[1.0, 0.0]]))(IMAGES[:1])
    assert logits.isfinite().all()
    assert logits.argmax() == 0


def test_model_that_answers_at_random_is_noted():
    audited = look(lambda images: flat(images) + 0.1 * torch.randn(len(images), 4))
    assert audited.random
    assert "answers at random" in audited.notes[0]


def test_images_are_chosen_by_content_in_any_order():
    rows, back = chosen(IMAGES, 3, seed=0), chosen(IMAGES.flip(0), 3, seed=0)
    assert len(rows) == 3
    assert torch.equal(IMAGES[rows], IMAGES.flip(0)[back].flip(0))
    assert len({tuple(chosen(IMAGES, 3, seed=seed).tolist()) for seed in range(20)}) > 1


def raises(images):
    raise NotImplementedError("aten::mine")


@pytest.mark.parametrize(
    ("surrogate", "message"),
    [
        (lambda x: flat(x)[:, :3], r"surrogate: expected logits \(N, 4\), as the model's, got \(N, 3\)"),
        (raises, "surrogate: raised NotImplementedError on images .*: aten::mine"),
        (
            black_box(lambda x: x.reshape(len(x), -1)),
            r"surrogate: expected gradients, .* \(it is cut off from its input",
        ),
        (lambda x: flat(x // 0.25), r"surrogate: expected gradients, .* got none \(derivative for aten::floor_divide"),
    ],
)
def test_surrogate_without_logits_or_gradients_is_refused(surrogate, message):
    with pytest.raises(ValueError, match=message):
        check_surrogate(surrogate, IMAGES, LABELS, batches=Batches(), classes=4)


def test_surrogate_with_logits_and_gradients_is_taken():
    check_surrogate(flat, IMAGES, LABELS, batches=Batches(), classes=4)
