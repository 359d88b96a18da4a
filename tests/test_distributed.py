"""Several processes: the run of one process but for rounding, outcomes in their order, and an end when one is killed.

Two processes on the CPU do once, in ``work``, all that the tests then look at.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from unmask.attacks import FGSM, PGD, RFGSM, evaluate
from unmask.cli import main
from unmask.data import load
from unmask.models import build
from unmask.models.weights import read_tensors, save_weights
from unmask.numerics import Batches
from unmask.training import Trainer
from unmask.training.distributed import join
from unmask.training.objectives import Adversarial, LogitDistance
from unmask.training.objectives import build as build_objective
from unmask.training.watch import Rule, Watch

pytestmark = pytest.mark.slow

PLAIN = Trainer(updates=10, batch_size=30, learning_rate=0.01)  # 4 updates per epoch, and 2 in the last
CASES = {
    "normal": PLAIN,
    "fgsm and clean": replace(PLAIN, objective=Adversarial(attack=FGSM(epsilon=0.1), clean_weight=0.5)),
    "rfgsm": replace(PLAIN, objective=Adversarial(attack=RFGSM(epsilon=0.1)), optimizer="momentum"),
    "pgd": replace(PLAIN, objective=Adversarial(attack=PGD(epsilon=0.1, steps=3, keep="last"))),
    "logit distance": replace(PLAIN, objective=LogitDistance(epsilon=0.1)),
    "uneven": replace(PLAIN, batch_size=33),  # 17 and 16 rows; in the last batch 11 and 10
    "one row left": replace(
        PLAIN, batch_size=7, updates=20
    ),  # the 18th batch is one row, of which the second process has none
    "float64": replace(
        PLAIN, batch_size=33, precision="float64", objective=build_objective("rfgsm+clean", epsilon=0.1)
    ),
    "bf16-mixed": replace(PLAIN, precision="bf16-mixed"),
}
TOLERANCE = {"float64": 1e-12, "bf16-mixed": 0.005}


def few():
    """The first 120 images."""
    return load("digits", "train").take(np.arange(120))


def perceptron(seed=0):
    return build("mlp", inputs=(1, 8, 8), classes=10, widths=(16,), seed=seed)


def attacked(model, images, labels, batches):
    return evaluate(model, images, labels, [FGSM(0.1), PGD(0.1, steps=5)], batches=batches)


def random_parts():
    """Batch norm and dropout, whose numbers are each process's own."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 10)
    )


def watching(data):
    return Watch(epsilon=0.1, images=data.images[:51], labels=data.labels[:51], every=2, rule=None)


# --- what each of the two processes does


def work(folder):
    spread = join(accelerator="cpu", devices=2, nodes=1, strategy="ddp")
    own, data = folder / str(spread.rank), few()
    own.mkdir()
    curves = {}
    for name, trainer in CASES.items():
        model = perceptron()
        curves[name] = [epoch.loss for epoch in trainer(model, data, spread=spread)]
        save_weights(model, own / f"{name}.safetensors")
    list(PLAIN(model := perceptron(), data, spread=spread))
    for count in (51, 1):
        outcome = attacked(model, data.images[:count], data.labels[:count], spread.batches(Batches(size=16)))
        np.savez(own / f"outcome {count}.npz", **{name: one.numpy() for name, one in outcome._asdict().items()})
    notes = {"curves": curves, "watched": watched(spread, data), "stopped": stopped(spread, data)}
    uneven_passes(spread, data, own)
    next(PLAIN(perceptron(), data, checkpoint=folder / "half", spread=spread))
    leave_within_an_epoch(spread, data, folder / "within")
    begun = folder / "half" if spread.rank == 0 else folder / "elsewhere"
    try:
        next(PLAIN(perceptron(), data, checkpoint=begun, resume=True, spread=spread))
    except ValueError as error:
        notes["another folder"] = str(error)
    (own / "notes.json").write_text(json.dumps(notes))
    torch.distributed.destroy_process_group()


def watched(spread, data):
    watch = watching(data)
    list(PLAIN(perceptron(), data, watch=watch, spread=spread))
    return watch.state_dict()["readings"].tolist()


