"""A run that was stopped goes on bit for bit from where it was; what is not the same run does not."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import pytest
from torch import nn
from torch.optim import SGD

from training_cases import RESUMED, Scaled, assert_same, convolutional, dropping, run
from unmask.attacks import RFGSM
from unmask.models import build
from unmask.training import OPTIMIZERS, Cosine, Watch
from unmask.training.objectives import Adversarial, Augmented, LogitDistance

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


@pytest.mark.parametrize("wrapped", [lambda one: one, lambda one: Augmented(objective=one)], ids=["alone", "within"])
def test_a_run_is_not_resumed_with_an_objective_of_ones_own_that_holds_something_else(wrapped, few, tmp_path):
    next(replace(RESUMED, objective=wrapped(Scaled(2.0)))(dropping(), few, checkpoint=tmp_path))
    other = replace(RESUMED, objective=wrapped(Scaled(3.0)))
    with pytest.raises(ValueError, match=r"of a run with objective .* factor 2, got .* factor 3; resume"):
        next(other(dropping(), few, checkpoint=tmp_path, resume=True))
    assert list(replace(RESUMED, objective=wrapped(Scaled(2.0)))(dropping(), few, checkpoint=tmp_path, resume=True))


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
