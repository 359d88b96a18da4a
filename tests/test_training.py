"""Training: it learns, it goes on bit for bit from where it was stopped or killed, and it says when it is of no use."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass, replace
from functools import partial
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.optim import SGD, RMSprop

from unmask.attacks import FGSM, PGD, RFGSM
from unmask.attacks.trial import predict
from unmask.models import build
from unmask.training import DivergedError, Trainer
from unmask.training.checkpoint import Checkpoint
from unmask.training.objectives import PRESETS, Adversarial, Augmented, Ensemble, LogitDistance
from unmask.training.optimizers import OPTIMIZERS, Cosine, PrintedAdam, Steps
from unmask.training.run import CHECK_EVERY, STUCK_EVERY
from unmask.training.watch import Watch

RESUMED = Trainer(  # everything that draws random numbers or keeps a state; 4 updates per epoch, and 2 in the last
    updates=10,
    batch_size=30,
    objective=Adversarial(attack=RFGSM(epsilon=0.1), clean_weight=0.5),
    learning_rate=0.01,
    weight_decay=0.001,
    schedule=Steps(at=(5,), factors=(0.5,)),
)


@pytest.fixture(scope="module")
def few(digits):
    """The first 120 images."""
    return digits.take(np.arange(120))


def dropping(seed=0):
    """A network with dropout and batch norm."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 10)
        )


def convolutional(seed=0):
    return build("lenet+", inputs=(1, 8, 8), classes=10, width=4, seed=seed)


def deep():
    return build("mlp", inputs=(1, 8, 8), classes=10, widths=(32, 32, 32, 32))


def run(trainer, model, data, **options):
    return list(trainer(model, data, **options))


def assert_same(one, other):
    ours, theirs = one.state_dict(), other.state_dict()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


# --- it learns


def test_it_learns_the_digits(perceptron, held_out):
    assert (predict(perceptron, held_out.images) == held_out.labels).double().mean() > 0.95


def test_an_epoch_is_a_pass_over_all_images(few):
    ticks = []
    epochs = run(RESUMED, dropping(), few, progress=ticks.append)
    assert [(epoch.number, epoch.update) for epoch in epochs] == [(1, 4), (2, 8), (3, 10)]
    assert ticks == [1] * 10
    seen = []
    watch = Adversarial(attack=lambda model, images, labels: (seen.append(images), images)[1])
    run(replace(RESUMED, objective=watch, updates=8), dropping(), few)
    first, second = torch.cat(seen[:4]), torch.cat(seen[4:])
    assert not torch.equal(first, second)
    for passed in (first, second):
        assert torch.equal(passed.flatten(1).sum(1).sort().values, few.images.flatten(1).sum(1).sort().values)


def test_float64_takes_the_same_path_with_more_digits(digits):
    models = {}
    for precision in ("float32", "float64"):
        models[precision] = build("mlp", inputs=(1, 8, 8), classes=10, widths=(16,))
        run(Trainer(updates=18, precision=precision, optimizer="sgd"), models[precision], digits)
    assert {one.dtype for one in models["float64"].parameters()} == {torch.float64}
    torch.testing.assert_close(models["float64"].float().state_dict(), models["float32"].state_dict())


@pytest.mark.parametrize("objective", [PGD(epsilon=0.05, steps=2), FGSM(epsilon=0.05)], ids=["pgd", "fgsm"])
def test_bf16_mixed_keeps_the_weights_in_float32(objective, digits):
    trainer = Trainer(
        updates=45, precision="bf16-mixed", objective=Adversarial(attack=objective), learning_rate=0.01, batch_size=60
    )
    model = convolutional()
    epochs = run(trainer, model, digits)
    assert {one.dtype for one in model.parameters()} == {torch.float32}
    assert epochs[-1].loss < 0.8 * epochs[0].loss


