"""The command line: each bad input ends in one plain line and exit code 2, and the commands work hand in hand."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from click.testing import CliRunner
from torch import nn
from unmask.auditing.kit import QUICK

from onnx_files import onnx_file
from unmask.adapters import black_box
from unmask.attacks import FGSM
from unmask.cli import main
from unmask.cli.attack import ATTACKS
from unmask.cli.audit import REFERENCES
from unmask.cli.options import made
from unmask.models import build
from unmask.models.masked import InputNoise, ScaledLogits, SoftmaxOutput
from unmask.models.weights import load_weights, read_tensors, save_weights
from unmask.reports import Report

# Factories, to be named on the command line.


def fixed(classes=10):
    """A linear model that is right on some digits; in evaluation mode."""
    return build("linear", inputs=(1, 8, 8), classes=classes).eval()


def three():
    return fixed(classes=3)


def in_training_mode():
    return fixed().train()


def probabilities():
    return SoftmaxOutput(fixed()).eval()


def not_a_number():
    return nn.Sequential(fixed(), nn.Threshold(float("inf"), float("nan"))).eval()


def for_other_images():
    return nn.Sequential(nn.Flatten(), nn.Linear(49, 10)).eval()


def just_a_function():
    return lambda images: images.flatten(1)[:, 20:30]


def drawn():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def raises():
    raise RuntimeError("no luck\nand no more")


def a_number():
    return 3


def step(epsilon):
    return FGSM(epsilon=epsilon)


DATA = ["--data", "digits"]
BOUND = ["--epsilon", "0.1"]
FEW = [*DATA, *BOUND, "--samples", "20"]


def unmask(*arguments):
    """Run it; what was not a plain exit is raised again here."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@dataclass(frozen=True, kw_only=True)
class Smoothed:
    """An objective of one's own: cross entropy with smoothed labels, on images in a ball."""

    epsilon: float = 0.0
    smoothing: float = 0.1

    def __call__(self, model, images, labels, *, step=0):
        moved = (images + self.epsilon).clamp(0, 1)
        return nn.functional.cross_entropy(model(moved), labels, label_smoothing=self.smoothing)


def inverted(epsilon):
    return lambda model, images, labels: 1 - images


def careless(epsilon):
    return lambda model, images, labels: (images + epsilon).clamp(0, 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, perceptron):
    """Holds the weights of a trained network, and a file that holds something else."""
    folder = tmp_path_factory.mktemp("files")
    save_weights(perceptron, folder / "weights.safetensors")
    torch.save({"weights": print}, folder / "code.pt")
    return folder


BAD = {
    "data": (["test_cli:fixed", "--data", "cats", *BOUND], "cats: unknown data set; expected one of digits, mnist,"),
    "data file": (["test_cli:fixed", "--data", "cats.npz", *BOUND], "cats.npz: no such file"),
    "no data": (["test_cli:fixed", *BOUND], "Missing option '--data'"),
    "epsilon 8": (
        ["test_cli:fixed", *DATA, "--epsilon", "8"],
        "'--epsilon': expected a number in [0, 1], got 8; images are in [0, 1], so write 8 grey levels as 8/255",
    ),
    "epsilon abc": (["test_cli:fixed", *DATA, "--epsilon", "abc"], "expected a number in [0, 1] such as 0.3 or 8/255"),
    "epsilon 1/0": (["test_cli:fixed", *DATA, "--epsilon", "1/0"], "expected a number in [0, 1] such as 0.3 or 8/255"),
    "factory raises": (["test_cli:raises", *FEW], "model: test_cli:raises raised RuntimeError: no luck"),
    "widths of one's own": (["test_cli:fixed", *FEW, "--width", "8"], "width and widths: are for built-in networks; e"),
    "factory gives a number": (["test_cli:a_number", *FEW], "test_cli:a_number to return a callable, got int"),
    "module": (
        ["nowhere:fixed", *FEW],
        "model: expected a factory at nowhere:fixed, got ModuleNotFoundError: No module",
    ),
    "attribute": (["test_cli:nothing", *FEW], "module 'test_cli' has no attribute 'nothing'"),
    "model": (["perceptron", *FEW], "model: expected PACKAGE.MODULE:FACTORY, FILE.onnx or one of mlp, linear, l"),
    "widths": (["mlp", "--widths", "64,x", *FEW], "Invalid value for '--widths': 'x' is not a valid integer"),
    "width": (["mlp", "--width", "64", *FEW], "width: expected none (mlp takes widths), got 64"),
    "no weights": (["mlp", *FEW], "weights: expected a file for the built-in mlp, got none; pass --weights FILE"),
    "missing weights": (["mlp", "--weights", "none.pt", *FEW], "none.pt: no such weights file"),
    "other weights": (
        ["mlp", "--widths", "32", "--weights", "weights.safetensors", *FEW],
        "weights.safetensors: tensor '1.weight': expected shape (32, 64), got (64, 64)",
    ),
    "code for weights": (["mlp", "--weights", "code.pt", *FEW], "code.pt: expected weights as safetensors, or as .pt"),
    "weights of a function": (
        ["test_cli:just_a_function", "--weights", "weights.safetensors", *FEW],
        "weights: expected none, since test_cli:just_a_function returned a function",
    ),
    "classes": (["test_cli:three", *FEW], "model: expected logits (N, 10) for 10 classes, got (N, 3)"),
    "nan": (["test_cli:not_a_number", *FEW], "model: expected finite logits, got NaN on 20 of 20 images"),
    "size": (["test_cli:for_other_images", *FEW], "model: raised RuntimeError on images (20, 1, 8, 8): mat1 and mat2"),
    "samples": (["test_cli:fixed", *DATA, *BOUND, "--samples", "0"], "'--samples': 0 is not in the range"),
    "device": (["test_cli:fixed", *FEW, "--device", "abacus"], "device: expected one that torch can use here, such as"),
    "device out of reach": (["test_cli:fixed", *FEW, "--device", "fpga"], "such as cpu, got 'fpga': Could not run"),
    "device without data": (["test_cli:fixed", *FEW, "--device", "meta"], "such as cpu, got 'meta'"),
}


