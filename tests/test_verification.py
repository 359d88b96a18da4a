"""``unmask.verify``: a true report is confirmed on its own images and on the user's; another model or file is not."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace

import pytest
import torch

import unmask
from unmask.models.masked import InputNoise
from unmask.reports.adversarial_examples import pack, unpack

EPSILON = 0.1
TINY = replace(unmask.QUICK, images=40)


@pytest.fixture(scope="module")
def task(held_out):
    return held_out.images[:60], held_out.labels[:60]


@pytest.fixture(scope="module")
def report(perceptron, task):
    """Of 40 of 60 images."""
    return unmask.audit(perceptron, *task, EPSILON, effort=TINY, seed=3)


@pytest.fixture
def saved(report, tmp_path):
    report.to_json(tmp_path / "report.json")
    report.save_adversarial_examples(tmp_path / "report.safetensors")
    return tmp_path / "report.json"


def test_a_true_report_is_confirmed(report, perceptron):
    found = unmask.verify(report, perceptron)
    count = 40 - report.robust.count
    assert (found.holds, found.reason, found.random) == (True, "", False)
    assert (found.examples, found.inside, found.valid, found.fooled) == (count,) * 4
    assert count > 5
    assert found.robust == report.robust


def test_the_images_may_be_the_users(report, perceptron, task):
    """All 60, from which the audit drew 40, or those 40; others are refused."""
    assert unmask.verify(report, perceptron, *task, batch_size=7).holds
    with pytest.raises(ValueError, match=r"images: expected the 40 that were audited \(images\), got others"):
        unmask.verify(report, perceptron, task[0].flip(0), task[1].flip(0))
    with pytest.raises(ValueError, match="labels: expected a tensor"):
        unmask.verify(report, perceptron, task[0])


def test_a_report_is_verified_from_its_files(saved, report, perceptron):
    beside = unmask.verify(saved, perceptron)
    named = unmask.verify(unmask.Report.from_json(saved), perceptron, None, None, saved.with_suffix(".safetensors"))
    assert beside == named == unmask.verify(report, perceptron, adversarial_examples=report.adversarial_examples)
    with pytest.raises(ValueError, match="adversarial examples: expected their file beside a report read from JSON"):
        unmask.verify(unmask.Report.from_json(saved), perceptron)


def test_another_model_is_named_with_the_first_contradiction(report):
    examples = unpack(report.adversarial_examples, report)
    label = int(examples.labels[2])
    found = unmask.verify(
        report, lambda images: 3 * torch.eye(10)[[label] * len(images)], classes=[f"digit {one}" for one in range(10)]
    )
    row = int((examples.labels == label).double().argmax())
    name = report.attacks[int(examples.attack[row])].name if examples.attack[row] >= 0 else "no attack"
    assert not found.holds
    assert found.fooled == found.examples - int((examples.labels == label).sum())
    assert found.reason == (
        f"image {int(examples.index[row])}, found by {name}, is classified correctly, as digit {label}, with a logit 3 "
        "above the next"
    )


def edited(report, change):
    """Change the adversarial images, and the digest with them."""
    examples = unpack(report.adversarial_examples, report)
    content = pack(replace(examples, adversarial=change(examples.adversarial.clone())), epsilon=EPSILON, attacks=[])
    digest = hashlib.sha256(content).hexdigest()
    return replace(report, adversarial_examples=content, adversarial_examples_digest=digest)


def shifted(images):
    images[1, 0, 0, 0] = (images[1, 0, 0, 0] + 0.5) % 1
    return images


def dark(images):
    images[0, 0, 0, 0] = -1e-3
    return images


@pytest.mark.parametrize(
    ("change", "reason"),
    [(shifted, r"a pixel that moved by 0\.[45]\d*, more than epsilon 0\.1$"), (dark, r"has pixels outside \[0, 1\]$")],
)
def test_an_image_outside_the_threat_model_is_named(change, reason, report, perceptron):
    found = unmask.verify(edited(report, change), perceptron)
    assert not found.holds
    assert re.search(reason, found.reason)


def test_a_coarser_precision_is_refused(report, perceptron):
    """Rounding would hide that pixels were moved too far."""
    examples = unpack(report.adversarial_examples, report)
    coarse = replace(examples, clean=examples.clean.bfloat16(), adversarial=examples.adversarial.bfloat16())
    content = pack(coarse, epsilon=EPSILON, attacks=[])
    digest = hashlib.sha256(content).hexdigest()
    coarser = replace(report, adversarial_examples=content, adversarial_examples_digest=digest)
    with pytest.raises(ValueError, match=r"the model's precision, torch\.float32, got torch\.bfloat16"):
        unmask.verify(coarser, perceptron)


def test_where_nothing_was_fooled_the_report_holds(perceptron, task):
    images = task[0][:20]
    right = perceptron(images).argmax(1)
    report = unmask.audit(perceptron, images, right, 0.0, effort=TINY)
    found = unmask.verify(report, lambda images: torch.zeros(len(images), 10))
    assert (found.holds, found.examples) == (True, 0)


def test_a_random_model_is_judged_by_its_mean(perceptron, task):
    noisy = InputNoise(perceptron, sigma=0.1).eval()
    found = unmask.verify(unmask.audit(noisy, *task, EPSILON, effort=TINY), noisy)
    assert (found.holds, found.random) == (True, True)


def test_batches_that_do_not_fit_in_memory_are_halved(report, perceptron):
    seen = []

    def large(images):
        seen.append(len(images))
        if len(images) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return perceptron(images)

    assert unmask.verify(report, large) == unmask.verify(report, perceptron)
    assert max(seen) > 4