def test_channels_last_changes_the_result_by_rounding_only(digits):
    usual, last = convolutional(), convolutional()
    epochs = run(Trainer(updates=18), usual, digits)
    again = run(Trainer(updates=18, channels_last=True), last, digits)
    assert last[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert [epoch.loss for epoch in again] == pytest.approx([epoch.loss for epoch in epochs], rel=1e-4)
    torch.testing.assert_close(last.state_dict(), usual.state_dict(), rtol=0, atol=1e-4)


def test_the_schedule_sets_the_learning_rate_of_each_update(few):
    model = dropping()
    before = [one.clone() for one in model.parameters()]
    stopped = replace(RESUMED, updates=4, schedule=Steps(at=(0,), factors=(0.0,)))
    run(stopped, model, few)
    assert all(torch.equal(*pair) for pair in zip(model.parameters(), before, strict=True))


def test_the_global_random_state_is_left_alone(few):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    for _ in RESUMED(dropping(), few):
        assert torch.equal(torch.get_rng_state(), before)
    model = dropping()
    torch.rand(1)  # nor does it matter
    run(RESUMED, model, few)
    run(RESUMED, other := dropping(), few)
    assert_same(model, other)


# --- it goes on from where it was

NESTEROV = partial(SGD, momentum=0.9, nesterov=True)


@pytest.mark.parametrize("stopped_after", [1, 2, 3])
@pytest.mark.parametrize("optimizer", [*OPTIMIZERS, NESTEROV], ids=[*OPTIMIZERS, "nesterov"])
def test_a_resumed_run_is_the_same_run(optimizer, stopped_after, few, tmp_path):
    trainer = replace(RESUMED, optimizer=optimizer)
    through = dropping()
    epochs = run(trainer, through, few)
    first = list(islice(trainer(dropping(), few, checkpoint=tmp_path), stopped_after))
    second = run(trainer, resumed := dropping(seed=1), few, checkpoint=tmp_path, resume=True)
    assert [(epoch.update, epoch.loss) for epoch in first + second] == [(epoch.update, epoch.loss) for epoch in epochs]
    assert_same(resumed, through)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_so_it_is_with_channels_last(optimizer, few, tmp_path):
    trainer = replace(RESUMED, optimizer=optimizer, channels_last=True)
    run(trainer, through := convolutional(), few)
    next(trainer(convolutional(), few, checkpoint=tmp_path))
    run(trainer, resumed := convolutional(seed=1), few, checkpoint=tmp_path, resume=True)
    assert_same(resumed, through)


def test_a_run_that_ended_within_an_epoch_can_be_made_longer(few, tmp_path):
    longer = replace(RESUMED, updates=15)
    run(longer, through := dropping(), few)
    run(RESUMED, dropping(), few, checkpoint=tmp_path)
    run(longer, resumed := dropping(seed=1), few, checkpoint=tmp_path, resume=True)
    assert_same(resumed, through)


def test_so_can_one_that_is_longer_than_float32_can_count(few, tmp_path):
    done = 2**24 + 1
    run(replace(RESUMED, updates=1), dropping(), few, checkpoint=tmp_path)
    index = tmp_path / "checkpoint.json"
    index.write_text(index.read_text().replace('"update": 1,', f'"update": {done},'))
    (epoch,) = run(replace(RESUMED, updates=done + 1), dropping(), few, checkpoint=tmp_path, resume=True)
    assert epoch.update == done + 1


@pytest.mark.parametrize("stopped_in", [2, 4, 7, 9])
def test_a_run_that_was_killed_within_an_epoch_goes_on_from_its_middle(stopped_in, few, tmp_path, monkeypatch):
    monkeypatch.setattr("unmask.training.run.CHECK_EVERY", 1)
    monkeypatch.setattr("unmask.training.run.SAVE_AFTER", 0.0)

    def watching():
        return Watch(epsilon=0.1, images=few.images, labels=few.labels, every=3, steps=1, rule=None)

    def kill(_):
        ticks.append(1)
        if len(ticks) == stopped_in:
            raise KeyboardInterrupt

    epochs = run(RESUMED, through := dropping(), few, watch=watching())
    first, ticks = [], []
    with pytest.raises(KeyboardInterrupt):
        first.extend(RESUMED(dropping(), few, checkpoint=tmp_path, watch=watching(), progress=kill))
    ticks.clear()
    rest = run(RESUMED, resumed := dropping(seed=1), few, checkpoint=tmp_path, resume=True, watch=watching(),
               progress=ticks.append)  # fmt: skip
    assert len(ticks) == 10 - (stopped_in - 1)
    assert [replace(one, seconds=0.0) for one in first + rest] == [replace(one, seconds=0.0) for one in epochs]
    assert_same(resumed, through)


def test_within_an_epoch_a_checkpoint_is_written_only_once_it_is_due(few, tmp_path, monkeypatch):
    monkeypatch.setattr("unmask.training.run.CHECK_EVERY", 1)
    index, seen = tmp_path / "checkpoint.json", []
    run(RESUMED, dropping(), few, checkpoint=tmp_path, progress=lambda _: seen.append(index.exists()))
    assert seen == 4 * [False] + 6 * [True]


def test_a_finished_run_is_not_overwritten_and_one_not_begun_may_be_resumed(few, tmp_path):
    run(RESUMED, first := dropping(), few, checkpoint=str(tmp_path))
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match="holds a run already; resume it, or name another folder"):
        next(RESUMED(dropping(), few, checkpoint=tmp_path))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept
    run(RESUMED, fresh := dropping(), few, checkpoint=tmp_path / "none yet", resume=True)
    assert_same(fresh, first)


def test_what_cannot_be_kept_is_said_before_anything_is_computed(few, tmp_path):
    (tmp_path / "file").write_text("")
    steps = []
    with pytest.raises(ValueError, match="file: expected a folder to write checkpoints to, got File exists"):
        next(RESUMED(dropping(), few, checkpoint=tmp_path / "file", progress=steps.append))
    with pytest.raises(ValueError, match="resume: expected a checkpoint to go on from, got none"):
        next(RESUMED(dropping(), few, resume=True, progress=steps.append))
    with pytest.raises(ValueError, match=r"data: expected an unmask.data.Dataset, got tuple"):
        next(RESUMED(dropping(), (few.images, few.labels), progress=steps.append))
    assert not steps