def stopped(spread, data):
    """A rule that is soon broken: with batch norm, each process alone would read numbers of its own."""
    watch = replace(watching(data), rule=Rule(gap=0.01, fall=0.01))
    trainer = replace(PLAIN, updates=200, objective=build_objective("fgsm", epsilon=0.1))
    *_, last = trainer(random_parts(), data, watch=watch, spread=spread)
    return [last.update, last.returned_to, watch.state_dict()["readings"].tolist()]


def uneven_passes(spread, data, own):
    """An attack that takes more passes in one process than in the other."""
    attack = PGD(epsilon=0.1, steps=1 + 3 * spread.rank)
    for _ in replace(PLAIN, objective=Adversarial(attack=attack))(model := random_parts(), data, spread=spread):
        pass
    save_weights(model, own / "uneven passes.safetensors")


def leave_within_an_epoch(spread, data, folder):
    """Both processes end at the third update, with a checkpoint after each."""
    ticks = []

    def leave(_):
        ticks.append(1)
        if len(ticks) == 3:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched, suppress(KeyboardInterrupt):
        patched.setattr("unmask.training.run.CHECK_EVERY", 1)
        patched.setattr("unmask.training.run.SAVE_AFTER", 0.0)
        list(PLAIN(perceptron(), data, checkpoint=folder, progress=leave, spread=spread))


