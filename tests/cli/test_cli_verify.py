"""``unmask verify``: a true claim is confirmed, an edited one is refused."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace

import pytest
import safetensors.torch
from command_line import BOUND, DATA, assert_refused, unmask

from unmask.auditing import QUICK
from unmask.reports import Report


def verify(name, *options):
    return unmask("verify", f"{name}/report.json", *options)


@pytest.mark.parametrize("data", [[], DATA], ids=["their own images", "the data's images"])
def test_a_true_claim_is_confirmed(data, audits, monkeypatch):
    monkeypatch.chdir(audits)
    record = Report.from_json("trained/report.json")
    count = 60 - record.robust.count
    result = verify("trained", "--model", "mlp", "--weights", "weights.safetensors", *data)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"{count} of 60 images are said to fool the model at epsilon 0.1."
    assert lines[1].startswith(
        "The clean images are those of " + ("digits." if data else "the adversarial examples' file; give")
    )
    assert [line.rpartition("  ")[2].strip() for line in lines[2:5]] == [f"{count} of {count}"] * 3
    assert lines[5] == f"The claim holds: the robust accuracy is at most {record.robust}."


def test_the_claim_about_another_model_does_not_hold(audits, monkeypatch):
    monkeypatch.chdir(audits)
    result = verify("fixed", "--model", "own:trained")
    assert result.exit_code == 1
    assert "The claim does not hold: image " in result.stdout
    assert "is classified correctly, as " in result.stdout
    assert "answers at random" not in result.stdout


def edited(report, change):
    """Change the adversarial examples of a report, and the digest with it, as someone might who wants it to pass."""
    path = report.with_suffix(".safetensors")
    tensors = safetensors.torch.load_file(path)
    change(tensors)
    safetensors.torch.save_file(tensors, path)
    record = replace(
        Report.from_json(report), adversarial_examples_digest=hashlib.sha256(path.read_bytes()).hexdigest()
    )
    record.to_json(report)


def round_to_bfloat16(tensors):
    tensors |= {name: one.bfloat16() for name, one in tensors.items() if one.is_floating_point()}


def move_out_of_the_ball(tensors):
    tensors["adversarial"][4, 0, 0, 0] = (tensors["clean"][4, 0, 0, 0] + 0.5) % 1


def move_out_of_the_range(tensors):
    tensors["adversarial"][4, 0, 0, 0] = -0.01
    tensors["clean"][4, 0, 0, 0] = 0


def move_the_clean_image(tensors):
    tensors["clean"][4] = tensors["clean"][4].roll(1)
    tensors["adversarial"][4] = tensors["clean"][4]


@pytest.mark.parametrize(
    ("change", "data", "message"),
    [
        (move_out_of_the_ball, [], r"has a pixel that moved by 0\.[45]\d*, more than epsilon 0\.1\."),
        (move_out_of_the_range, [], r"has pixels outside \[0, 1\]\."),
        (move_the_clean_image, DATA, r"has a pixel that moved by [01][.\d]*, more than epsilon 0\.1\."),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_first_image_that_breaks_the_claim_is_named(change, data, message, audits, tmp_path, monkeypatch):
    monkeypatch.chdir(audits)
    for path in (audits / "trained").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    edited(tmp_path / "report.json", change)
    index = safetensors.torch.load_file(tmp_path / "report.safetensors")["index"][4]
    result = verify(tmp_path, "--model", "own:trained", *data)
    assert result.exit_code == 1
    assert re.search(rf"The claim does not hold: image {index}, found by [a-z0-9 ,-]+, {message}", result.stdout)


def test_a_true_claim_about_a_model_that_answers_at_random_is_confirmed(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    out = ["--samples", 100, "--quick", "--out", tmp_path]
    assert unmask("audit", "own:noisy", *DATA, *BOUND, *out).exit_code == 0
    result = verify(tmp_path, "--model", "own:noisy")
    assert result.exit_code == 0, result.stdout
    assert "The model answers at random" in result.stdout


def test_a_quick_audit_of_many_images_is_verified_on_the_users_own(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr("unmask.QUICK", replace(QUICK, images=40))
    assert unmask("audit", "own:trained", *DATA, *BOUND, "--quick", "--out", tmp_path).exit_code == 0
    assert Report.from_json(tmp_path / "report.json").samples == 40
    result = verify(tmp_path, "--model", "own:trained", *DATA)
    assert result.exit_code == 0, result.stdout


def test_examples_in_a_coarser_precision_is_refused(audits, tmp_path, monkeypatch):
    """Rounding would hide that pixels were moved too far."""
    monkeypatch.chdir(audits)
    for path in (audits / "trained").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    edited(tmp_path / "report.json", round_to_bfloat16)
    result = verify(tmp_path, "--model", "own:trained")
    assert result.exit_code == 2
    assert "expected images in the model's precision, torch.float32, got torch.bfloat16" in result.stderr


def test_a_model_that_answers_at_random_is_told(audits, monkeypatch):
    monkeypatch.chdir(audits)
    result = verify("fixed", "--model", "own:at_random")
    assert result.exit_code == 1
    assert "The model answers at random: what counts is its mean over draws" in result.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["trained/report.json", "--adversarial-examples", "fixed/report.safetensors"],
            "fixed/report.safetensors: expected SHA-256",
        ),
        (["trained/report.json", "--adversarial-examples", "none"], "none: no such file; expected the adversarial ex"),
        (["trained/report.html"], "trained/report.html: expected an audit record (unmask-audit/2), got "),
        (
            ["trained/report.json", *DATA, "--split", "train"],
            "images: expected the 60 that were audited (digits), got others; are they of the same split?",
        ),
        (
            ["trained/report.json", "--model", "own:three"],
            "model: expected logits (N, 10) for 10 classes, got (N, 3)",
        ),
        (["trained/report.json", "--model", "mlp"], "weights: expected a file for the built-in mlp, got none"),
    ],
)
def test_what_cannot_be_verified_is_refused(options, message, audits, monkeypatch):
    monkeypatch.chdir(audits)
    model = [] if "--model" in options else ["--model", "own:trained"]
    assert_refused(unmask("verify", *options, *model), message)
