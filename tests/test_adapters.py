"""Other people's models and attacks: as models and attacks of ours, and the model none the worse for it."""

from __future__ import annotations

import copy
import random
import sys
import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from onnx_files import onnx_file
from unmask.adapters import (
    art_attack,
    black_box,
    foolbox_attack,
    hugging_face,
    normalised,
    onnx,
    timm,
    torchattacks_attack,
)
from unmask.adapters.stand_in import StandIn, isolated
from unmask.attacks import FGSM, FRSM, PGD, Square
from unmask.attacks.trial import predict
from unmask.auditing.runner import audit
from unmask.gradients import NoGradientError, input_gradient
from unmask.losses import cross_entropy

EPSILON = 0.1


def load(name):
    """A library; what it warns of while it is imported is its own affair."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason=f"{name} is not installed")


@pytest.fixture(scope="module")
def task(held_out):
    return held_out.images[:100], held_out.labels[:100]


def as_function(model):
    """The same model as a function of numpy arrays."""

    def answer(images):
        with torch.no_grad():
            return model(torch.from_numpy(images)).numpy()

    return answer


# --- models that want other inputs


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
    found, expected = FGSM(epsilon=EPSILON)(model, *task), FGSM(epsilon=EPSILON)(plain, *task)
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
    assert audit(model, task[0][:20], labels, epsilon=0.5).clean.value == 1


# --- black boxes


def test_a_black_box_answers_as_its_function_does(perceptron, task):
    model = black_box(as_function(perceptron))
    assert torch.equal(model(task[0]), perceptron(task[0]))
    assert not model.training
    assert torch.equal(
        predict(black_box(lambda x: x.reshape(len(x), -1).tolist()), task[0]), task[0].flatten(1).argmax(1)
    )


GRADIENT_ATTACKS = [FGSM(epsilon=EPSILON), PGD(epsilon=EPSILON, steps=2)]


@pytest.mark.parametrize("attack", GRADIENT_ATTACKS, ids=lambda attack: type(attack).__name__)
def test_a_black_box_says_that_it_has_no_gradient(attack, perceptron, task):
    """Were the gradient taken for zero, the attack would change nothing and the model look robust."""
    model = black_box(as_function(perceptron))
    for wrapped in (model, nn.Sequential(model), normalised(model, 0.0, 1.0), lambda images: 2 * model(images)):
        with pytest.raises(
            NoGradientError, match="model: gives no gradients; expected an attack on scores alone, such"
        ):
            attack(wrapped, *task)


def test_a_black_box_is_searched_as_the_model_itself(perceptron, task):
    attack = Square(epsilon=EPSILON, queries=30)
    assert torch.equal(attack(black_box(as_function(perceptron)), *task), attack(perceptron, *task))


@pytest.mark.parametrize(
    "settings", [{}, {"batch": 1}, {"batch": 7}, {"double": True}, {"labels_first": True}], ids=str
)
def test_an_onnx_file_is_a_black_box(settings, linear, task, tmp_path):
    load("onnxruntime")
    model = onnx(onnx_file(tmp_path / "linear.onnx", linear, **settings))
    torch.testing.assert_close(model(task[0]).float(), linear(task[0]), rtol=1e-4, atol=1e-4)
    with pytest.raises(NoGradientError):
        FGSM(epsilon=EPSILON)(model, *task)


def test_a_file_that_is_no_onnx_model_is_refused(tmp_path):
    load("onnxruntime")
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(ValueError, match=r"text\.onnx: expected an ONNX model, got "):
        onnx(tmp_path / "text.onnx")
    package = load("onnx")
    make = package.helper
    whole = [make.make_tensor_value_info(name, package.TensorProto.INT64, [1]) for name in "xy"]
    graph = make.make_graph([make.make_node("Identity", ["x"], ["y"])], "whole", whole[:1], whole[1:])
    package.save(
        make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8), tmp_path / "whole.onnx"
    )
    with pytest.raises(ValueError, match=r"expected one input and an output of floats, got \['tensor\(int64\)'\]"):
        onnx(tmp_path / "whole.onnx")


def test_a_missing_runtime_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (tmp_path / "a.onnx").write_bytes(b"")
    with pytest.raises(ValueError, match=r"onnxruntime: not installed; pip install 'unmask\[onnx\]'"):
        onnx(tmp_path / "a.onnx")


# --- an audit without gradients


def test_an_audit_says_what_it_could_not_run(perceptron, task):
    report = audit(black_box(as_function(perceptron)), *task, epsilon=EPSILON)
    whole = audit(perceptron, *task, epsilon=EPSILON)
    assert report.verdict == "inconclusive"
    missing = f"{len(report.not_run) - 1} checks could not be run (no gradients): what is left standing may be"
    assert missing in report.decision.reason
    assert set(report.not_run.values()) == {"no gradients", "scores serve a search as well"}
    there, here = ({finding.name for finding in one.findings} for one in (whole, report))
    assert there - here == set(report.not_run) - {"non-differentiable operations"}
    assert here - there == {"reference attack weaker than queries"}
    assert [attack.name for attack in report.attacks] == ["reference attack", "1000 queries", "random signs, 10 draws"]
    assert report.reference.startswith("Square: epsilon 0.1, queries 1000")
    assert report.clean == whole.clean
    assert report.robust.count < report.clean.count
    assert [curve.name for curve in report.curves] == ["100 queries", "random signs"]
    text = " ".join(report.to_text().split())
    assert "Not run - no gradients: float32 saturation, logit scale, too little precision, " in text


def test_a_claim_about_a_black_box_may_rest_on_any_attack(perceptron, task, tmp_path):
    report = audit(black_box(as_function(perceptron)), *task, epsilon=EPSILON, reference=FRSM(epsilon=EPSILON))
    assert [weakness.name for weakness in report.decision.weaknesses] == ["reference attack weaker than queries"]
    assert (report.verdict, report.causes) == ("inconclusive", [])
    assert report.robust.value < report.claimed.value
    assert [attack.name for attack in report.attacks][-2:] == ["1000 queries", "random signs, 10 draws"]
    report.to_html(tmp_path / "report.html")
    assert "no gradients: float32 saturation, logit scale" in (tmp_path / "report.html").read_text()


def test_where_nothing_is_left_standing_nothing_is_masked(perceptron, held_out):
    report = audit(
        black_box(as_function(perceptron)), held_out.images, held_out.labels, epsilon=0.3, reference=FRSM(epsilon=0.3)
    )
    assert report.robust.high < 0.02
    assert report.verdict == "not masked"
    assert "are left standing, too few for masking to matter" in report.decision.reason
    assert report.decision.weaknesses


def test_a_reference_that_needs_gradients_is_refused_in_one_line(perceptron, task):
    with pytest.raises(ValueError, match="model: gives no gradients; expected an attack on scores alone, such as Squ"):
        audit(black_box(as_function(perceptron)), *task, epsilon=EPSILON, reference=FGSM(epsilon=EPSILON))


def test_a_black_box_may_return_probabilities(perceptron, task):
    model = black_box(lambda x: torch.from_numpy(as_function(perceptron)(x)).softmax(1).numpy())
    report = audit(model, *task, epsilon=EPSILON)
    assert "returns probabilities" in report.notes[0]
    assert report.not_run


# --- other people's attacks


def foolbox_pgd():
    foolbox = load("foolbox")
    return foolbox_attack(foolbox.attacks.LinfPGD(steps=5, abs_stepsize=0.03, random_start=False), EPSILON)


def foolbox_random():
    return foolbox_attack(load("foolbox").attacks.LinfPGD(steps=5), EPSILON, seed=3)


def foolbox_minimal():
    return foolbox_attack(load("foolbox").attacks.LinfDeepFoolAttack(steps=5), EPSILON)


def torchattacks_pgd():
    return torchattacks_attack(load("torchattacks").PGD, eps=EPSILON, alpha=0.03, steps=5, random_start=False)


def torchattacks_random():
    return torchattacks_attack(load("torchattacks").PGD, eps=EPSILON, alpha=0.03, steps=5, seed=3)


def torchattacks_square():
    return torchattacks_attack(load("torchattacks").Square, eps=EPSILON, n_queries=20)


def art_pgd():
    attack = load("art.attacks.evasion").ProjectedGradientDescentPyTorch
    return art_attack(attack, eps=EPSILON, eps_step=0.03, max_iter=5)


def art_square():
    return art_attack(load("art.attacks.evasion").SquareAttack, eps=EPSILON, max_iter=20)


FIXED = [foolbox_pgd, torchattacks_pgd, art_pgd]
SEARCHES = [torchattacks_square, art_square]
FOREIGN = [*FIXED, foolbox_random, foolbox_minimal, torchattacks_random, *SEARCHES]
named = pytest.mark.parametrize("make", FOREIGN, ids=lambda make: make.__name__)


@named
def test_a_foreign_attack_stays_in_the_ball_and_fools_some(make, perceptron, task):
    found = make()(perceptron, *task)
    assert found.shape == task[0].shape
    assert found.dtype == torch.float32
    assert not found.requires_grad
    assert found.min() >= 0
    assert found.max() <= 1
    assert 0 < (found - task[0]).abs().max() <= EPSILON + 1e-6
    assert (predict(perceptron, found) == task[1]).sum() < (predict(perceptron, task[0]) == task[1]).sum()


@named
def test_a_foreign_attack_leaves_no_trace(make, perceptron, task):
    attack = make()
    model = nn.Sequential(copy.deepcopy(perceptron), nn.Dropout(0.5), nn.BatchNorm1d(10)).train()
    model[0].eval()
    kept = torch.ones_like(model[0][1].weight)
    model[0][1].weight.grad = kept
    modes = [part.training for part in model.modules()]
    weights = copy.deepcopy(model.state_dict())
    torch.manual_seed(5)
    state = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    first = attack(model, *task)
    assert torch.equal(torch.get_rng_state(), state[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == state[1:]
    assert [part.training for part in model.modules()] == modes
    assert all(torch.equal(one, weights[name]) for name, one in model.state_dict().items())
    assert model[0][1].weight.grad is kept
    assert torch.equal(kept, torch.ones_like(kept))
    assert all(one.requires_grad and one.grad is None for name, one in model.named_parameters() if name != "0.1.weight")
    torch.rand(1)
    np.random.random()
    assert torch.equal(attack(model, *task), first)  # whatever others draw


@pytest.mark.parametrize("make", FIXED, ids=lambda make: make.__name__)
def test_the_same_attack_finds_the_same_images_through_any_library(make, perceptron, task):
    """Five steps of 0.03 from the image along the signs of cross entropy's gradient, but for the signs of zeros."""
    ours = PGD(epsilon=EPSILON, steps=5, step_size=0.03, start="clean", keep="last", loss=cross_entropy)
    found, expected = make()(perceptron, *task), ours(perceptron, *task)
    assert ((found - expected).abs() < 1e-5).double().mean() > 0.99