def torchrun(*arguments):
    program = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(program, cwd=Path(__file__).parent, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The folder in which the two processes left what came of it."""
    folder = tmp_path_factory.mktemp("spread")
    script = folder / "script.py"
    script.write_text(f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n")
    with script.open("a") as file:
        file.write(f"from pathlib import Path\nfrom test_distributed import work\nwork(Path({str(folder)!r}))\n")
    ran = torchrun(script)
    assert ran.returncode == 0, ran.stderr
    return folder


@pytest.fixture(scope="module")
def notes(done):
    first, second = (json.loads((done / rank / "notes.json").read_text()) for rank in "01")
    assert first["curves"] == second["curves"]
    return first | {"second": second}


# --- training


@pytest.mark.parametrize("name", CASES)
def test_two_processes_take_the_path_of_one(name, done, notes):
    trainer, model = CASES[name], perceptron()
    within = TOLERANCE.get(name, 1e-5)
    curve = [epoch.loss for epoch in trainer(model, few())]
    assert notes["curves"][name] == pytest.approx(curve, rel=within)
    first, second = (read_tensors(done / rank / f"{name}.safetensors") for rank in "01")
    assert {one.dtype for one in first.values()} == {torch.float64 if name == "float64" else torch.float32}
    for weight, value in model.state_dict().items():
        assert torch.equal(first[weight], second[weight])
        torch.testing.assert_close(first[weight], value, rtol=0, atol=5 * within)


def test_attacks_may_pass_as_often_as_they_like(done):
    first, second = (read_tensors(done / rank / "uneven passes.safetensors") for rank in "01")
    assert all(torch.equal(first[name], second[name]) for name in first)  # also what batch norm keeps


def test_a_run_of_two_processes_is_resumed_by_one(done):
    assert sorted(path.suffix or path.name for path in (done / "half").iterdir()) == [".json", ".safetensors", "lock"]
    through, resumed = perceptron(), perceptron(seed=1)
    epochs = list(PLAIN(through, few()))
    rest = list(PLAIN(resumed, few(), checkpoint=done / "half", resume=True))
    assert [epoch.loss for epoch in rest] == pytest.approx([epoch.loss for epoch in epochs[1:]], rel=1e-5)
    torch.testing.assert_close(resumed.state_dict(), through.state_dict(), rtol=0, atol=1e-4)


def test_a_run_that_two_processes_left_within_an_epoch_goes_on_from_there(done):
    ticks = []
    epochs = list(PLAIN(through := perceptron(), few()))
    options = {"checkpoint": done / "within", "resume": True, "progress": ticks.append}
    rest = list(PLAIN(resumed := perceptron(seed=1), few(), **options))
    assert len(ticks) == epochs[-1].update - 2
    assert [epoch.loss for epoch in rest] == pytest.approx([epoch.loss for epoch in epochs], rel=1e-5)
    torch.testing.assert_close(resumed.state_dict(), through.state_dict(), rtol=0, atol=1e-4)


def test_all_processes_must_see_the_checkpoint(notes):
    message = "checkpoint: expected a folder that all processes see, got one that holds {} updates"
    assert notes["another folder"] == message.format(4)
    assert notes["second"]["another folder"] == message.format(0)


def test_a_watch_reads_in_two_processes_what_it_reads_in_one(notes):
    watch = watching(few())
    list(PLAIN(perceptron(), few(), watch=watch))
    assert notes["watched"] == notes["second"]["watched"]
    np.testing.assert_allclose(notes["watched"], watch.state_dict()["readings"], rtol=1e-4)


def test_all_processes_stop_where_masking_is_called(notes):
    update, returned, readings = notes["stopped"]
    assert notes["stopped"] == notes["second"]["stopped"]
    assert update < 200
    assert returned == readings[-2][0] < update


# --- evaluation


@pytest.mark.parametrize("count", [51, 1])
def test_outcomes_are_those_of_one_process_in_their_order(count, done):
    data = few()
    list(PLAIN(model := perceptron(), data))
    alone = attacked(model, data.images[:count], data.labels[:count], Batches(size=16))
    for rank in "01":
        found = np.load(done / rank / f"outcome {count}.npz")
        assert found["predictions"].tolist() == alone.predictions.tolist()
        assert found["correct"].tolist() == alone.correct.tolist()
        np.testing.assert_allclose(found["images"], alone.images, atol=1e-5)


def test_the_command_splits_the_images_and_says_what_one_process_says(done, tmp_path):
    command = [
        "attack", "test_distributed:perceptron", "--weights", str(done / "0" / "normal.safetensors"),
        "--data", "digits", "--steps", "5", "--epsilon", "0.05,0.1", "--samples", "51",
    ]  # fmt: skip
    program = [sys.executable, "-m", "unmask", *command, "--devices", "2", "--save", str(tmp_path / "two.npz")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    two = subprocess.run(program, cwd=Path(__file__).parent, env=environment, capture_output=True, text=True)
    one = CliRunner().invoke(main, [*command, "--save", str(tmp_path / "one.npz")])
    assert one.exit_code == two.returncode == 0, two.stderr
    assert len(one.stdout.splitlines()) == 4  # a note, one for each epsilon, and where the images are
    assert two.stdout.replace("two.npz", "one.npz") == one.stdout
    with np.load(tmp_path / "one.npz") as left, np.load(tmp_path / "two.npz") as right:
        assert left["labels"].tolist() == right["labels"].tolist()
        np.testing.assert_allclose(left["images"], right["images"], atol=1e-5)


# --- a process that is gone


class Mortal(nn.Module):
    """Its process is killed in the thirtieth update, if it is the second one and nothing spares it."""

    def __init__(self):
        super().__init__()
        self.layers = perceptron()
        self.passes = 0

    def forward(self, images):
        self.passes += self.training
        if self.passes == 30 and os.environ.get("RANK") == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        return self.layers(images)


RUN = ["test_distributed:Mortal", "--data", "digits", "--updates", "40", "--lr", "0.01"]


def test_a_killed_process_ends_the_run_in_one_line_and_the_run_can_be_resumed(tmp_path):
    program = [sys.executable, "-m", "unmask", "train", *RUN, "--devices", "2", "--out", str(tmp_path / "two")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    killed = subprocess.run(program, cwd=Path(__file__).parent, env=environment, capture_output=True, text=True)
    assert killed.returncode == 3
    assert [line.split(",")[0] for line in killed.stdout.splitlines()] == [
        *(f"epoch {number}: update {9 * number}" for number in (1, 2, 3))
    ]
    assert killed.stderr.strip() == (
        "Error: rank 1: its process was killed by SIGKILL, and the others were ended; "
        "go on from the last checkpoint with --resume"
    )
    for folder in ("two", "one"):
        ended = CliRunner().invoke(main, ["train", *RUN, "--resume", "--out", str(tmp_path / folder)])
        assert "epoch 5: update 40" in ended.stdout
    resumed, through = (read_tensors(tmp_path / folder / "weights.safetensors") for folder in ("two", "one"))
    torch.testing.assert_close(resumed, through, rtol=0, atol=1e-4)


def test_a_process_ends_with_the_one_that_started_it():
    module = "unmask.training.distributed"
    child = f"import time; from {module} import end_with_parent; end_with_parent(); print(); time.sleep(60)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-uc', {child!r}])"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        parent.stdout.readline()
        parent.kill()
        begun = time.monotonic()
        parent.stdout.read()  # till nobody can write to it any more
    assert time.monotonic() - begun < 30
