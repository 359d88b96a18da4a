"""First updates of many trainings: the accuracy of each, and the updates at which it is called stuck at chance."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from unmask.files import write_atomically
from unmask.numerics import Batches, derive_seed
from unmask_experiments.evaluation import count_correct, unchanged
from unmask_experiments.vivek2019.config import Config
from unmask_experiments.vivek2019.evaluate import BATCH
from unmask_experiments.vivek2019.train import Attempt, device, images_of


def starts(config: Config, *, work: Path, progress: Callable[[float], None] = lambda share: None) -> dict[str, Any]:
    """Train several networks for a pass, each from weights of its own; those from before an interruption are reused.

    Of each: the updates after which it was called stuck, and the validation images that it classifies correctly.
    """
    images, batches, path = images_of(config), Batches(size=BATCH, device=device()), work / "starts.json"
    found: list[dict[str, Any]] = json.loads(path.read_text()) if path.is_file() else []
    for number in range(len(found), config.starts):
        own = replace(config, kind="training", seed=derive_seed(config.seed, config.kind, number) % 2**31)
        one = Attempt(config=own, images=images, sources=(), number=0, work=work)
        called = [epoch.update for epoch in one.trainer()(one.model, images.train) if epoch.stuck]
        right = count_correct(one.model.eval(), unchanged, images.validation, batches)
        found.append({"seed": own.seed, "called": called, "right": right})
        write_atomically(path, json.dumps(found).encode())
        progress(len(found) / config.starts)
    return {"data": config.shown_data, "images": len(images.validation), "starts": found}
