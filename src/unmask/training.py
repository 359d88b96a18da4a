"""Training: one loop, a generator that yields after each epoch, and at once where there is something to say."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from unmask.attacks.trial import predict
from unmask.checkpoint import Checkpoint
from unmask.data import Dataset
from unmask.distributed import ALONE, Alone
from unmask.numerics import Batches, derive_seed, describe, laid_out, seed_all
from unmask.objectives import Normal, Objective
from unmask.optim import Constant, Schedule, make_optimizer
from unmask.verdict import proportion
from unmask.watch import Reading, Watch

CHECK_EVERY = 100
"""After so many updates the losses are looked at: reading one waits for a GPU."""

SAVE_AFTER = 300.0
"""Seconds since the last checkpoint after which one is written within an epoch too, once the losses are looked at."""

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
        spread: Alone = ALONE,
    ) -> Iterator[Epoch]:
        """Train ``model`` on ``data``, on the device the model is on.

        Args:
            checkpoint: a folder that holds all that is needed to go on, as of the last epoch's end or, where epochs are
                long, as of some five minutes ago.
            resume: go on from ``checkpoint`` if it holds a run, else begin.
            watch: looks for masking after the first update and then every so many. Where it calls it, the model gets
                the last healthy weights back and the run is over. Checkpoints hold what it remembers.
            progress: called with 1 after each update.
            spread: the processes that train together; each calls this with the same arguments.

        Raises:
            DivergedError: the loss or a weight became NaN or infinite.
            ValueError: the checkpoint is damaged, or of a run with other settings or another watch; the watch was used
                before, or called masking at its first reading.
        """
        optimizer = self._prepare(model)
        settings = self.settings() | ({"watch": watch.settings} if watch else {})
        keeper = Checkpoint(folder=checkpoint, settings=settings) if checkpoint else None
        part = _Part()
        done = keeper.restore(model, optimizer, watch=watch, part=part) if keeper and resume else 0
        run = _Run(self, model, spread.network(model), optimizer, data, watch, progress, spread, keeper)
        run.check(done)
        while done < self.updates and not (watch and watch.masked):
            begin = done - len(part.losses)
            done = run.advance(part, begin)
            healthy = watch.restore(model) if watch and watch.masked else None
            run.save(done)
            yield Epoch(
                number=math.ceil(done / run.per_epoch),
                update=done,
                loss=float(part.losses.mean()),
                stuck=(done >= STUCK_EVERY or done == self.updates) and run.is_stuck(part.losses),
                seconds=part.seconds,
                readings=tuple(one for one in watch.readings if one.update > begin) if watch else (),
                returned_to=healthy,
            )
            part = _Part()

    def _prepare(self, model: nn.Module) -> Optimizer:
        """Bring the weights into the wanted precision and layout; returns their optimizer."""
        model.to(dtype=torch.float64 if self.precision == "float64" else torch.float32)
        if self.channels_last:
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return make_optimizer(
            self.optimizer, model.parameters(), learning_rate=self.learning_rate, weight_decay=self.weight_decay
        )

    def settings(self) -> dict[str, str]:
        """What must agree for a run to be the same run: every field but the number of updates, in words."""
        return {one.name: describe(getattr(self, one.name)) for one in fields(self) if one.name != "updates"}


@dataclass
class _Part:
    """An epoch, or what is left of it after a yield, as far as it is done: its updates' losses, and its seconds."""

    losses: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    seconds: float = 0.0

    def state_dict(self) -> dict[str, Tensor]:
        """What a checkpoint holds of it."""
        return {"losses": self.losses, "seconds": torch.tensor(self.seconds, dtype=torch.float64)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on with it; a checkpoint at an epoch's end holds none."""
        if state:
            self.losses, self.seconds = state["losses"], float(state["seconds"])


@dataclass(frozen=True)
class _Run:
    """What takes part in one run: ``network`` is the model as the objective sees it."""

    trainer: Trainer
    model: nn.Module
    network: nn.Module
    optimizer: Optimizer
    data: Dataset
    watch: Watch | None
    progress: Callable[[int], None] | None
    spread: Alone
    keeper: Checkpoint | None

    @cached_property
    def per_epoch(self) -> int:
        return math.ceil(len(self.data) / self.trainer.batch_size)

    @cached_property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def check(self, done: int) -> None:
        """Refuse a watch with a past of its own, and processes that do not begin at the same update."""
        if self.watch and self.watch.readings and not done:
            count = len(self.watch.readings)
            raise ValueError(f"watch: expected a new one for a new run, got one with {count} readings")
        if float(self.spread.mean(torch.tensor(float(done), device=self.device))) != done:
            raise ValueError(f"checkpoint: expected a folder that all processes see, got one that holds {done} updates")
        if self.watch:
            self.watch.batches = self.spread.batches(self.watch.batches)

    def advance(self, part: _Part, begin: int) -> int:
        """Go on with the part that began after so many updates; returns the updates done.

        It is over with its epoch, or once there is something to say.
        """
        size, seed = self.trainer.batch_size, self.trainer.seed
        epoch, first = divmod(begin, self.per_epoch)
        generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
        order = torch.randperm(len(self.data), generator=generator)[first * size :]
        until = min(self.trainer.updates, (epoch + 1) * self.per_epoch)
        losses = torch.zeros(until - begin, dtype=torch.float64, device=self.device)
        losses[: len(part.losses)] = part.losses
        saved = time.perf_counter()
        started = saved - part.seconds

        def note(rows: int) -> None:
            part.losses, part.seconds = self.spread.mean(losses[:rows]).cpu(), time.perf_counter() - started
            self.check_finite(part.losses, begin)

        self.model.train()
        with torch.random.fork_rng():
            for row in range(len(part.losses), len(losses)):
                update = begin + row
                seed_all(derive_seed(seed, "model", update) + self.spread.rank)
                losses[row] = self.step(order[row * size : (row + 1) * size], update)
                if self.progress:
                    self.progress(1)
                looked = (row + 1) % CHECK_EVERY == 0
                diverged = looked and not self.spread.mean(losses[row]).isfinite()
                masked = self.watch is not None and bool(self.watch(self.model, update + 1).masked)
                asked = (update + 1) % STUCK_EVERY == 0
                if diverged or masked or (asked and self.is_stuck(losses[: row + 1])):
                    break
                if looked and update + 1 < until and self.is_due(saved):
                    note(row + 1)
                    self.save(update + 1, part)
                    saved = time.perf_counter()
        note(row + 1)
        return update + 1

    def is_due(self, saved: float) -> bool:
        """Whether a checkpoint that was written at this time is too old; all processes say the same."""
        passed = torch.tensor(time.perf_counter() - saved, device=self.device)
        return self.keeper is not None and float(self.spread.mean(passed)) >= SAVE_AFTER

    def save(self, done: int, part: _Part | None = None) -> None:
        """Write a checkpoint, within an epoch with the part that is not over."""
        if self.keeper and self.spread.rank == 0:
            self.keeper.save(self.model, self.optimizer, done, watch=self.watch, part=part)

    def check_finite(self, losses: Tensor, begin: int) -> None:
        """Raise if a loss or a weight is not finite: the last update of a pass can break the weights unseen."""
        kept = self.keeper.latest() if self.keeper else None
        if not losses.isfinite().all():
            first = int((~losses.isfinite()).nonzero()[0])
            raise DivergedError(f"loss: expected a finite number, got {float(losses[first])}", begin + first + 1, kept)
        if not all(one.isfinite().all() for one in self.model.parameters()):
            raise DivergedError("weights: expected finite numbers, got NaN or infinity", begin + len(losses), kept)

    def step(self, rows: Tensor, update: int) -> Tensor:
        """One gradient step; returns the loss before it, or this process's part of it."""
        own, weight = self.spread.share(rows)
        images, labels = self.batch(own)
        for group in self.optimizer.param_groups:
            group["lr"] = self.trainer.learning_rate * self.trainer.schedule(update)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.trainer.precision == "bf16-mixed"):
            loss = weight * self.trainer.objective(self.network, images, labels, step=update)
        self.optimizer.zero_grad()
        self.spread.backward(loss)
        self.optimizer.step()
        return loss.detach()

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The images and labels in these rows, as the model wants them."""
        images = self.data.images.index_select(0, rows)  # faster than images[rows]
        images = images.to(self.device, torch.float64 if self.trainer.precision == "float64" else torch.float32)
        if self.trainer.channels_last:
            images = laid_out(images, torch.channels_last)
        return images, self.data.labels[rows].to(self.device)

    def is_stuck(self, losses: Tensor) -> bool:
        """Whether the latest losses, and with them the accuracy on some training images, are what guessing gives."""
        shares = self.data.labels.bincount() / len(self.data)
        guessing = float(torch.special.entr(shares).sum())
        if float(self.spread.mean(losses[-CHECK_EVERY:].mean())) <= (1 - STUCK_WITHIN) * guessing:
            return False
        generator = torch.Generator().manual_seed(derive_seed(self.trainer.seed, "stuck"))
        rows = torch.randperm(len(self.data), generator=generator)[:STUCK_IMAGES]
        images, labels = self.batch(rows)
        (predicted,) = self.spread.batches(Batches(size=STUCK_IMAGES))(
            lambda x, y: predict(self.model, x), images, labels
        )
        right = int((predicted == labels.cpu()).sum())
        return proportion(right, len(rows)).low * len(rows) <= int(self.data.labels[rows].bincount().max())
