"""``unmask train``: objectives, seeds and weights, hand in hand with the other commands."""

from __future__ import annotations

import json

import numpy as np
import pytest
from command_line import BOUND, DATA, assert_refused, unmask

from unmask.reports import Report


@pytest.mark.slow
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
    audited = unmask("audit", *settings, *few, "--reference", "pgd", "--quick")
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

    again = unmask("audit", "mlp", "--widths", 32, "--data", saved, *few[:-2], "--quick", "--out", tmp_path)
    assert again.exit_code == 0
    report = Report.from_json(tmp_path / "report.json")
    assert (report.samples, report.classes) == (100, 10)
    assert 100 * report.clean_accuracy == pytest.approx(accuracies[2])


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
        ("rfgsm+fgsm", "epsilon=1"): "--set: expected none, since there are no settings, got epsilon=1",
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
    assert_refused(said, "model: expected logits, got probabilities")


def test_the_seed_is_that_of_a_factorys_weights_too(tmp_path):
    runs = [["train", "own:drawn", *DATA, "--updates", 1, "--seed", seed, "--out"] for seed in (3, 3, 4)]
    for number, run in enumerate(runs):
        unmask(*run, tmp_path / str(number))
    first, second, other = ((tmp_path / str(number) / "weights.safetensors").read_bytes() for number in range(3))
    assert first == second != other


def test_training_says_what_to_do_next(tmp_path):
    result = unmask("train", "linear", *DATA, "--updates", 2, "--out", tmp_path)
    command = result.stdout.splitlines()[-1].removeprefix("audit it: unmask ").replace("EPSILON", "0.1")
    assert unmask(*command.split(), "--samples", 20, "--quick").exit_code == 0


def test_an_objective_of_ones_own_is_named_as_networks_are(tmp_path):
    run = ["train", "linear", *DATA, "--updates", 9, "--objective", "own:Smoothed"]
    for name, more, words in (
        ("one", [], "Smoothed(epsilon=0.0, smoothing=0.1)"),
        ("two", [*BOUND, "--set", "smoothing=0.2"], "Smoothed(epsilon=0.1, smoothing=0.2)"),
    ):
        assert unmask(*run, *more, "--out", tmp_path / name).exit_code == 0
        kept = json.loads((tmp_path / name / "checkpoint.json").read_text())["settings"]["objective"]
        assert kept == words
    run[-1] = "own:just_a_function"
    assert_refused(unmask(*run, "--out", tmp_path / "three"), "objective: expected one that takes (model, images, labe")


def test_each_of_several_processes_takes_a_device_of_its_own(tmp_path):
    few = ["train", "mlp", *DATA, "--device", "cpu:0", "--devices", 2, "--out", tmp_path]
    assert_refused(unmask(*few), "--device: each process takes one of its own; expected cpu, got cpu:0")