class Scaled:
    """An objective of someone's own, which does not show what it holds."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, model, images, labels, *, step=0):
        return self.factor * functional.cross_entropy(model(images), labels)


@pytest.mark.parametrize("wrapped", [lambda one: one, lambda one: Augmented(objective=one)], ids=["alone", "within"])
def test_a_run_is_not_resumed_with_an_objective_of_ones_own_that_holds_something_else(wrapped, few, tmp_path):
    next(replace(RESUMED, objective=wrapped(Scaled(2.0)))(dropping(), few, checkpoint=tmp_path))
    other = replace(RESUMED, objective=wrapped(Scaled(3.0)))
    with pytest.raises(ValueError, match=r"of a run with objective .* factor 2, got .* factor 3; resume"):
        next(other(dropping(), few, checkpoint=tmp_path, resume=True))
    assert list(replace(RESUMED, objective=wrapped(Scaled(2.0)))(dropping(), few, checkpoint=tmp_path, resume=True))


def test_two_processes_do_not_train_into_one_folder(few, tmp_path):
    epochs = RESUMED(dropping(), few, checkpoint=tmp_path)
    next(epochs)
    second = f"""
        from pathlib import Path
        from unmask.training.checkpoint import Checkpoint

        with Checkpoint(folder=Path({str(tmp_path)!r}), settings={{}}).held():
            pass
    """

    def tried():
        return subprocess.run([sys.executable, "-c", textwrap.dedent(second)], capture_output=True, text=True)

    assert "expected no other process to train into it, got one that does; wait for its end" in tried().stderr
    epochs.close()
    assert tried().returncode == 0


def test_a_run_is_not_resumed_on_other_data(few, tmp_path):
    next(RESUMED(dropping(), few, checkpoint=tmp_path))
    other = replace(few, images=1 - few.images)
    with pytest.raises(ValueError, match=r"is of a run with data .* SHA-256 .*, got .* SHA-256"):
        next(RESUMED(dropping(), other, checkpoint=tmp_path, resume=True))


def test_weights_that_are_used_twice_are_kept(few, tmp_path):
    class Tied(nn.Module):
        def __init__(self, seed):
            super().__init__()
            self.first, self.last = (dropping(seed)[layer] for layer in (1, 5))
            self.middle = nn.Linear(16, 16, bias=False)
            self.again = self.middle

        def forward(self, images):
            return self.last(self.again(self.middle(self.first(images.flatten(1))).relu()))

    through = Tied(0)
    start = {name: value.clone() for name, value in through.state_dict().items()}
    run(RESUMED, through, few)
    stopped, resumed = Tied(0), Tied(1)
    stopped.load_state_dict(start)
    next(RESUMED(stopped, few, checkpoint=tmp_path))
    run(RESUMED, resumed, few, checkpoint=tmp_path, resume=True)
    assert_same(resumed, through)


KILLED = """
import itertools, os, signal, sys, time
from pathlib import Path
import numpy, torch
torch.set_num_threads(int(sys.argv[2]))
from test_training import RESUMED, dropping, save_filled
from unmask.data import load

def begin(work, *arguments):
    process = os.fork()
    if not process:
        work(*arguments)
        os._exit(0)
    return process

def train(folder):
    few = load("digits", "train").take(numpy.arange(120))
    for epoch in RESUMED(dropping(), few, checkpoint=folder):
        if epoch.number == 2:
            os.kill(os.getpid(), signal.SIGKILL)

def save(folder):
    for update in itertools.count(1):
        save_filled(folder, update, value=update, width=300)

save_filled(Path(sys.argv[1], "first"), 1, value=1)  # loads what torch loads late, once for all processes
os.waitpid(begin(train, Path(sys.argv[1], "trained")), 0)
for number in range(8):
    folder = Path(sys.argv[1], f"saved-{number}")
    process = begin(save, folder)
    while not (folder / "checkpoint.json").exists():
        time.sleep(0.001)
    time.sleep(0.004 * number)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
"""


def save_filled(folder, update, *, value, width=4):
    """A checkpoint with weights that are all ``value``, and an optimizer's state of -``value``."""
    model = nn.Linear(width, 100)
    optimizer = torch.optim.SGD(model.parameters(), momentum=0.9)
    for one in model.parameters():
        one.data.fill_(value)
        optimizer.state[one]["momentum_buffer"] = torch.full_like(one, -value)
    Checkpoint(folder=folder, settings={}).save(model, optimizer, update)