def assert_refused(result, message):
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    *usage, last = result.stderr.strip().splitlines()
    assert not usage or usage[0].startswith("Usage: ")
    assert last.startswith("Error: ")
    assert message in last
    assert len(last) < 300


@pytest.mark.parametrize("command", ["audit", "attack"])
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_plain_line(command, name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    arguments, message = BAD[name]
    assert_refused(unmask(command, *arguments), message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--attack", "test_cli:a_number"], "attack: test_cli:a_number raised TypeError"),
        (["--twin", "test_cli:a_number"], "model: expected test_cli:a_number to return a callable, got int"),
        (["--twin-weights", "code.pt"], "--twin-weights: expected --twin, the model that they belong to"),
    ],
)
def test_bad_input_to_audit_is_one_plain_line(arguments, message, folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert_refused(unmask("audit", "test_cli:fixed", *FEW, *arguments), message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mlp", *DATA, "--objective", "fgsm"], "--objective fgsm trains against an attack: give its bound with --eps"),
        (
            ["mlp", *DATA, "--lr", "-1"],
            "'--lr': -1.0 is not in the range x>0",
        ),
        (["mlp", *DATA, *BOUND, "--objective", "ensemble"], "ensemble makes images against finished models: name them"),
        (
            ["mlp", *DATA, *BOUND, "--objective", "fgsm", "--source", "mlp", "weights.safetensors"],
            "--source: is for --objective ensemble, and means nothing to fgsm",
        ),
        (
            ["mlp", *DATA, *BOUND, "--objective", "ensemble", "--source", "linear", "weights.safetensors"],
            "weights.safetensors: tensor '1.weight': expected shape (10, 64), got (64, 64)",
        ),
        (["mlp", *DATA, "--updates", "0"], "'--updates': 0 is not in the range"),
        (["mlp", *DATA, "--out", "weights.safetensors"], "'--out': Directory 'weights.safetensors' is a file"),
        (["vgg-11", *DATA], "inputs: expected images of at least 32x32 for vgg-11, got 8x8"),
        (["test_cli:just_a_function", *DATA], "model: expected test_cli:just_a_function to return a torch module to"),
        (["test_cli:three", *DATA], "model: expected logits (N, 10) for 10 classes, got (N, 3)"),
        (["test_cli:for_other_images", *DATA], "model: raised RuntimeError on images (2, 1, 8, 8)"),
    ],
)
def test_bad_input_to_train_is_one_plain_line(arguments, message, folder, monkeypatch):
    monkeypatch.chdir(folder)
    options = [] if "--out" in arguments else ["--out", "run"]
    assert_refused(unmask("train", *arguments, *options), message)
    assert not (folder / "run").exists()


def test_where_it_was_found_is_shown_on_request():
    with pytest.raises(ValueError, match="unknown data set"):
        unmask("--traceback", "audit", "test_cli:fixed", "--data", "cats", *BOUND)


NOTES = {
    "probabilities": "The model returns probabilities, not logits",
    "in_training_mode": "The model was in training mode",
}


@pytest.mark.parametrize("command", ["audit", "attack"])
@pytest.mark.parametrize("factory", [*NOTES, "fixed", "just_a_function"])
def test_what_can_be_repaired_is_said_and_work_goes_on(command, factory):
    result = unmask(command, f"test_cli:{factory}", *FEW)
    assert result.exit_code == 0
    assert [name for name, note in NOTES.items() if note in result.stdout] == [factory] * (factory in NOTES)


def masked():
    """Sure of itself; stands for a network that was trained too long."""
    return ScaledLogits(trained(), 300.0).eval()


def trained():
    model = build("mlp", inputs=(1, 8, 8), classes=10, widths=(64,))
    load_weights(model, Path("weights.safetensors"))  # in ``folder``
    return model.eval()


