"""Adversarial examples: the worst image of each example is kept, and no other or edited file passes for it."""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import replace

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unmask.attacks import Outcome, predict
from unmask.auditing import audit
from unmask.auditing.worst import Worst
from unmask.reports import Report
from unmask.reports.adversarial_examples import read
from unmask.reports.replay import replay

EPSILON = 0.1


@pytest.fixture(scope="module")
def report(perceptron, held_out, tiny):
    return audit(perceptron, held_out.images[:80], held_out.labels[:80], EPSILON, effort=tiny)


@pytest.fixture
def saved(report, tmp_path):
    report.to_json(tmp_path / "report.json")
    report.save_adversarial_examples(tmp_path / "report.safetensors")
    return tmp_path / "report.safetensors"


# --- the worst image


def outcome(*rows):
    """Of one-pixel images: each row is pixel, whether it is still right, and its margin."""
    pixels, correct, margin = zip(*rows, strict=True)
    images = torch.tensor(pixels).view(-1, 1, 1, 1)
    return Outcome(images, 1 - torch.tensor(correct).long(), torch.tensor(correct), *2 * [torch.tensor(margin)])


def test_the_worst_is_misclassified_before_right_and_then_by_margin():
    worst = Worst(outcome((0.0, True, -9.0), (0.0, True, -9.0), (0.0, True, -9.0), (0.0, False, 0.1)))
    worst.add(outcome((0.1, True, -1.0), (0.1, False, 0.5), (0.1, False, 0.5), (0.1, False, 9.0)))
    worst.add(outcome((0.2, True, -2.0), (0.2, True, 3.0), (0.2, False, 0.7), (0.2, True, -9.0)))
    assert worst.images.flatten().tolist() == pytest.approx([0.1, 0.1, 0.2, 0.0])
    assert worst.attack.tolist() == [1, 1, 2, 0]
    assert worst.correct.tolist() == [True, False, False, False]
    assert worst.predictions.tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize("factor", [2.0**-20, 2.0**10])
def test_the_nearest_are_the_same_at_any_scale_of_logits(factor):
    logits, labels = torch.randn(40, 10, dtype=torch.float64), torch.arange(40) % 10
    nearest = []
    for scale in (1.0, factor):
        worst = Worst(Outcome.of(torch.zeros(40, 1, 1, 1, dtype=torch.float64), scale * logits, labels))
        nearest.append(worst.nearest(0.25, among=torch.ones(40, dtype=torch.bool)))
    assert len(nearest[0]) == 10
    assert torch.equal(*nearest)


def test_no_number_is_worse_than_a_right_answer_and_no_worse_than_a_wrong_one():
    nan = float("nan")
    worst = Worst(outcome((0.0, True, -9.0), (0.0, True, -9.0)))
    worst.add(outcome((0.1, False, nan), (0.1, False, 0.5)))
    worst.add(outcome((0.2, True, 3.0), (0.2, False, nan)))
    assert worst.images.flatten().tolist() == pytest.approx([0.1, 0.1])


# --- what an audit hands out


def test_the_adversarial_examples_of_an_audit_give_its_robust_accuracy(report, saved, perceptron, held_out):
    images, labels = held_out.images[:80], held_out.labels[:80]
    found = read(saved, report)
    held = torch.tensor(report.correct["robust"])
    assert found.index.tolist() == (~held).nonzero().flatten().tolist()
    assert len(found.index) == 80 - report.robust.count > 20
    assert torch.equal(found.clean, images[found.index])
    assert torch.equal(found.labels, labels[found.index])
    replayed = replay(perceptron, found.clean, found.adversarial, found.labels, epsilon=EPSILON)
    assert all(bool(test.all()) for test in replayed[:3])
    assert torch.equal(replayed.logits.argmax(1), found.predictions)
    for index, attack, moved in zip(found.index, found.attack, replayed.moved, strict=True):
        assert (moved == 0) == (attack < 0)
        if attack >= 0:
            tried = report.attacks[attack]
            rows = list(tried.rows) or list(range(80))
            assert not tried.correct[rows.index(index)]
    unaided = (~torch.tensor(report.correct["clean"])).nonzero().flatten()
    assert found.index[found.attack < 0].tolist() == unaided.tolist()


def test_the_same_audit_gives_the_same_file(report, perceptron, held_out, tiny):
    again = audit(perceptron, held_out.images[:80], held_out.labels[:80], EPSILON, effort=tiny, batch_size=80)
    assert again.adversarial_examples == report.adversarial_examples
    assert hashlib.sha256(report.adversarial_examples).hexdigest() == report.adversarial_examples_digest