def filled(folder, *, width=4):
    """The update and the value that a checkpoint of ``save_filled`` holds; fails if it holds two of them."""
    model = nn.Linear(width, 100)
    optimizer = torch.optim.SGD(model.parameters(), momentum=0.9)
    update = Checkpoint(folder=folder, settings={}).restore(model, optimizer)
    tensors = [*model.state_dict().values(), *(-one["momentum_buffer"] for one in optimizer.state.values())]
    (value,) = torch.cat([one.flatten() for one in tensors]).unique().tolist()
    return update, value


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Folders that SIGKILL left: of a run that it met after two epochs, and of processes that it met at saving."""
    folder = tmp_path_factory.mktemp("killed")
    program = [sys.executable, "-c", KILLED, str(folder), str(torch.get_num_threads())]
    subprocess.run(program, cwd=Path(__file__).parent, check=True)
    return folder


def test_another_process_takes_over_from_one_that_was_killed(few, killed):
    run(RESUMED, through := dropping(), few)
    (last,) = run(RESUMED, resumed := dropping(seed=1), few, checkpoint=killed / "trained", resume=True)
    assert last.update == 10
    assert_same(resumed, through)


def test_a_kill_at_any_instant_leaves_a_whole_checkpoint(killed):
    for folder in killed.glob("saved-*"):
        update, value = filled(folder, width=300)
        assert update == value >= 1


class Crash(BaseException):
    """The end of the process, as far as the code that runs in it can tell."""


@pytest.mark.parametrize("next_update", [1, 2], ids=["anew", "on"])
def test_a_crash_at_each_step_of_writing_leaves_a_whole_checkpoint(next_update, tmp_path, monkeypatch):
    """After the crash nothing works any more, not even clearing up; what is not yet on the disk is torn in half."""
    steps = {"fsync": os.fsync, "replace": Path.replace, "unlink": Path.unlink}
    left = 0

    def step(name):
        def work(*arguments, **options):
            nonlocal left
            left -= 1
            if left < 0:
                if name == "fsync" and left == -1:
                    os.ftruncate(arguments[0], os.fstat(arguments[0]).st_size // 2)
                raise Crash
            return steps[name](*arguments, **options)

        return work

    found = set()
    for survived in count():
        folder = tmp_path / str(survived)
        save_filled(folder, 1, value=1)
        left = survived
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", step("fsync"))
            patched.setattr(Path, "replace", step("replace"))
            patched.setattr(Path, "unlink", step("unlink"))
            try:
                save_filled(folder, next_update, value=2)
            except Crash:
                crashed = True
            else:
                crashed = False
        found.add(filled(folder))
        save_filled(folder, 3, value=3)  # and it can go on
        assert filled(folder) == (3, 3)
        assert len(list(folder.glob("update-*"))) == 1
        if not crashed:
            break
    assert survived > 4
    assert found == {(1, 1), (next_update, 2)}


# --- it refuses what is not the same run


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 1}, "is of a run with seed 0, got 1; resume with the same settings"),
        ({"learning_rate": 0.1}, "learning_rate 0.01, got 0.1"),
        ({"batch_size": 20}, "batch_size 30, got 20"),
        ({"optimizer": "sgd"}, "optimizer adam, got sgd"),
        ({"schedule": Cosine(updates=10)}, r"schedule Steps\(.*got Cosine\("),
        ({"objective": Adversarial(attack=RFGSM(epsilon=0.2), clean_weight=0.5)}, r"epsilon=0\.1.* got .*epsilon=0\.2"),
        ({"objective": LogitDistance(epsilon=0.1)}, r"objective Adversarial\(.*got LogitDistance\("),
        ({"precision": "float64"}, "precision float32, got float64"),
    ],
)
def test_a_run_with_other_settings_is_not_resumed(changed, message, few, tmp_path):
    next(RESUMED(dropping(), few, checkpoint=tmp_path))
    with pytest.raises(ValueError, match=message):
        next(replace(RESUMED, **changed)(dropping(), few, checkpoint=tmp_path, resume=True))


def test_another_network_is_not_resumed(few, tmp_path):
    next(RESUMED(dropping(), few, checkpoint=tmp_path))
    other = build("mlp", inputs=(1, 8, 8), classes=10, widths=(17,))
    with pytest.raises(ValueError, match=r"tensor '1.weight': expected shape \(17, 64\), got \(16, 64\)"):
        next(RESUMED(other, few, checkpoint=tmp_path, resume=True))


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("pattern", "damage", "message"),
    [
        ("update-*", flip, r"SHA-256 is not the one in checkpoint\.json; the checkpoint is damaged"),
        ("update-*", lambda path: path.write_bytes(path.read_bytes()[:-1]), "the checkpoint is damaged"),
        ("update-*", Path.unlink, "no such weights file"),
        ("*.json", lambda path: path.write_text(path.read_text()[:-9]), r"checkpoint\.json: expected a checkpoint"),
        ("*.json", lambda path: path.write_bytes(b"\xff\xfe"), r"checkpoint\.json: expected a checkpoint"),
        ("*.json", lambda path: path.write_text("[]"), r"checkpoint\.json: expected a checkpoint"),
        ("*.json", lambda path: path.write_text("{}"), r"checkpoint\.json: expected a checkpoint"),
        ("*.json", lambda path: path.write_text(json.dumps({"format": "other"})), "got another format"),
    ],
)
def test_a_damaged_checkpoint_is_refused(pattern, damage, message, few, tmp_path):
    next(RESUMED(dropping(), few, checkpoint=tmp_path))
    (path,) = tmp_path.glob(pattern)
    damage(path)
    with pytest.raises(ValueError, match=message):
        next(RESUMED(dropping(), few, checkpoint=tmp_path, resume=True))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"updates": 0}, "updates and batch_size: expected whole numbers from 1 up, got 0 and 30"),
        ({"batch_size": 0}, "updates and batch_size: expected whole numbers from 1 up, got 10 and 0"),
        ({"updates": 3.0}, "updates and batch_size: expected whole numbers from 1 up, got 3.0 and 30"),
        ({"schedule": 0.1}, r"schedule: expected one of unmask.training.optimizers, such as Constant\(\), got 0.1"),
        ({"learning_rate": float("nan")}, "learning_rate: expected a finite number above 0, got nan"),
        ({"weight_decay": -1}, "weight_decay: expected a finite number from 0 up, got -1"),
        ({"objective": "fgsm"}, "objective: expected one of unmask.training.objectives, .* got 'fgsm'"),
        ({"objective": FGSM(epsilon=0.1)}, r"objective: expected one that takes \(.*, step\), got FGSM\(epsilon=0.1"),
        ({"objective": lambda model, images, labels: 0}, r"objective: expected one that takes \(.*, step\), got <lamb"),
        ({"precision": "float16"}, "precision: expected 'float32', 'float64' or 'bf16-mixed', got 'float16'"),
    ],
)
def test_impossible_settings_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        replace(RESUMED, **setting)


def test_an_unknown_optimizer_is_refused(few):
    with pytest.raises(ValueError, match=r"optimizer: expected one of sgd, .*, got 'lion'"):
        next(replace(RESUMED, optimizer="lion")(dropping(), few))


def test_functions_that_make_optimizers_are_told_apart_by_what_they_make(few, tmp_path):
    first, second = (partial(made, momentum=0.9) for made in (SGD, RMSprop))
    functions = [lambda parameters, lr, made=made, **options: made(parameters, lr=lr) for made in (first, second)]
    next(replace(RESUMED, optimizer=functions[0])(dropping(), few, checkpoint=tmp_path))
    with pytest.raises(ValueError, match=r"is of a run with optimizer SGD \{.*, got RMSprop \{"):
        next(replace(RESUMED, optimizer=functions[1])(dropping(), few, checkpoint=tmp_path, resume=True))


@pytest.mark.parametrize(
    ("loss", "found"),
    [
        (lambda logits: functional.cross_entropy(logits, logits.argmax(1), reduction="none"), r"of shape .*\(30,\)"),
        (lambda logits: logits.sum().item(), "of shape .* got float"),
        (lambda logits: logits.detach().sum(), "with a gradient, got one without; is it detached"),
    ],
)
def test_an_objective_that_returns_no_loss_is_refused(loss, found, few):
    with pytest.raises(ValueError, match=f"objective: expected a loss {found}"):
        next(replace(RESUMED, objective=lambda model, images, labels, *, step: loss(model(images)))(dropping(), few))


def test_numpys_whole_numbers_are_whole_numbers():
    assert Trainer(updates=np.int64(3), batch_size=np.int32(2)).updates == 3


def test_a_watch_is_a_watch(few):
    with pytest.raises(ValueError, match=r"watch: expected an unmask\.watch\.Watch, got int"):
        next(RESUMED(dropping(), few, watch=100))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Softmax(1)), "expected logits, got probabilities"),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 7)), r"expected logits \(N, 10\) for 10 classes, got \(N, 7\)"),
        (nn.Flatten(), "expected weights to train, got none that ask for a gradient"),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).requires_grad_(False), "expected weights to train, got none"),
        (torch.flatten, "expected a torch module to train, got builtin_function_or_method"),
        (nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), r"raised RuntimeError on images \(2, 1, 8, 8\)"),
    ],
)
def test_a_model_that_does_not_fit_the_data_is_refused_before_anything_is_written(model, message, few, tmp_path):
    with pytest.raises(ValueError, match=f"^model: {message}"):
        next(RESUMED(model, few, checkpoint=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


# --- it says when it is of no use

JUMP = replace(RESUMED, optimizer="sgd", schedule=Steps(at=(6,), factors=(1e30,)))


def test_a_loss_that_is_not_finite_ends_the_run_at_the_last_good_checkpoint(few, tmp_path):
    model = build("mlp", inputs=(1, 8, 8), classes=10, widths=(16,))
    epochs = JUMP(model, few, checkpoint=tmp_path)
    assert next(epochs).update == 4
    with pytest.raises(
        DivergedError,
        match=r"^loss: expected a finite number, got (nan|inf) at update 8; the last good checkpoint is .*"
        r"checkpoint\.json; begin again in another folder, at a lower learning rate$",
    ) as caught:
        next(epochs)
    assert caught.value.update == 8
    assert caught.value.checkpoint == tmp_path / "checkpoint.json"
    assert json.loads(caught.value.checkpoint.read_text())["update"] == 4
    with pytest.raises(DivergedError, match="at update 8"):  # the weights are put back before they are looked at
        next(JUMP(model, few, checkpoint=tmp_path, resume=True))


def test_a_run_that_diverged_does_not_go_on_for_long(digits):
    ticks = []
    trainer = Trainer(updates=1000, batch_size=2, optimizer="sgd", learning_rate=1e30)
    with pytest.raises(DivergedError, match=r"at update [23]; no checkpoint was kept"):
        next(trainer(deep(), digits, progress=ticks.append))
    assert len(ticks) <= CHECK_EVERY


def test_weights_that_are_not_finite_are_not_kept(few, tmp_path):
    """The only update of the epoch breaks the weights; its loss was measured before."""
    trainer = Trainer(updates=3, batch_size=120, optimizer="sgd", learning_rate=1e39)
    with pytest.raises(
        DivergedError, match=r"^weights: expected finite numbers, .* at update 1; no checkpoint was kept"
    ):
        next(trainer(deep(), few, checkpoint=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def dead():
    """A network whose hidden units are all off, on every image, and so have no gradient."""
    model = build("mlp", inputs=(1, 8, 8), classes=10, widths=(16,))
    model[1].bias.data.fill_(-20.0)
    return model


STUCK = {
    "dead start": (dead, {}),
    "dead start, fgsm": (dead, {"objective": PRESETS["fgsm"](0.1)}),
    "high rate": (deep, {"learning_rate": 1.0}),
    "learned, then lost": (deep, {"schedule": Steps(at=(350,), factors=(1000.0,))}),
}


@pytest.mark.parametrize("name", STUCK)
def test_a_run_that_is_stuck_at_chance_says_so_within_500_updates(name, digits):
    """Though its epoch has 539; the epoch then goes on."""
    network, settings = STUCK[name]
    trainer = Trainer(**{"updates": 600, "batch_size": 2, "learning_rate": 0.003} | settings)
    epochs = run(trainer, network(), digits)
    assert [(one.number, one.update, one.stuck) for one in epochs] == [(1, 500, True), (1, 539, True), (2, 600, True)]


def test_to_say_that_it_is_stuck_does_not_change_the_run(digits, tmp_path, monkeypatch):
    trainer = Trainer(updates=560, batch_size=2, learning_rate=1.0)
    run(trainer, said := deep(), digits)
    next(trainer(deep(), digits, checkpoint=tmp_path))
    run(trainer, resumed := deep(), digits, checkpoint=tmp_path, resume=True)
    monkeypatch.setattr("unmask.training.run.Run.is_stuck", lambda *arguments: False)
    epochs = run(trainer, unsaid := deep(), digits)
    assert [epoch.update for epoch in epochs] == [539, 560]
    assert_same(said, unsaid)
    assert_same(resumed, unsaid)


@pytest.mark.parametrize("objective", ["normal", "fgsm"])
def test_a_short_run_is_judged_at_its_end(objective, digits):
    trainer = Trainer(updates=90, learning_rate=1.0, objective=PRESETS[objective](0.1))
    assert [epoch.stuck for epoch in run(trainer, deep(), digits)] == [False] * 9 + [True]


def test_guessing_costs_less_where_one_class_is_common(digits):
    """Of 56 images 50 are of one class: the network knows no more than that, and its loss is far below ln 10."""
    rows = torch.cat([(digits.labels == 0).nonzero()[:50, 0], (digits.labels == 1).nonzero()[:6, 0]])
    epochs = run(Trainer(updates=200, learning_rate=0.05), dead(), digits.take(rows.numpy()))
    assert epochs[-1].loss < 0.4
    assert epochs[-1].stuck


@pytest.mark.parametrize("objective", ["normal", "fgsm"])
def test_no_healthy_start_of_twenty_is_taken_for_one(objective, digits):
    """At update 100 already, where telling them apart is harder than at 500."""
    for seed in range(20):
        model = build("mlp", inputs=(1, 8, 8), classes=10, widths=(32,), seed=seed)
        trainer = Trainer(updates=100, batch_size=20, objective=PRESETS[objective](0.1), seed=seed)
        assert not run(trainer, model, digits)[-1].stuck


@pytest.mark.parametrize("objective", ["fgsm", "rfgsm+clean", "logit-distance"])
def test_a_loss_above_that_of_guessing_does_not_tell(objective, digits):
    trainer = Trainer(updates=9, objective=PRESETS[objective](0.1))
    (epoch,) = run(trainer, build("mlp", inputs=(1, 8, 8), classes=10, widths=(64,)), digits)
    assert epoch.loss > 0.98 * np.log(10)
    assert not epoch.stuck


# --- what people bring along


class Counting(torch.optim.Optimizer):
    """Steps that grow shorter with a count that it keeps in its group, and one that each parameter keeps."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr, "k": 0})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            group["k"] += 1
            for one in group["params"]:
                state = self.state[one]
                state["step"] = state.get("step", 0) + 1
                one.sub_(group["lr"] / group["k"] / state["step"] * one.grad)