@pytest.mark.parametrize("make", [foolbox_pgd, torchattacks_pgd, art_pgd], ids=lambda make: make.__name__)
def test_a_foreign_attack_takes_any_callable_and_precision(make, perceptron, task):
    double = copy.deepcopy(perceptron).double()
    found = make()(lambda images: double(images), task[0].double(), task[1])
    assert found.dtype == torch.float64
    assert (found - task[0]).abs().max() <= EPSILON + 1e-6
    expected = make()(perceptron, *task)
    assert ((found - expected).abs() < 1e-5).double().mean() > 0.99


@pytest.mark.parametrize("make", SEARCHES, ids=lambda make: make.__name__)
def test_a_foreign_search_attacks_a_black_box(make, perceptron, task):
    assert torch.equal(make()(black_box(as_function(perceptron)), *task), make()(perceptron, *task))


@pytest.mark.parametrize("make", FIXED, ids=lambda make: make.__name__)
def test_a_foreign_attack_that_needs_gradients_gets_none_of_a_black_box(make, perceptron, task):
    with pytest.raises(NoGradientError, match="model: gives no gradients"):
        make()(black_box(as_function(perceptron)), *task)


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (foolbox_pgd, "Foolbox: attack LinfProjectedGradientDescentAttack(rel_stepsize=0.0333"),
        (torchattacks_pgd, "Torchattacks: attack PGD, epsilon 0.1, settings {'alpha': 0.03, 'steps': 5, 'random_"),
        (art_pgd, "ART: attack ProjectedGradientDescentPyTorch, epsilon 0.1, settings {'eps_step': 0.03, 'max_i"),
    ],
    ids=["foolbox", "torchattacks", "art"],
)
def test_a_foreign_attack_is_an_audits_reference(make, settings, perceptron, task):
    attack = make()
    images, labels = task[0][:40], task[1][:40]
    report = audit(perceptron, images, labels, epsilon=EPSILON, reference=attack)
    assert report.reference.startswith(settings)
    assert report.claimed.count == int((predict(perceptron, attack(perceptron, images, labels)) == labels).sum())
    found = {finding.name for finding in report.findings}
    assert {"attack fails at epsilon 1", "more epsilon fools fewer"} <= found  # it was run at other epsilons too
    with pytest.raises(
        ValueError, match=r"reference attack: expected images in \[0, 1\] within epsilon 0.1, got pixels mov"
    ):
        audit(perceptron, images, labels, epsilon=EPSILON, reference=replace(attack, epsilon=0.3))


