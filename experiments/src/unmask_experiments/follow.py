"""Training that is measured on the way and resumed after an interruption; and the weights of other runs."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from unmask.data import Dataset
from unmask.training import DivergedError, Trainer, Watch
from unmask_experiments.sweeps import identify, locked

Row = dict[str, Any]
"""The row of a moment of training: loss, seconds, and the measured values."""

UNMEASURED = "unmeasured"
"""Marks a row whose measurement is still to come."""

Measure = Callable[[int], Mapping[str, Any]]
"""Called with the number of updates done; returns values for the row of that moment."""


def follow(
    trainer: Trainer,
    model: nn.Module,
    data: Dataset,
    measure: Measure,
    *,
    work: Path,
    progress: Callable[[float], None],
    watch: Watch | None = None,
    also_at: Collection[int] = (),
    stop: Callable[[int, Row], bool] | None = None,
) -> tuple[dict[int, Row], Row | None]:
    """Train and measure after each epoch; an interrupted run is resumed with the values measured before.

    Args:
        watch: as for ``Trainer``; afterwards it has all readings, those from before a kill too.
        also_at: updates after which it is measured as well; an epoch then comes in parts.
        stop: a predicate of a row and its update that ends the run. Rows then have ``"stuck"`` too, and there is one,
            without a measurement, for each part of an epoch that ends stuck.

    Returns:
        The rows by number of updates, and, if the loss stopped being finite, the update and message of that.
    """
    folder = work / "checkpoint"
    known = rows_so_far(work)
    per_epoch = math.ceil(len(data) / trainer.batch_size)
    moments = {*range(per_epoch, trainer.updates, per_epoch), *also_at, trainer.updates}
    done = trainer.restore(model, data, checkpoint=folder, watch=watch)
    row = known.get(done, {"loss": None, "seconds": None, UNMEASURED: True})
    if done in moments and row.pop(UNMEASURED, False):  # killed between the checkpoint and the measurement, or in it
        known[done] = _append(work, done, {**row, **measure(done)})
    if stop and any(stop(update, row) for update, row in known.items()):
        return known, None
    try:
        for until in sorted(one for one in {*also_at, trainer.updates} if done < one <= trainer.updates):
            part = replace(trainer, updates=until)
            for epoch in part(model, data, checkpoint=folder, resume=True, watch=watch):
                if epoch.update not in moments and not (stop and epoch.stuck):
                    continue
                row = {"loss": epoch.loss, "seconds": round(epoch.seconds, 3)}
                row |= {"stuck": epoch.stuck} if stop else {}
                if epoch.update in moments:
                    _append(work, epoch.update, row | {UNMEASURED: True})
                    row |= measure(epoch.update)
                known[epoch.update] = _append(work, epoch.update, row)
                progress(epoch.update / trainer.updates)
                if stop and stop(epoch.update, row):
                    return known, None
    except DivergedError as error:
        return known, {"update": error.update, "message": str(error.args[0]).split(";")[0]}
    return known, None


def rows_so_far(work: Path) -> dict[int, Row]:
    """Return the rows that ``follow`` has written in this folder, by number of updates.

    An interruption may have cut the last line short; it is left out.
    """
    known = {}
    journal = _journal(work)
    for line in journal.read_text().splitlines() if journal.is_file() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        known[row.pop("update")] = row
    return known


def weights_folder(run: Callable[..., Any], config: Any, work: Path, names: Iterable[str]) -> Path:
    """Return the folder with these weights of a run: beside ``work`` if it has run, else within it, trained now.

    If another process is at that run, its end is awaited.
    """
    folder = work.parent / identify(config)
    with locked(work.parent, config, wait=True):
        if all((folder / name).is_file() for name in names):
            return folder
    folder = work / "trained" / identify(config)
    run(config, work=folder)
    return folder


def _journal(work: Path) -> Path:
    return work / "checkpoint" / "measured.jsonl"


def _append(work: Path, update: int, row: Row) -> Row:
    with _journal(work).open("a") as file:
        file.write(json.dumps({"update": update, **row}, allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return row