class CountingInATensor(Counting):
    """The same, but for a tensor that counts."""

    def __init__(self, params, lr):
        super().__init__(params, lr)
        for group in self.param_groups:
            group["k"] = torch.zeros(())


class Free:
    """Free adversarial training: the perturbation goes on from the last update."""

    def __init__(self):
        self.noise = torch.zeros(30, 1, 8, 8)

    def __call__(self, model, images, labels, *, step):
        noise = self.noise[: len(images)].clone().requires_grad_()
        loss = functional.cross_entropy(model((images + noise).clamp(0, 1)), labels)
        (slope,) = torch.autograd.grad(loss, noise, retain_graph=True)
        self.noise = self.noise.clone()
        self.noise[: len(images)] = (noise.detach() + 0.1 * slope.sign()).clamp(-0.1, 0.1)
        return loss

    def state_dict(self):
        return {"noise": self.noise}

    def load_state_dict(self, state):
        self.noise = state["noise"]


class Bank(Free):
    """One that is empty at first, and then is not."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __len__(self):
        return len(self.seen)

    def __call__(self, model, images, labels, *, step):
        self.seen.append(step)
        return super().__call__(model, images, labels, step=step)


class Tracking(nn.Module):
    """A module that begins with chance numbers and follows the loss."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.rand(()))

    def forward(self, model, images, labels, *, step):
        loss = functional.cross_entropy(model(images), labels)
        self.mean = 0.9 * self.mean + 0.1 * loss.detach()
        return loss * self.mean