def test_an_attack_without_an_epsilon_is_not_run_at_epsilon_one(perceptron, task):
    attack = torchattacks_attack(load("torchattacks").DeepFool, steps=2)
    assert attack.epsilon is None
    report = audit(perceptron, task[0][:20], task[1][:20], epsilon=1.0, reference=attack)
    assert "attack fails at epsilon 1" not in {finding.name for finding in report.findings}


def test_an_epsilon_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"epsilon: expected a number in \[0, 1\], got 8"):
        foolbox_attack("LinfPGD", 8)


@pytest.mark.parametrize(
    ("attack", "library", "message"),
    [
        (foolbox_attack(print, 0.1), "foolbox", "foolbox: not installed, or broken .*; pip install foolbox"),
        (
            art_attack(print),
            "art.estimators.classification",
            "adversarial-robustness-toolbox: not installed, or broken",
        ),
    ],
)
def test_a_missing_library_is_one_line(attack, library, message, monkeypatch, task):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ValueError, match=message):
        attack(nn.Flatten(), *task)


# --- the stand-in


def test_a_stand_in_passes_on_every_gradient(perceptron, task):
    """Once and again through one forward pass, as attacks do that ask class by class."""
    images = task[0][:5].clone().requires_grad_()

    def gradients(model):
        logits = model(images)
        values = [*logits[:, :3].sum(0), cross_entropy(logits, task[1][:5]).sum()]
        return [torch.autograd.grad(value, images, retain_graph=True)[0] for value in values]

    found, expected = gradients(StandIn(perceptron, images)), gradients(perceptron)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_a_stand_in_for_a_model_without_a_path_gives_zero(task):
    images = task[0][:2].clone().requires_grad_()
    StandIn(lambda x: torch.zeros(len(x), 3), images)(images).sum().backward()
    assert torch.equal(images.grad, torch.zeros_like(images))


def test_random_states_come_back_after_an_error():
    states = torch.get_rng_state(), random.getstate()

    def fail():
        random.random()
        raise RuntimeError("no luck")

    with pytest.raises(RuntimeError, match="no luck"), isolated(nn.Flatten(), seed=0):
        fail()
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