def test_the_file_says_itself_what_it_is(report, saved):
    with safetensors.safe_open(saved, framework="pt") as file:
        note = json.loads(file.metadata()["unmask"])
    assert note["format"] == "unmask-evidence/1"
    assert note["epsilon"] == EPSILON
    assert note["attacks"] == [attack.name for attack in report.attacks]


def test_a_record_is_read_without_the_images(report, saved):
    again = Report.from_json(saved.with_suffix(".json"))
    assert again == report
    assert again.adversarial_examples == b""
    with pytest.raises(
        ValueError, match=r"adversarial examples: expected a report that audit\(\) returned, got one read from JSON"
    ):
        again.save_adversarial_examples(saved)


def test_where_nothing_was_fooled_there_is_a_file_without_images(perceptron, held_out, tiny, tmp_path):
    images = held_out.images[:30]
    report = audit(perceptron, images, predict(perceptron, images), 0.0, effort=tiny)
    report.save_adversarial_examples(tmp_path / "report.safetensors")
    assert len(read(tmp_path / "report.safetensors", report).index) == 0


# --- what is refused


def test_a_report_that_names_no_examples_is_refused(report, saved):
    with pytest.raises(ValueError, match="the report names no adversarial examples; audit again"):
        read(saved, replace(report, adversarial_examples_digest=""))


def test_a_missing_file_is_refused(report, tmp_path):
    with pytest.raises(ValueError, match=r"none\.safetensors: no such file; expected the adversarial examples"):
        read(tmp_path / "none.safetensors", report)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_change_of_any_byte_is_noticed(data, report, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "changed.safetensors"
    content = bytearray(report.adversarial_examples)
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"expected SHA-256 [0-9a-f]{12}\.\.\., as the report says"):
        read(path, report)


def forged(report, change):
    """Examples that someone changed, and the report with the digest changed to fit it."""
    tensors = safetensors.torch.load(report.adversarial_examples)
    content = safetensors.torch.save({name: one.contiguous() for name, one in change(tensors).items()})
    return content, replace(report, adversarial_examples_digest=hashlib.sha256(content).hexdigest())


FORGERIES = {
    "one less": (lambda t: {name: one[1:] for name, one in t.items()}, "adversarial examples, as the report"),
    "whole pixels": (lambda t: t | {"clean": t["clean"].long()}, "floating images"),
    "another shape": (lambda t: t | {"adversarial": t["adversarial"][:, :, :4]}, "an adversarial image like each"),
    "another precision": (lambda t: t | {"adversarial": t["adversarial"].double()}, "an adversarial image like each"),
    "broken labels": (lambda t: t | {"labels": t["labels"].float()}, "one whole number per example"),
    "an index of its own shape": (lambda t: t | {"index": t["index"][:, None]}, "one whole number per example"),
    "an example twice": (lambda t: t | {"index": torch.zeros_like(t["index"])}, "rising places among the images"),
    "an example too far": (lambda t: t | {"index": t["index"] + 80}, "rising places among the images"),
    "a class too many": (lambda t: t | {"labels": t["labels"] + 10}, "labels among the classes"),
    "an attack too many": (lambda t: t | {"attack": t["attack"] + 99}, "attacks of the report"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_examples_and_report_edited_together_are_still_checked(name, report, tmp_path):
    change, message = FORGERIES[name]
    content, record = forged(report, change)
    (tmp_path / "forged").write_bytes(content)
    with pytest.raises(
        ValueError, match=rf"forged: expected .*{message}.*; the adversarial examples or the report were edited"
    ):
        read(tmp_path / "forged", record)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", safetensors.torch.save({"weight": torch.zeros(2)})])
def test_what_is_no_file_of_examples_is_refused(content, report, tmp_path):
    (tmp_path / "other").write_bytes(content)
    record = replace(report, adversarial_examples_digest=hashlib.sha256(content).hexdigest())
    with pytest.raises(ValueError, match=r"other: expected adversarial examples \(unmask-evidence/1\), got "):
        read(tmp_path / "other", record)


def test_a_report_whose_figure_was_edited_is_refused(report, saved):
    better = replace(report, robust=replace(report.robust, count=report.robust.count + 5))
    with pytest.raises(ValueError, match="adversarial examples, as the report says; the adversarial examples or the"):
        read(saved, better)


# --- the digest of images


def test_the_precision_of_the_model_does_not_change_the_images(report, perceptron, held_out, tiny):
    task = held_out.images[:80], held_out.labels[:80]
    assert audit(copy.deepcopy(perceptron).double(), *task, EPSILON, effort=tiny).images_digest == report.images_digest
