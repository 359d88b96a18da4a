"""Models of other libraries: normalised, resized, and with their gradients intact."""

from __future__ import annotations

import copy
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import unmask
from unmask.adapters import hugging_face, normalised, timm
from unmask.attacks import FGSM, predict
from unmask.gradients import input_gradient
from unmask.losses import log_odds

EPSILON = 0.1


def load(name):
    """Import a library; its own warnings do not count."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason=f"{name} is not installed")


@pytest.fixture(scope="module")
def task(held_out):
    return held_out.images[:100], held_out.labels[:100]


@pytest.mark.parametrize(("mean", "std"), [([0.5, 0.4, 0.3], [0.2, 0.25, 0.5]), (0.5, 0.25), ([0.5], (0.25,))])
def test_images_are_normalised_channel_by_channel(mean, std):
    images = torch.rand(4, 3, 2, 2, dtype=torch.float64)
    expected = (images.numpy() - np.reshape(mean, (-1, 1, 1))) / np.reshape(std, (-1, 1, 1))
    torch.testing.assert_close(normalised(nn.Identity(), mean, std)(images), torch.from_numpy(expected))


def test_a_normalised_model_is_attacked_in_the_units_of_its_images(perceptron, task):
    """A step of epsilon in [0, 1], through the chain rule: the model that wants (x - 0.5) / 0.25 is the same model."""
    wants = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    plain = copy.deepcopy(wants)
    with torch.no_grad():
        plain[1].weight.div_(0.25)
        plain[1].bias.sub_(plain[1].weight.sum(1) * 0.5)
    model = normalised(wants, 0.5, 0.25)
    torch.testing.assert_close(model(task[0]), plain(task[0]), rtol=1e-4, atol=1e-4)
    found, expected = FGSM(EPSILON, loss=log_odds)(model, *task), FGSM(EPSILON, loss=log_odds)(plain, *task)
    assert ((found - expected).abs() < 1e-6).double().mean() > 0.999


def test_what_wraps_a_model_is_no_weight_and_has_its_mode():
    inner = nn.Linear(4, 2).eval()
    model = normalised(inner, 0.5, 0.25)
    assert not model.training
    assert normalised(nn.Linear(4, 2), 0.5, 0.25).training
    assert set(model.state_dict()) == {"model.weight", "model.bias"}
    assert [id(one) for one in model.parameters()] == [id(one) for one in inner.parameters()]


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ([0.5, 0.5], 0.25, "mean and std: expected as many of each, got 2 and 1"),
        (0.5, 0.0, r"std: expected numbers above 0, got \[0.0\]"),
        ([0.5, 0.5], [0.1, -1], r"std: expected numbers above 0, got \[0.1, -1.0\]"),
        ([0.5] * 3, [0.2] * 3, r"mean: expected one per channel \(1\) or one, got 3"),
    ],
)
def test_a_normalisation_that_does_not_fit_is_refused(mean, std, message):
    with pytest.raises(ValueError, match=message):
        normalised(nn.Identity(), mean, std)(torch.rand(1, 1, 2, 2))


def test_a_model_of_timm_brings_its_normalisation():
    network = nn.Flatten()
    network.pretrained_cfg = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "input_size": (3, 2, 2)}
    images = torch.rand(2, 3, 2, 2)
    expected = normalised(nn.Flatten(), network.pretrained_cfg["mean"], network.pretrained_cfg["std"])(images)
    assert torch.equal(timm(network)(images), expected)


def test_a_model_that_is_none_of_timms_is_refused():
    with pytest.raises(
        ValueError, match=r"model: expected one of timm's, .*, got Flatten; use normalised\(model, mean"
    ):
        timm(nn.Flatten())


def test_a_real_model_of_timm_takes_images(task):
    network = load("timm").create_model("resnet10t", pretrained=False, num_classes=10, in_chans=1)
    network.pretrained_cfg = {**network.pretrained_cfg, "mean": (0.5,), "std": (0.25,)}
    images = task[0][:4]
    torch.testing.assert_close(timm(network.eval())(images), network((images - 0.5) / 0.25))


class Classifier(nn.Module):
    """As transformers' image classifiers are called, and what they return."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, pixel_values):
        return SimpleNamespace(logits=self.layer(pixel_values.flatten(1)), loss=None)


SIZES = {
    "none": {},
    "height and width": {"size": {"height": 8, "width": 8}},
    "shortest edge": {"size": {"shortest_edge": 8}},
    "crop": {"size": {"shortest_edge": 9}, "do_center_crop": True, "crop_size": {"height": 8, "width": 8}},
    "no crop": {"size": {"height": 8, "width": 8}, "do_center_crop": False, "crop_size": {"height": 9, "width": 9}},
    "no resizing": {"size": {"height": 9, "width": 9}, "do_resize": False},
}


@pytest.mark.parametrize("settings", SIZES.values(), ids=SIZES)
def test_a_classifier_of_transformers_gives_its_logits(settings, task):
    network = Classifier()
    images = task[0][:5]
    assert torch.equal(hugging_face(network)(images), network(images).logits)
    processor = SimpleNamespace(image_mean=[0.5], image_std=[0.25], **settings)
    torch.testing.assert_close(hugging_face(network, processor)(images), network((images - 0.5) / 0.25).logits)
    bare = hugging_face(network, SimpleNamespace(do_normalize=False, image_mean=None, **settings))
    assert torch.equal(bare(images), network(images).logits)


def test_images_are_resized_inside_the_model_and_keep_their_gradient(task):
    processor = SimpleNamespace(size={"height": 8, "width": 8}, do_normalize=False)
    model = hugging_face(Classifier(), processor)
    large = task[0][:5].repeat_interleave(2, 2).repeat_interleave(2, 3)
    at = input_gradient(model, large, task[1][:5])
    assert at.gradient.shape == (5, 1, 16, 16)
    assert (at.gradient != 0).double().mean() > 0.5
    grey = torch.full((1, 1, 20, 12), 0.25)
    torch.testing.assert_close(model(grey), model(torch.full((1, 1, 8, 8), 0.25)))


def test_a_size_of_another_kind_is_refused():
    with pytest.raises(ValueError, match=r"processor: expected a size with height and width or shortest_edge, got \{'"):
        hugging_face(Classifier(), SimpleNamespace(size={"longest_edge": 8}))


def test_a_real_classifier_of_transformers_takes_images(task):
    transformers = load("transformers")
    settings = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    shape = {"image_size": 8, "patch_size": 4, "num_channels": 1, "num_labels": 10}
    network = transformers.ViTForImageClassification(transformers.ViTConfig(**settings, **shape)).eval()
    processor = transformers.ViTImageProcessorPil(size={"height": 8, "width": 8}, image_mean=[0.5], image_std=[0.5])
    model = hugging_face(network, processor)
    with torch.no_grad():
        expected = network(pixel_values=(task[0] - 0.5) / 0.5).logits
    torch.testing.assert_close(model(task[0]), expected)
    labels = predict(model, task[0][:20])
    assert unmask.audit(model, task[0][:20], labels, epsilon=0.5, effort=unmask.QUICK).clean_accuracy == 1
