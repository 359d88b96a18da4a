"""``unmask train``: a run that is stopped, resumed, stuck, diverged or watched."""

from __future__ import annotations

import pytest
import torch
from command_line import BOUND, DATA, assert_refused, unmask

from unmask.models.weights import read_tensors


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


@pytest.mark.slow
def test_masking_is_watched(tmp_path):
    settings = ["train", "mlp", "--widths", 128, *DATA, "--objective", "fgsm", "--epsilon", 0.4, "--lr", 0.02]
    run = [*settings, "--batch-size", 64, "--updates", 1000, "--watch", 50, "--out", tmp_path]
    masked = unmask(*run)
    assert masked.exit_code == 0
    table, _, said = masked.stdout.partition("logit distance\n")[2].partition("Masking set in at update ")
    update = int(said.split(":")[0])
    assert [int(line.split()[0]) for line in table.splitlines()] == [1, *range(50, update + 1, 50)]
    assert f"The weights are those of update {update - 50} again, whose accuracy under PGD was " in said
    assert f"update {update}, loss" in masked.stdout
    resumed = unmask(*run, "--updates", 2000, "--resume").stdout
    over = f"is over already, after {update} updates: masking ended it. Begin another in a folder of its own"
    assert over in resumed
    assert resumed.splitlines()[-4:] == masked.stdout.splitlines()[-4:]
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


def test_training_does_not_write_over_a_run(tmp_path):
    few = ("train", "linear", *DATA, "--updates", 2, "--out", tmp_path)
    assert unmask(*few).exit_code == 0
    assert_refused(unmask(*few), "holds a run already; go on with it by --resume, or name another folder")
    assert unmask(*few, "--resume").exit_code == 0


def test_training_does_not_write_over_weights(tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(b"mine")
    result = unmask("train", "linear", *DATA, "--updates", 2, "--out", tmp_path)
    assert_refused(result, "holds a weights.safetensors already, and no run to go on with; name another folder")