def test_a_twin_and_an_attack_of_the_users_take_part():
    result = unmask("audit", "test_cli:fixed", "--twin", "test_cli:fixed", "--attack", "test_cli:step", *FEW)
    assert result.exit_code == 0, result.stderr
    assert "Not masked" in result.stdout or "Inconclusive" in result.stdout


@pytest.mark.parametrize(("factory", "code"), [("masked", 1), ("trained", 0)])
def test_masking_can_fail_a_pipeline(factory, code, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    result = unmask(
        "audit",
        f"test_cli:{factory}",
        *DATA,
        *BOUND,
        "--samples",
        150,
        "--fail-on",
        "masked",
        "--out",
        tmp_path / "new",
    )
    assert result.exit_code == code
    report = Report.from_json(tmp_path / "new" / "report.json")
    assert report.verdict == ("masked" if code else "not masked")
    assert (report.samples, report.data, report.subject) == (150, "digits", f"test_cli:{factory}")
    assert report.to_text().splitlines()[1] in result.stdout
    assert report.verdict.capitalize() in (tmp_path / "new" / "report.html").read_text()


# --- verify and diff


@pytest.fixture(scope="module")
def audits(folder):
    """Two audits of the same 60 digits: of ``trained``, and of ``fixed``, which was never trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("trained", "fixed"):
            unmask("audit", f"test_cli:{name}", *DATA, *BOUND, "--samples", 60, "--seed", 3, "--out", folder / name)
    return folder


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
    assert lines[1].startswith("The clean images are those of " + ("digits." if data else "the evidence itself; give"))
    assert [line.rpartition("  ")[2].strip() for line in lines[2:5]] == [f"{count} of {count}"] * 3
    assert lines[5] == f"The claim holds: the robust accuracy is at most {record.robust}."


def test_the_claim_about_another_model_does_not_hold(audits, monkeypatch):
    monkeypatch.chdir(audits)
    result = verify("fixed", "--model", "test_cli:trained")
    assert result.exit_code == 1
    assert "The claim does not hold: image " in result.stdout
    assert "is classified correctly, as " in result.stdout
    assert "The model is random" not in result.stdout


def edited(report, change):
    """The report with its evidence changed, and the digest with it, as someone might who wants it to pass."""
    path = report.with_suffix(".safetensors")
    tensors = safetensors.torch.load_file(path)
    change(tensors)
    safetensors.torch.save_file(tensors, path)
    record = replace(Report.from_json(report), evidence_digest=hashlib.sha256(path.read_bytes()).hexdigest())
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
    result = verify(tmp_path, "--model", "test_cli:trained", *data)
    assert result.exit_code == 1
    assert re.search(rf"The claim does not hold: image {index}, found by [a-z0-9 ,-]+, {message}", result.stdout)


def noisy():
    return InputNoise(trained(), sigma=0.1).eval()


def test_a_true_claim_about_a_model_that_answers_at_random_is_confirmed(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    out = ["--samples", 100, "--quick", "--out", tmp_path]
    assert unmask("audit", "test_cli:noisy", *DATA, *BOUND, *out).exit_code == 0
    result = verify(tmp_path, "--model", "test_cli:noisy")
    assert result.exit_code == 0, result.stdout
    assert "The model answers at random" in result.stdout


def test_a_quick_audit_of_many_images_is_verified_on_the_users_own(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr("unmask.auditing.probes.QUICK", replace(QUICK, images=40))
    assert unmask("audit", "test_cli:trained", *DATA, *BOUND, "--quick", "--out", tmp_path).exit_code == 0
    assert Report.from_json(tmp_path / "report.json").samples == 40
    result = verify(tmp_path, "--model", "test_cli:trained", *DATA)
    assert result.exit_code == 0, result.stdout


def test_evidence_in_a_coarser_precision_is_refused(audits, tmp_path, monkeypatch):
    """Rounding would hide that pixels were moved too far."""
    monkeypatch.chdir(audits)
    for path in (audits / "trained").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    edited(tmp_path / "report.json", round_to_bfloat16)
    result = verify(tmp_path, "--model", "test_cli:trained")
    assert result.exit_code == 2
    assert "expected images in the model's precision, torch.float32, found torch.bfloat16" in result.stderr


def at_random():
    return lambda images: torch.rand(len(images), 10)


def test_a_model_that_answers_at_random_is_told(audits, monkeypatch):
    monkeypatch.chdir(audits)
    result = verify("fixed", "--model", "test_cli:at_random")
    assert result.exit_code == 1
    assert "The model answers at random: what counts is its mean over draws" in result.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["trained/report.json", "--evidence", "fixed/report.safetensors"],
            "fixed/report.safetensors: expected the evid",
        ),
        (["trained/report.json", "--evidence", "none"], "none: no such file; expected the evidence beside the report"),
        (["trained/report.html"], "trained/report.html: expected an audit record (unmask-audit/1), got "),
        (
            ["trained/report.json", *DATA, "--split", "train"],
            "data: expected the 60 images that were audited (digits), ",
        ),
        (
            ["trained/report.json", "--model", "test_cli:three"],
            "model: expected logits (N, 10) for 10 classes, got (N, 3)",
        ),
        (["trained/report.json", "--model", "mlp"], "weights: expected a file for the built-in mlp, got none"),
    ],
)
def test_what_cannot_be_verified_is_refused(options, message, audits, monkeypatch):
    monkeypatch.chdir(audits)
    model = [] if "--model" in options else ["--model", "test_cli:trained"]
    assert_refused(unmask("verify", *options, *model), message)


def test_two_audits_are_compared(audits, monkeypatch):
    monkeypatch.chdir(audits)
    result = unmask("diff", "fixed/report.json", "trained/report.json")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith("before, test_cli:fixed: Inconclusive: ")
    assert lines[1].startswith("after, test_cli:trained: ")
    assert lines[3].startswith("clean: accuracy rose from ")
    assert [line.partition(":")[0] for line in lines[3:6]] == ["clean", "claimed", "worst case"]
    assert any(line.startswith("The audit before the change is inconclusive") for line in lines[6:])
    unmask("audit", "test_cli:trained", *FEW, "--out", "other")
    refused = unmask("diff", "trained/report.json", "other/report.json")
    assert_refused(refused, "images: expected two audits of the same images, got 60 of digits and 20 of digits")


def test_one_or_several_audits_become_a_page(audits, tmp_path, monkeypatch):
    monkeypatch.chdir(audits)
    alone = unmask("page", "trained/report.json", "--html", tmp_path / "one.html")
    assert (alone.exit_code, alone.stdout) == (0, f"wrote {tmp_path / 'one.html'}\n")
    assert "<h1>Robustness audit: test_cli:trained</h1>" in (tmp_path / "one.html").read_text()
    assert unmask("page", "trained/report.json", "fixed/report.json", "--html", tmp_path / "two.html").exit_code == 0
    page = (tmp_path / "two.html").read_text()
    assert "<h1>Robustness audits of 2 models</h1>" in page
    assert page.index("test_cli:trained") < page.index("test_cli:fixed")
    assert "report.json)" not in page


def test_models_of_one_name_are_told_apart_by_their_files(audits, tmp_path, monkeypatch):
    monkeypatch.chdir(audits)
    shutil.copy("trained/report.json", tmp_path / "<b>again.json")
    reports = ("trained/report.json", tmp_path / "<b>again.json")
    assert unmask("page", *reports, "--html", tmp_path / "page.html", "--title", "<i>Twice").exit_code == 0
    page = (tmp_path / "page.html").read_text()
    assert "test_cli:trained (trained/report.json)" in page
    assert "&lt;b&gt;again.json" in page
    assert "<h1>&lt;i&gt;Twice</h1>" in page
    assert not {"<b>again", "<i>"} & set(re.findall("<b>again|<i>", page))


def test_a_page_is_made_of_reports_only(audits, tmp_path, monkeypatch):
    monkeypatch.chdir(audits)
    assert_refused(unmask("page", "--html", tmp_path / "page.html"), "Missing argument 'REPORT...'")
    (tmp_path / "other.json").write_text("{}")
    refused = unmask("page", "trained/report.json", tmp_path / "other.json", "--html", tmp_path / "page.html")
    assert_refused(refused, "other.json: expected an audit record (unmask-audit/1), got 'format'")
    assert not (tmp_path / "page.html").exists()


def test_a_model_without_gradients_is_audited_by_queries(audits, tmp_path, monkeypatch):
    monkeypatch.chdir(audits)
    audited = unmask("audit", "test_cli:behind_a_wall", *FEW, "--out", tmp_path)
    assert audited.exit_code == 0
    assert "under Square: epsilon 0.1, queries 1000" in audited.stdout
    assert "no gradients: float32 saturation, logit scale" in audited.stdout
    assert verify(tmp_path, "--model", "test_cli:behind_a_wall", *DATA).exit_code == 0
    refused = unmask("audit", "test_cli:behind_a_wall", *FEW, "--reference", "fgsm")
    assert_refused(refused, "model: gives no gradients; expected an attack on scores alone, such as Square")


def behind_a_wall():
    model = trained()

    def answer(images):
        with torch.no_grad():
            return model(torch.from_numpy(images)).numpy()

    return black_box(answer)


def test_a_file_of_onnx_is_a_model(linear, tmp_path):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    path = onnx_file(tmp_path / "linear.onnx", linear)
    result = unmask("attack", path, *FEW, "--attack", "frsm")
    assert result.exit_code == 0
    assert_refused(unmask("audit", tmp_path / "none.onnx", *FEW), "none.onnx: no such file")


@pytest.mark.parametrize("name", REFERENCES)
def test_every_reference_has_its_name(name, tmp_path):
    few = [*DATA, "--epsilon", "1/255", "--samples", 5, "--out", tmp_path]
    assert unmask("audit", "test_cli:fixed", *few, "--reference", name).exit_code == 0
    kind, _, loss = name.partition("-")
    said = Report.from_json(tmp_path / "report.json").reference
    assert said.lower().startswith(f"{kind}: epsilon 0.00392157, ")
    assert kind == "square" or f"loss {loss.replace('-', ' ') or 'cross entropy'}" in said


def test_train_audit_attack_and_audit_what_was_saved(tmp_path):
    settings = ["mlp", "--widths", "32", *DATA]
    trained = unmask(
        *("train", *settings, "--objective", "rfgsm+clean", *BOUND, "--updates", 150, "--lr", 0.005),
        *("--schedule", "cosine", "--initialisation", "xavier", "--seed", 3, "--out", tmp_path),
    )
    assert trained.exit_code == 0
    assert "epoch 17: update 150, loss" in trained.stdout
    share = float(trained.stdout.split("validation accuracy ")[1].split(" %")[0])
    assert share > 85
    few = ["--weights", tmp_path / "weights.safetensors", *BOUND, "--samples", 100]
    audited = unmask("audit", *settings, *few, "--reference", "pgd")
    assert "under PGD: epsilon 0.1" in audited.stdout
    assert audited.exit_code == 0

    saved = tmp_path / "adversarial.npz"
    attacked = unmask(
        *("attack", *settings, *few, "--attack", "fgsm", "--epsilon", "0,0.05,0.2", "--save", saved, "--loss", "dlr")
    )
    assert attacked.exit_code == 0
    accuracies = [float(line.split()[3]) for line in attacked.stdout.splitlines() if line.startswith("epsilon")]
    assert len(accuracies) == 3
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[0] > 85 > accuracies[2]
    with np.load(saved) as content:
        assert content["images"].shape == (100, 1, 8, 8)
        assert list(content["classes"]) == list("0123456789")

    again = unmask("audit", "mlp", "--widths", 32, "--data", saved, *few[:-2], "--out", tmp_path)
    assert again.exit_code == 0
    report = Report.from_json(tmp_path / "report.json")
    assert (report.samples, report.classes) == (100, 10)
    assert 100 * report.clean.value == pytest.approx(accuracies[2])


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_has_its_name(name):
    steps = [] if name in ("fgsm", "rfgsm", "rs-fgsm", "frsm") else ["--steps", 2]
    result = unmask("attack", "test_cli:fixed", *FEW, "--attack", name, *steps, "--epsilon", "1/255")
    assert result.exit_code == 0
    assert result.stdout.startswith("epsilon 0.003922: accuracy ")


def test_a_stopped_training_is_resumed(tmp_path):
    run = ["train", "lenet-d", "--width", 16, *DATA, "--objective", "rfgsm", *BOUND]
    unmask(*run, "--updates", 18, "--out", tmp_path / "through")
    unmask(*run, "--updates", 9, "--out", tmp_path / "parts")
    resumed = unmask(*run, "--updates", 18, "--out", tmp_path / "parts", "--resume")
    assert "epoch 1:" not in resumed.stdout
    assert "epoch 2: update 18, loss" in resumed.stdout
    first, second = (read_tensors(tmp_path / part / "weights.safetensors") for part in ("through", "parts"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = unmask(*run, "--updates", 18, "--out", tmp_path / "parts", "--resume", "--lr", 0.1)
    assert other.exit_code == 2
    assert "is of a run with learning_rate 0.001, got 0.1; resume with the same settings" in other.stderr


def test_the_widths_of_a_source_are_those_of_its_weights(tmp_path):
    unmask("train", "mlp", "--widths", "7", *DATA, "--updates", 1, "--out", tmp_path / "narrow")
    run = ["train", "mlp", *DATA, "--objective", "ensemble", *BOUND, "--updates", 1, "--out", tmp_path / "run"]
    result = unmask(*run, "--source", "mlp", tmp_path / "narrow" / "weights.safetensors")
    assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_an_ensemble_is_resumed_with_the_same_sources_alone(precision, tmp_path):
    for seed in (0, 1):
        unmask("train", "linear", *DATA, "--updates", 1, "--seed", seed, "--out", tmp_path / f"{seed}")
    run = ["train", "mlp", *DATA, "--objective", "ensemble", *BOUND, "--out", tmp_path / "run"]
    run += ["--precision", precision, "--resume", "--source", "linear", tmp_path / "0" / "weights.safetensors"]
    second = [["--source", "linear", tmp_path / f"{seed}" / "weights.safetensors"] for seed in (0, 1)]
    assert unmask(*run, *second[1], "--updates", 9).exit_code == 0
    assert "epoch 2: update 18" in unmask(*run, *second[1], "--updates", 18).stdout
    other = unmask(*run, *second[0], "--updates", 27)
    assert other.exit_code == 2
    assert "is of a run with objective Ensemble(attack=FGSM(epsilon=0.1" in other.stderr


def test_a_training_that_is_of_no_use_says_so(tmp_path):
    stuck = unmask("train", "mlp", *DATA, "--lr", 10, "--epochs", 10, "--out", tmp_path / "stuck")
    assert stuck.exit_code == 0
    assert ", stuck\nThe training is at chance at its end, after 90 updates; before 500 it is too early" in stuck.stdout
    diverged = unmask("train", "mlp", *DATA, "--lr", 1e30, "--optimizer", "sgd", "--out", tmp_path / "diverged")
    assert diverged.exit_code == 3
    assert diverged.stderr.strip().startswith("Error: loss: expected a finite number, got ")
    assert "Traceback" not in diverged.stderr


def test_it_is_said_at_once_that_a_training_is_stuck(tmp_path):
    few = ["train", "mlp", *DATA, "--lr", 10, "--batch-size", 2, "--updates", 600, "--out", tmp_path]
    said = unmask(*few).stdout
    assert "its loss is that of guessing. Try a lower learning rate (--lr), a warm-up of it (--warmup 500)" in said
    lines = [line for line in said.splitlines() if line.startswith(("epoch", "The training"))]
    assert [line.split(":")[0] for line in lines] == [
        "epoch 1",
        "The training is stuck at chance",
        "epoch 1",
        "epoch 2",
        "The training is stuck at chance",
    ]
    assert lines[0].startswith("epoch 1: update 500, loss")


def test_each_of_several_processes_takes_a_device_of_its_own(tmp_path):
    few = ["train", "mlp", *DATA, "--device", "cpu:0", "--devices", 2, "--out", tmp_path]
    assert_refused(unmask(*few), "--device: each process takes one of its own; expected cpu, got cpu:0")


def test_masking_is_watched(tmp_path):
    settings = ["train", "mlp", "--widths", 128, *DATA, "--objective", "fgsm", "--epsilon", 0.4, "--lr", 0.02]
    run = [*settings, "--batch-size", 64, "--updates", 1000, "--watch", 50, "--out", tmp_path]
    masked = unmask(*run)
    assert masked.exit_code == 0
    table, _, said = masked.stdout.partition("logit distance\n")[2].partition("Masking set in at update ")
    update = int(said.split(":")[0])
    assert [int(line.split()[0]) for line in table.splitlines()] == [1, *range(50, update + 1, 50)]
    assert f"The weights are those of update {update - 50} again, which left " in said
    assert f"update {update}, loss" in masked.stdout
    resumed = unmask(*run, "--updates", 2000, "--resume").stdout
    over = f"is over already, after {update} updates: masking ended it. Begin another in a folder of its own"
    assert over in resumed
    assert resumed.splitlines()[-4:] == masked.stdout.splitlines()[-4:]
    unwatched = unmask("train", "mlp", *DATA, "--watch", 50, "--out", tmp_path / "other")
    assert_refused(unwatched, "--watch: is for training against an attack; give --objective and --epsilon")
    healthy = [*settings[:-1], 0.001, "--updates", 30, "--watch", 1, "--out", tmp_path / "healthy"]
    lines = unmask(*healthy).stdout.splitlines()
    assert lines[-3].startswith("Nothing can be said of masking: at update 30 accuracy under FGSM is ")
    assert [int(line.split()[0]) for line in lines[-19:-3]] == [*range(1, 31, 2), 30]
    sound = ["train", "mlp", *DATA, "--objective", "fgsm", "--epsilon", 0.05, "--updates", 90, "--watch", 60]
    lines = unmask(*sound, "--out", tmp_path / "sound").stdout.splitlines()
    assert lines[-3] == "No masking was seen at 3 looks, the last at update 90."
    assert unmask(*sound, "--out", tmp_path / "sound", "--resume").stdout.splitlines()[-4:] == lines[-4:]


def test_who_stops_a_training_is_told_how_to_go_on(tmp_path, monkeypatch):
    from unmask.training.run import Run

    run = ["train", "mlp", *DATA, "--updates", 30, "--out", tmp_path]
    step = Run.step

    def stopped_at(last):
        def stopping(self, rows, update):
            if update == last:
                raise KeyboardInterrupt
            return step(self, rows, update)

        monkeypatch.setattr(Run, "step", stopping)

    stopped_at(3)
    early = unmask(*run)
    assert (early.exit_code, early.stderr.strip()) == (130, "Error: stopped; there is no checkpoint yet: begin again")
    stopped_at(12)
    assert "stopped; go on from the last checkpoint with --resume" in unmask(*run).stderr
    monkeypatch.undo()
    resumed = unmask(*run, "--resume")
    assert "epoch 2: update 18" in resumed.stdout
    assert "is over already, after 30 updates: give more --epochs or --updates" in unmask(*run, "--resume").stdout
    assert "holds no checkpoint; beginning a new run" in unmask(*run[:-1], tmp_path / "none", "--resume").stdout


def test_data_without_validation_images_is_refused_before_training(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "few.npz", images=rng.random((3, 8, 8)).astype("float32"), labels=np.arange(3))
    run = ["train", "linear", "--data", tmp_path / "few.npz", "--updates", 1, "--out", tmp_path / "run"]
    assert_refused(unmask(*run), "expected images in 'validation', got none")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("objective", ["rfgsm", "rfgsm+fgsm", "logit-distance", "n-fgsm"])
def test_the_seed_is_also_that_of_the_attack_noise(objective, tmp_path):
    run = ["train", "linear", *DATA, *BOUND, "--updates", 1, "--objective", objective]
    assert unmask(*run, "--seed", 7, "--out", tmp_path / "run").exit_code == 0
    kept = json.loads((tmp_path / "run" / "checkpoint.json").read_text())["settings"]["objective"]
    assert "seed=7" in kept
    assert "seed=0" not in kept


def test_an_objectives_settings_can_be_given(tmp_path):
    run = ["train", "linear", *DATA, *BOUND, "--updates", 1]
    given = ["--objective", "logit-distance", "--set", "weight=2", "--set", "alpha=1/50", "--out", tmp_path / "one"]
    given += ["--set", "step_from_offset=remaining"]
    assert unmask(*run, *given).exit_code == 0
    kept = json.loads((tmp_path / "one" / "checkpoint.json").read_text())["settings"]["objective"]
    assert "weight=2.0, alpha=0.02, step_from_offset='remaining'" in kept
    given = ["--objective", "pgd", "--set", "steps=3", "--out", tmp_path / "two"]
    assert unmask(*run, *given).exit_code == 0
    assert "steps=3, " in json.loads((tmp_path / "two" / "checkpoint.json").read_text())["settings"]["objective"]
    refused = {
        ("pgd", "steps=3.5"): "--set steps: expected a whole number, got '3.5'",
        (
            "pgd",
            "stairs=3",
        ): "--set: expected NAME=VALUE with one of steps, step_size, restarts, start, keep, cl",
        ("logit-distance", "alpha=1"): "alpha: expected a number from 0 to epsilon (0.1), got 1.0",
        ("logit-distance", "alpha=1/0"): "--set alpha: expected a number, got '1/0'",
        ("logit-distance", "weight"): "--set weight: expected a number, got ''",
        ("rfgsm+fgsm", "epsilon=1"): "--set: expected none: this objective has no settings, got epsilon=1",
    }
    for (objective, setting), message in refused.items():
        said = unmask(*run, "--objective", objective, "--set", setting, "--out", tmp_path / "three")
        assert_refused(said, message)


def test_a_model_that_returns_probabilities_is_not_trained(tmp_path, monkeypatch):
    (tmp_path / "soft.py").write_text(
        "from torch import nn\n\n"
        "def make():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Softmax(1))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    said = unmask("train", "soft:make", *DATA, "--updates", 1, "--out", tmp_path / "run")
    assert_refused(said, "model: expected logits, got probabilities; leave its softmax away")


@pytest.mark.parametrize("command", [[], *([name] for name in main.commands)], ids=lambda command: " ".join(command))
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_explains_every_option(command, option):
    result = unmask(*command, option)
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: ")
    if not command:
        assert all(name in result.stdout for name in main.commands)


def test_help_is_there_at_once():
    code = "import sys; from unmask.cli import main; main(['--help'], standalone_mode=False); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage: " in run.stdout
    assert not {"torch", "matplotlib", "numpy", "sklearn", "scipy", "rich.progress"} & set(run.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["reproduce"], "expected a paper: one of yanagita2018, yue2017, vivek2019; or --list"),
        (
            ["reproduce", "goodfellow2015"],
            "paper: expected one of yanagita2018, yue2017, vivek2019, got 'goodfellow2015'",
        ),
        (["reproduce", "yue2017", "--artefact", "fig99"], "artefact: expected one of fig1"),
    ],
)
def test_what_cannot_be_reproduced_is_refused(arguments, message, tmp_path):
    result = CliRunner().invoke(main, [*arguments, "--results", str(tmp_path), "--work", str(tmp_path)])
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def test_a_table_is_made_of_the_records_that_are_there(tmp_path):
    result = unmask(
        "reproduce", "vivek2019", "--artefact", "single-step", "--no-run", "--seeds", 1, "--results", tmp_path
    )
    assert result.exit_code == 0
    assert not (tmp_path / "vivek2019" / "runs").exists()
    missing = json.loads((tmp_path / "vivek2019" / "single-step.json").read_text())["missing"]
    page = (tmp_path / "README.md").read_text()
    assert "| proposed (5 of 20 passes) | 0 | not run |" in page
    assert [one.get("kind") for one in missing].count(None) == page.count(" | 0 | not run |")


def test_an_option_that_means_nothing_is_refused():
    result = unmask("attack", "test_cli:fixed", *FEW, "--attack", "fgsm", "--steps", 2, "--epsilon", "0.1")
    assert_refused(result, "--steps: is for ifgsm, pgd, deepfool, and means nothing to fgsm")


def test_training_does_not_write_over_a_run(tmp_path):
    few = ("train", "linear", *DATA, "--updates", 2, "--out", tmp_path)
    assert unmask(*few).exit_code == 0
    assert_refused(unmask(*few), "holds a run already; go on with it by --resume, or name another folder")
    assert unmask(*few, "--resume").exit_code == 0


def test_training_does_not_write_over_weights(tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(b"mine")
    result = unmask("train", "linear", *DATA, "--updates", 2, "--out", tmp_path)
    assert_refused(result, "holds a weights.safetensors already, and no run to go on with; name another folder")


def test_the_seed_is_that_of_a_factorys_weights_too(tmp_path):
    runs = [["train", "test_cli:drawn", *DATA, "--updates", 1, "--seed", seed, "--out"] for seed in (3, 3, 4)]
    for number, run in enumerate(runs):
        unmask(*run, tmp_path / str(number))
    first, second, other = ((tmp_path / str(number) / "weights.safetensors").read_bytes() for number in range(3))
    assert first == second != other


def test_a_factory_may_be_in_a_file_anywhere(tmp_path, monkeypatch):
    """Two files of the same name are two modules, and each finds what lies beside it."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    for number in range(2):
        (folder := tmp_path / str(number)).mkdir()
        (folder / f"beside_{number}.py").write_text(f"FIRST = {number}\n")
        (folder / "json.py").write_text(f"from beside_{number} import FIRST\nmake = lambda: lambda x: x + FIRST\n")
    first, second = (made("model", f"{tmp_path / str(number) / 'json.py'}:make") for number in range(2))
    assert (first(1), second(1)) == (1, 2)
    result = unmask("attack", f"{tmp_path / 'none.py'}:make", *FEW)
    assert_refused(result, "none.py:make, got FileNotFoundError: [Errno 2] No such file or directory")


def test_training_says_what_to_do_next(tmp_path):
    result = unmask("train", "linear", *DATA, "--updates", 2, "--out", tmp_path)
    command = result.stdout.splitlines()[-1].removeprefix("audit it: unmask ").replace("EPSILON", "0.1")
    assert unmask(*command.split(), "--samples", 20, "--quick").exit_code == 0


def test_an_interruption_is_not_taken_for_an_answer(monkeypatch):
    def interrupted(*given, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["unmask.cli.attack"], "load_data", interrupted)
    assert unmask("attack", "test_cli:fixed", *FEW, "--epsilon", "0.1").exit_code == 130


def test_what_goes_wrong_here_is_not_taken_for_an_answer(monkeypatch):
    monkeypatch.setattr(sys.modules["unmask.cli.attack"], "load_data", lambda *given, **named: 1 / 0)
    assert unmask("attack", "test_cli:fixed", *FEW, "--epsilon", "0.1").exit_code == 3


def test_attacks_of_ones_own_are_named_as_networks_are():
    result = unmask("attack", "test_cli:fixed", *FEW, "--attack", "test_cli:step")
    assert result.output == unmask("attack", "test_cli:fixed", *FEW, "--attack", "fgsm").output
    result = unmask("audit", "test_cli:fixed", *FEW, "--quick", "--reference", "test_cli:careless")
    assert result.exit_code == 0
    assert "lambda" in result.output
    assert_refused(
        unmask("attack", "test_cli:fixed", *FEW, "--attack", "test_cli:inverted"), "inverted: expected images in [0, 1]"
    )
    assert_refused(
        unmask("audit", "test_cli:fixed", *FEW, "--reference", "test_cli:a_number"), "reference: test_cli:a_"
    )
    assert_refused(unmask("attack", "test_cli:fixed", *FEW, "--attack", "test_cli:step", "--steps", 2), "means nothing")
    assert_refused(unmask("audit", "test_cli:fixed", *FEW, "--reference", "cw"), "'cw' is not one of 'fgsm'")


def test_an_objective_of_ones_own_is_named_as_networks_are(tmp_path):
    run = ["train", "linear", *DATA, "--updates", 9, "--objective", "test_cli:Smoothed"]
    for name, more, words in (
        ("one", [], "Smoothed(epsilon=0.0, smoothing=0.1)"),
        ("two", [*BOUND, "--set", "smoothing=0.2"], "Smoothed(epsilon=0.1, smoothing=0.2)"),
    ):
        assert unmask(*run, *more, "--out", tmp_path / name).exit_code == 0
        kept = json.loads((tmp_path / name / "checkpoint.json").read_text())["settings"]["objective"]
        assert kept == words
    run[-1] = "test_cli:just_a_function"
    assert_refused(unmask(*run, "--out", tmp_path / "three"), "objective: expected one that takes (model, images, labe")