@pytest.mark.parametrize(
    "brought",
    [
        lambda: {"optimizer": Counting},
        lambda: {"optimizer": CountingInATensor},
        lambda: {"objective": Free()},
        lambda: {"objective": Bank()},
        lambda: {"objective": Augmented(objective=Free(), padding=1)},
    ],
)
def test_what_optimizers_and_objectives_count_is_resumed(brought, few, tmp_path):
    run(replace(RESUMED, weight_decay=0.0, **brought()), through := dropping(), few)
    next(replace(RESUMED, weight_decay=0.0, **brought())(dropping(), few, checkpoint=tmp_path))
    trainer = replace(RESUMED, weight_decay=0.0, **brought())
    run(trainer, resumed := dropping(seed=1), few, checkpoint=tmp_path, resume=True)
    assert_same(resumed, through)


@pytest.mark.parametrize("made", [Free, Bank, Tracking, lambda: Wrapped(Tracking())])
def test_what_an_objective_counts_is_no_setting_of_the_run(made, few, tmp_path):
    """Whether it goes on itself, or another that has yet to be given what was counted."""
    itself = made()
    start = copy.deepcopy(itself)
    run(replace(RESUMED, objective=copy.deepcopy(start)), through := dropping(), few)
    for first, second in ((itself, itself), (start, made())):
        folder = tmp_path / str(second is itself)
        next(replace(RESUMED, objective=first)(dropping(), few, checkpoint=folder))
        run(replace(RESUMED, objective=second), resumed := dropping(), few, checkpoint=folder, resume=True)
        assert_same(resumed, through)


