"""Models without gradients: functions of arrays, ONNX files, and an audit of them."""

from __future__ import annotations

import sys
import warnings
from functools import partial

import pytest
import torch
from torch import nn

import unmask
from onnx_files import onnx_file
from unmask.adapters import black_box, normalised, onnx
from unmask.attacks import FGSM, FRSM, PGD, Square, predict
from unmask.gradients import NoGradientError

EPSILON = 0.1

quick_audit = partial(unmask.audit, effort=unmask.QUICK)


def load(name):
    """Import a library; its own warnings do not count."""
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


# --- black boxes


def test_a_black_box_answers_as_its_function_does(perceptron, task):
    model = black_box(as_function(perceptron))
    assert torch.equal(model(task[0]), perceptron(task[0]))
    assert not model.training
    assert torch.equal(
        predict(black_box(lambda x: x.reshape(len(x), -1).tolist()), task[0]), task[0].flatten(1).argmax(1)
    )


GRADIENT_ATTACKS = [FGSM(EPSILON), PGD(EPSILON, steps=2)]


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
    attack = Square(EPSILON, queries=30)
    assert torch.equal(attack(black_box(as_function(perceptron)), *task), attack(perceptron, *task))


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [{}, {"batch": 1}, {"batch": 7}, {"double": True}, {"labels_first": True}], ids=str
)
def test_an_onnx_file_is_a_black_box(settings, linear, task, tmp_path):
    load("onnxruntime")
    model = onnx(onnx_file(tmp_path / "linear.onnx", linear, **settings))
    torch.testing.assert_close(model(task[0]).float(), linear(task[0]), rtol=1e-4, atol=1e-4)
    with pytest.raises(NoGradientError):
        FGSM(EPSILON)(model, *task)


@pytest.mark.slow
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
    report = quick_audit(black_box(as_function(perceptron)), *task, epsilon=EPSILON)
    whole = quick_audit(perceptron, *task, epsilon=EPSILON)
    assert report.verdict == "inconclusive"
    missing = f"{len(report.not_run) - 1} checks could not be run (no gradients): what is left standing may be"
    assert missing in report.decision.reason
    assert set(report.not_run.values()) == {"no gradients", "scores serve a search as well"}
    there, here = ({finding.name for finding in one.findings} for one in (whole, report))
    assert there - here == set(report.not_run) - {"non-differentiable operations"}
    assert here - there == {"reference attack weaker than queries"}
    assert [attack.name for attack in report.attacks] == ["reference attack", "1000 queries", "random signs, 4 draws"]
    assert report.reference.startswith("Square: epsilon 0.1, queries 1000")
    assert report.clean == whole.clean
    assert report.robust.count < report.clean.count
    assert [curve.name for curve in report.curves] == ["100 queries", "random signs"]
    text = " ".join(report.to_text().split())
    listed = "outputs are probabilities - no gradients: float32 saturation, logit scale, too little precision, "
    assert f"Not run - scores serve a search as well: {listed}" in text


def test_a_claim_about_a_black_box_may_rest_on_any_attack(perceptron, task, tmp_path):
    report = quick_audit(black_box(as_function(perceptron)), *task, epsilon=EPSILON, reference=FRSM(EPSILON))
    assert [weakness.name for weakness in report.decision.weaknesses] == ["reference attack weaker than queries"]
    assert (report.verdict, report.causes) == ("inconclusive", [])
    assert report.robust.value < report.claimed.value
    assert [attack.name for attack in report.attacks][-2:] == ["1000 queries", "random signs, 4 draws"]
    report.to_html(tmp_path / "report.html")
    assert "no gradients: float32 saturation, logit scale" in (tmp_path / "report.html").read_text()


def test_where_nothing_is_left_standing_nothing_is_masked(perceptron, held_out):
    report = quick_audit(
        black_box(as_function(perceptron)), held_out.images, held_out.labels, epsilon=0.3, reference=FRSM(0.3)
    )
    assert report.robust.high < 0.02
    assert report.verdict == "not masked"
    assert "are left standing, too few for masking to matter" in report.decision.reason
    assert report.decision.weaknesses


def test_a_reference_that_needs_gradients_is_refused_in_one_line(perceptron, task):
    with pytest.raises(ValueError, match="model: gives no gradients; expected an attack on scores alone, such as Squ"):
        quick_audit(black_box(as_function(perceptron)), *task, epsilon=EPSILON, reference=FGSM(EPSILON))


def test_a_black_box_may_return_probabilities(perceptron, task):
    model = black_box(lambda x: torch.from_numpy(as_function(perceptron)(x)).softmax(1).numpy())
    report = quick_audit(model, *task, epsilon=EPSILON)
    assert "returns probabilities" in report.notes[0]
    assert report.not_run
