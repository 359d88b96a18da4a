"""Training: one loop, a generator that yields after each epoch, and at once where there is something to say."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from unmask.attacks.trial import predict
from unmask.checkpoint import Checkpoint
from unmask.data import Dataset
from unmask.numerics import derive_seed, describe, laid_out, seed_all
from unmask.objectives import Normal, Objective
from unmask.optim import Constant, Schedule, make_optimizer
from unmask.verdict import proportion
from unmask.watch import Reading, Watch

CHECK_EVERY = 100
"""After so many updates the losses are looked at: reading one waits for a GPU."""

STUCK_EVERY = 500
STUCK_WITHIN = 0.02
STUCK_IMAGES = 500
"""Each time so many updates are done, and from then on after each epoch, it is asked whether a run is stuck at chance:
the mean of its last ``CHECK_EVERY`` losses is within this share of what guessing costs, or above it, and on so many
training images the model is no better than one that always names the commonest class. Before that it is too early to
tell. The loss alone does not tell: that of adversarial training may well begin above that of guessing."""


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What one pass over the training images came to, or the part of it that was done until there was something to say.

    Attributes:
        number: counted from 1; ``update``: updates done so far.
        loss: the objective's mean over the pass, in nats.
        stuck: loss and accuracy are what guessing gives; a lower learning rate, a warm-up of the learning rate or of
            epsilon, or another seed may free it. It is said after 500 updates, or a multiple of that, at once: what is
            left of the pass then comes by itself. To stop, leave the loop.
        seconds: what the pass took, readings included.
        readings: those that ``watch`` made during the pass.
        returned_to: the update whose weights the model was put back to, because masking was called at the last of the
            readings; the run is over.
    """

    number: int
    update: int
    loss: float
    stuck: bool
    seconds: float
    readings: tuple[Reading, ...] = ()
    returned_to: int | None = None