class Wrapped:
    """An objective of one's own around another."""

    def __init__(self, objective):
        self.objective = objective

    def __call__(self, model, images, labels, *, step):
        return self.objective(model, images, labels, step=step)


class ScaledFree(Free):
    """A setting beside what it remembers."""

    def __init__(self, scale):
        super().__init__()
        self.scale = scale


@dataclass(frozen=True, repr=False)
class Quiet:
    """It shows nothing of its settings."""

    smoothing: float

    def __call__(self, model, images, labels, *, step):
        return functional.cross_entropy(model(images), labels, label_smoothing=self.smoothing)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ScaledFree(0.1), ScaledFree(0.9)),
        (Wrapped(ScaledFree(0.1)), Wrapped(ScaledFree(0.9))),
        (Wrapped(Scaled(2)), Wrapped(Scaled(3))),
        (Quiet(0.0), Quiet(0.5)),
    ],
)
def test_what_it_does_not_count_is_a_setting(one, other, few, tmp_path):
    next(replace(RESUMED, objective=copy.deepcopy(one))(dropping(), few, checkpoint=tmp_path))
    with pytest.raises(ValueError, match="is of a run with objective"):
        next(replace(RESUMED, objective=other)(dropping(), few, checkpoint=tmp_path, resume=True))
    next(replace(RESUMED, objective=one)(dropping(), few, checkpoint=tmp_path, resume=True))


def with_an_empty_group(parameters, lr):
    return SGD([{"params": list(parameters)}, {"params": [], "weight_decay": 0.0}], lr=lr)


def with_another(parameters, lr):
    return SGD([*parameters, nn.Parameter(torch.zeros(3))], lr=lr)


def with_an_anchor(parameters, lr):
    own = list(parameters)
    return SGD(
        [{"params": own, "anchor": [one.detach().clone() for one in own], "by": lambda x: x, "of": {"a"}}], lr=lr
    )


@pytest.mark.parametrize("made", [with_an_empty_group, with_another, with_an_anchor])
def test_groups_may_hold_anything(made, few, tmp_path):
    trainer = replace(RESUMED, weight_decay=0.0, optimizer=made)
    run(trainer, through := dropping(), few)
    next(trainer(model := dropping(), few, checkpoint=tmp_path))
    run(trainer, model, few, checkpoint=tmp_path, resume=True)
    assert_same(model, through)
    assert " at 0x" not in (tmp_path / "checkpoint.json").read_text()


def still_in_front(parameters, lr):
    first, *others, last = parameters
    return SGD([{"params": [first], "lr": 0.0}, {"params": [*others, last]}], lr=lr)


def backwards(parameters, lr):
    return SGD(list(parameters)[::-1], lr=lr, momentum=0.9)


def decaying(decay):
    return lambda parameters, lr: SGD([{"params": [one], "weight_decay": decay} for one in parameters], lr=lr)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (partial(SGD, momentum=0.9), backwards),
        (still_in_front, SGD),
        (decaying(0.01), decaying(5.0)),
        (partial(SGD, momentum=0.9), partial(SGD, momentum=0.8)),
        (partial(PrintedAdam, reading="literal"), PrintedAdam),
    ],
)
def test_going_on_with_other_groups_is_refused(one, other, few, tmp_path):
    trainer = replace(RESUMED, weight_decay=0.0)
    next(replace(trainer, optimizer=one)(dropping(), few, checkpoint=tmp_path))
    with pytest.raises(ValueError, match=r"is of a run with optimizer (\w+) \{.* got \1 \{"):
        next(replace(trainer, optimizer=other)(dropping(), few, checkpoint=tmp_path, resume=True))
    next(replace(trainer, optimizer=one)(dropping(), few, checkpoint=tmp_path, resume=True))


def test_groups_keep_learning_rates_of_their_own(few):
    model = dropping()
    before = copy.deepcopy(model)
    run(replace(RESUMED, optimizer=still_in_front, weight_decay=0.0), model, few)
    assert torch.equal(model[1].weight, before[1].weight)
    assert not torch.equal(model[5].weight, before[5].weight)


def test_a_learning_rate_within_an_optimizer_is_refused(few):
    trainer = replace(RESUMED, optimizer=partial(SGD, lr=0.1))
    with pytest.raises(ValueError, match="optimizer: expected its learning rate as learning_rate, got an lr in"):
        next(trainer(dropping(), few))


