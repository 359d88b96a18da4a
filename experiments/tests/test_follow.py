"""Training that is measured on the way: it is resumed, and waits for the weights of other runs."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from unmask.data import load
from unmask.models import build
from unmask.training import Trainer
from unmask_experiments.follow import follow, weights_folder
from unmask_experiments.sweeps import identify
from unmask_experiments.sweeps.execution import locked
from unmask_experiments.vivek2019 import SMOKE
from unmask_experiments.vivek2019.train import LAST


def test_what_a_pass_came_to_outlives_a_kill_while_it_is_measured(tmp_path):
    data = load("digits", "train").take(np.arange(60))
    trainer, calls = Trainer(updates=6, batch_size=20), []

    def measure(update):
        calls.append(update)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return {"measured at": update}

    def rows():
        model = build("linear", inputs=(1, 8, 8), classes=10)
        options = {"work": tmp_path, "progress": lambda share: None, "stop": lambda update, row: False}
        return follow(trainer, model, data, measure, **options)[0]

    with pytest.raises(KeyboardInterrupt):
        rows()
    first = rows()[3]
    assert calls == [3, 3, 6]
    assert first == rows()[3]
    assert first["measured at"] == 3
    assert first["stuck"] is False
    assert first["loss"] > 0


def test_kept_weights_are_awaited_while_another_is_at_them(tmp_path):
    found = []

    def never(config, *, work):
        raise AssertionError("it was run again")

    folder = tmp_path / identify(SMOKE)
    asks = threading.Thread(target=lambda: found.append(weights_folder(never, SMOKE, tmp_path / "mine", [LAST])))
    with locked(tmp_path, SMOKE):
        asks.start()
        asks.join(0.2)
        assert asks.is_alive()
        (folder / LAST).touch()
    asks.join(10)
    assert found == [folder]