class DivergedError(RuntimeError):
    """The loss or a weight is no longer finite: what, and at which update, counted from 1.

    ``checkpoint`` is the last good one, if any was kept.
    """

    def __init__(self, what: str, update: int, checkpoint: Path | None) -> None:
        self.update = update
        self.checkpoint = checkpoint
        kept = f"the last good checkpoint is {checkpoint}" if checkpoint else "no checkpoint was kept"
        super().__init__(f"{what} at update {update}; {kept}; try a lower learning rate")


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """Settings of a training run; called, it trains a model in place and yields after each epoch.

    On a CPU in float32 a run that was stopped and resumed ends with the same weights, bit for bit, as one that ran
    through: order, dropout and attack noise follow from the seed and the number of the epoch or update.

    Attributes:
        updates: how many gradient steps in all; the last epoch may be cut short.
        schedule: the learning rate's factor as a function of the update's number.
        precision: ``"float32"``, ``"float64"``, or ``"bf16-mixed"``: weights in float32, the passes under autocast.
        channels_last: lay images and filters out as (N, H, W, C), which convolutions often prefer.

    Raises:
        ValueError: a setting is out of range.

    Example:
        >>> from unmask.data import load
        >>> from unmask.models import build
        >>> model = build("linear", inputs=(1, 8, 8), classes=10)
        >>> train = Trainer(updates=50, learning_rate=0.01)
        >>> [epoch.update for epoch in train(model, load("digits", "train"))]
        [9, 18, 27, 36, 45, 50]
    """

    updates: int
    batch_size: int = 125
    objective: Objective = field(default_factory=Normal)
    optimizer: str = "adam"
    learning_rate: float = 0.001
    weight_decay: float = 0.0
    schedule: Schedule = field(default_factory=Constant)
    precision: Literal["float32", "float64", "bf16-mixed"] = "float32"
    channels_last: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.updates < 1 or self.batch_size < 1:
            raise ValueError(f"updates and batch_size: expected at least 1, got {self.updates} and {self.batch_size}")
        if not self.learning_rate > 0 or self.weight_decay < 0:
            raise ValueError(
                "learning_rate and weight_decay: expected above 0 and from 0 up, "
                f"got {self.learning_rate} and {self.weight_decay}"
            )
        if self.precision not in ("float32", "float64", "bf16-mixed"):
            raise ValueError(f"precision: expected 'float32', 'float64' or 'bf16-mixed', got {self.precision!r}")

    def __call__(
        self,
        model: nn.Module,
        data: Dataset,
        *,
        checkpoint: Path | None = None,
        resume: bool = False,
        watch: Watch | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[Epoch]:
        """Train ``model`` on ``data``, on the device the model is on.

        Args:
            checkpoint: a folder that after each epoch holds all that is needed to go on.
            resume: go on from ``checkpoint`` if it holds a run, else begin.
            watch: looks for masking after the first update and then every so many. Where it calls it, the model gets
                the last healthy weights back and the run is over. Checkpoints hold what it remembers.
            progress: called with 1 after each update.

        Raises:
            DivergedError: the loss or a weight became NaN or infinite.
            ValueError: the checkpoint is damaged, or of a run with other settings or another watch; the watch was used
                before, or called masking at its first reading.
        """
        optimizer = self._prepare(model)
        settings = self.settings() | ({"watch": watch.settings} if watch else {})
        keeper = Checkpoint(folder=checkpoint, settings=settings) if checkpoint else None
        done = keeper.restore(model, optimizer, watch) if keeper and resume else 0
        if watch and watch.readings and not done:
            raise ValueError(f"watch: expected a new one for a new run, got one with {len(watch.readings)} readings")
        per_epoch = math.ceil(len(data) / self.batch_size)
        while done < self.updates and not (watch and watch.masked):
            started, before = time.perf_counter(), len(watch.readings) if watch else 0
            until = min(self.updates, (done // per_epoch + 1) * per_epoch)
            losses = self._pass(model, data, optimizer, range(done, until), watch, progress)
            _check_finite(model, losses, done, keeper.latest() if keeper else None)
            done += len(losses)
            healthy = watch.restore(model) if watch and watch.masked else None
            if keeper:
                keeper.save(model, optimizer, done, watch)
            yield Epoch(
                number=math.ceil(done / per_epoch),
                update=done,
                loss=float(losses.mean()),
                stuck=(done >= STUCK_EVERY or done == self.updates) and self._is_stuck(model, data, losses),
                seconds=time.perf_counter() - started,
                readings=tuple(watch.readings[before:]) if watch else (),
                returned_to=healthy,
            )

    def _prepare(self, model: nn.Module) -> Optimizer:
        """Bring the weights into the wanted precision and layout; returns their optimizer."""
        model.to(dtype=torch.float64 if self.precision == "float64" else torch.float32)
        if self.channels_last:
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return make_optimizer(
            self.optimizer, model.parameters(), learning_rate=self.learning_rate, weight_decay=self.weight_decay
        )

    def _pass(
        self,
        model: nn.Module,
        data: Dataset,
        optimizer: Optimizer,
        updates: range,
        watch: Watch | None,
        progress: Callable[[int], None] | None,
    ) -> Tensor:
        """The updates of one epoch; returns their losses (updates,), cut short where there is something to say."""
        per_epoch = math.ceil(len(data) / self.batch_size)
        epoch, first = divmod(updates.start, per_epoch)
        order = torch.randperm(
            len(data), generator=torch.Generator().manual_seed(derive_seed(self.seed, "order", epoch))
        )
        device = next(model.parameters()).device
        losses = torch.zeros(len(updates), dtype=torch.float64, device=device)
        model.train()
        with torch.random.fork_rng():
            for row, update in enumerate(updates):
                seed_all(derive_seed(self.seed, "model", update))
                rows = order[(first + row) * self.batch_size : (first + row + 1) * self.batch_size]
                losses[row] = self._update(model, *self._batch(data, rows, device), optimizer, update)
                if progress:
                    progress(1)
                diverged = (row + 1) % CHECK_EVERY == 0 and not losses[row].isfinite()
                masked = watch is not None and bool(watch(model, update + 1).masked)
                asked = (update + 1) % STUCK_EVERY == 0
                if diverged or masked or (asked and self._is_stuck(model, data, losses[: row + 1])):
                    break
        return losses[: row + 1].cpu()

    def _update(self, model: nn.Module, images: Tensor, labels: Tensor, optimizer: Optimizer, update: int) -> Tensor:
        """One gradient step; returns the loss before it."""
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate * self.schedule(update)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.precision == "bf16-mixed"):
            loss = self.objective(model, images, labels, step=update)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss.detach()

    def _batch(self, data: Dataset, rows: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """The images and labels in these rows, as the model wants them."""
        images = data.images.index_select(0, rows)  # faster than images[rows]
        images = images.to(device, torch.float64 if self.precision == "float64" else torch.float32)
        if self.channels_last:
            images = laid_out(images, torch.channels_last)
        return images, data.labels[rows].to(device)

    def _is_stuck(self, model: nn.Module, data: Dataset, losses: Tensor) -> bool:
        """Whether the latest losses, and with them the accuracy on some training images, are what guessing gives."""
        shares = data.labels.bincount() / len(data)
        if float(losses[-CHECK_EVERY:].mean()) <= (1 - STUCK_WITHIN) * float(torch.special.entr(shares).sum()):
            return False
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "stuck"))
        rows = torch.randperm(len(data), generator=generator)[:STUCK_IMAGES]
        images, labels = self._batch(data, rows, next(model.parameters()).device)
        right = int((predict(model, images) == labels).sum())
        return proportion(right, len(rows)).low * len(rows) <= int(data.labels[rows].bincount().max())

    def settings(self) -> dict[str, str]:
        """What must agree for a run to be the same run: every field but the number of updates, in words."""
        return {one.name: describe(getattr(self, one.name)) for one in fields(self) if one.name != "updates"}


def _check_finite(model: nn.Module, losses: Tensor, done: int, checkpoint: Path | None) -> None:
    """Raise if a loss or a weight is not finite: the last update of a pass can break the weights unseen."""
    if not losses.isfinite().all():
        first = int((~losses.isfinite()).nonzero()[0])
        raise DivergedError(f"loss: expected a finite number, got {float(losses[first])}", done + first + 1, checkpoint)
    if not all(one.isfinite().all() for one in model.parameters()):
        raise DivergedError("weights: expected finite numbers, got NaN or infinity", done + len(losses), checkpoint)