def test_a_last_batch_of_one_image_is_too_small_for_batch_norm(few):
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 10))
    size = len(few) - 1
    message = f"batch_size: expected one that leaves no batch of one image, .* got {size} for {len(few)} images"
    with pytest.raises(ValueError, match=message):
        run(Trainer(updates=2, batch_size=size), model, few)


def test_complex_and_whole_numbers_stay_as_they_are(few):
    class Filtered(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("filter", torch.exp(2j * torch.pi * torch.rand(8, 8)))
            self.last = nn.Linear(64, 10)

        def forward(self, images):
            return self.last(torch.fft.ifft2(torch.fft.fft2(images) * self.filter).real.flatten(1))

    model = Filtered()
    before = model.filter.clone()
    run(replace(RESUMED, updates=1), model, few)
    assert torch.equal(model.filter, before)


def test_a_part_in_evaluation_mode_stays_so_while_the_rest_trains(few):
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16)).requires_grad_(False).eval()
    model, modes = nn.Sequential(backbone, nn.Linear(16, 10)), []
    before = copy.deepcopy(backbone)
    for _ in RESUMED(model, few):
        modes.append((model.training, backbone.training))
        model.eval()  # as one does to evaluate between the passes
    assert set(modes) == {(True, False)}
    assert_same(backbone, before)


def test_so_it_does_when_resumed_after_an_evaluation(few, tmp_path):
    def frozen():
        torch.manual_seed(0)
        backbone = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16)).requires_grad_(False).eval()
        return nn.Sequential(backbone, nn.Linear(16, 10))

    run(RESUMED, through := frozen(), few)
    next(RESUMED(model := frozen(), few, checkpoint=tmp_path))
    run(RESUMED, model.eval(), few, checkpoint=tmp_path, resume=True)
    assert_same(model, through)
    assert [part.training for part in model] == [False, True]


def test_a_model_in_evaluation_mode_as_a_whole_is_trained(few):
    for _ in RESUMED(model := dropping().eval(), few):
        assert all(part.training for part in model.modules())


@dataclass(frozen=True)
class Taught:
    """Learns what a teacher says, or one of several."""

    teacher: object

    def __call__(self, model, images, labels, *, step):
        first = self.teacher[0] if isinstance(self.teacher, tuple) else self.teacher
        return (model(images) - first(images).detach()).square().mean()


def taught(model, images, labels, *, step, teacher):
    return Taught(teacher)(model, images, labels, step=step)


def test_going_on_with_another_teacher_or_attack_within_is_refused(few, tmp_path):
    source = dropping().eval()
    attacks = [Moving(0.1), Moving(0.2)]
    for place, (one, other) in enumerate(
        (
            [partial(taught, teacher=dropping(seed=seed).eval()) for seed in (1, 2)],
            [Ensemble(attack=attack, sources=(source,)) for attack in attacks],
            [Adversarial(attack=attack) for attack in attacks],
        )
    ):
        next(replace(RESUMED, objective=one)(dropping(), few, checkpoint=tmp_path / str(place)))
        with pytest.raises(ValueError, match="resume with the same settings"):
            next(replace(RESUMED, objective=other)(dropping(), few, checkpoint=tmp_path / str(place), resume=True))


class Moving:
    """An attack that shows nothing of what it holds."""

    def __init__(self, by):
        self.by = by

    def __call__(self, model, images, labels):
        return (images + self.by).clamp(0, 1)


@pytest.mark.parametrize("held", [lambda model: model, lambda model: (model,)])
def test_going_on_with_another_teacher_is_refused(held, few, tmp_path):
    trainers = [replace(RESUMED, objective=Taught(held(dropping(seed=seed).eval()))) for seed in (1, 1, 2)]
    next(trainers[0](dropping(), few, checkpoint=tmp_path))
    next(trainers[1](dropping(), few, checkpoint=tmp_path, resume=True))
    with pytest.raises(ValueError, match="resume with the same settings"):
        next(trainers[2](dropping(), few, checkpoint=tmp_path, resume=True))


def test_going_on_with_a_watch_of_other_images_is_refused(few, tmp_path):
    def watching(rows):
        return Watch(epsilon=0.1, images=few.images[rows], labels=few.labels[rows], every=2)

    next(RESUMED(dropping(), few, checkpoint=tmp_path, watch=watching(slice(0, 50))))
    with pytest.raises(ValueError, match="watch"):
        next(RESUMED(dropping(), few, checkpoint=tmp_path, resume=True, watch=watching(slice(50, 100))))


def test_a_run_that_learns_nothing_from_a_loss_of_ones_own_is_called_stuck(digits):
    def brier(model, images, labels, *, step):
        return (model(images).softmax(1) - functional.one_hot(labels, 10)).square().sum(1).mean()

    def stuck(rate):
        trainer = Trainer(updates=STUCK_EVERY, learning_rate=rate, objective=brier)
        return any(epoch.stuck for epoch in trainer(deep(), digits))

    assert stuck(1e-9)
    assert not stuck(1e-2)


@pytest.mark.parametrize("layer", [nn.LazyLinear(16), nn.LazyBatchNorm1d(affine=False)])
def test_a_network_without_weights_as_yet_is_refused(layer, few):
    model = nn.Sequential(nn.Flatten(), layer, nn.Linear(16, 10))
    with pytest.raises(ValueError, match=r"model: expected weights, got layers that make theirs later \(lazy\)"):
        next(RESUMED(model, few))
