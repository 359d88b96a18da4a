"""The loop of a training run: its updates, what is measured on the way, and when it must end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from unmask.attacks.evaluation import predict
from unmask.data import Dataset
from unmask.numerics import Batches, derive_seed, laid_out, random_state_kept, seed_all
from unmask.statistics import proportion
from unmask.training.checkpoint import Checkpoint
from unmask.training.distributed import Alone
from unmask.training.objectives.objective import is_ours, stateful
from unmask.training.settings import Settings
from unmask.training.watch import Watch

CHECK_EVERY = 100
"""The losses are read after so many updates: reading one waits for a GPU."""

SAVE_AFTER = 300.0
"""Seconds since the last checkpoint after which one is written within an epoch too, once the losses are read."""

STUCK_EVERY = 500
"""A run is tested for being stuck at chance each time so many updates are done, and from then on after each epoch;
before that it is too early to tell."""

STUCK_WITHIN = 0.02
"""The share of the loss of guessing within which recent losses say that a run is stuck."""

STUCK_IMAGES = 500
"""A run is stuck if the mean of its last ``CHECK_EVERY`` losses is within this share of the loss of guessing, or above
it, and on so many training images the model is no better than one that always names the commonest class. The loss alone
does not tell: that of adversarial training may well begin above that of guessing. The loss of an objective of other
people need not be in nats and does not count."""


class DivergedError(RuntimeError):
    """The loss or a weight is no longer finite.

    Attributes:
        update: the update after which it was so, counted from 1.
        checkpoint: the last good one, if any was kept.

    Example:
        >>> print(DivergedError("loss: expected a number, got nan", 4, None))
        loss: expected a number, got nan at update 4; no checkpoint was kept; begin again at a lower learning rate
    """

    def __init__(self, what: str, update: int, checkpoint: Path | None) -> None:
        self.update = update
        self.checkpoint = checkpoint
        kept = f"the last good checkpoint is {checkpoint}" if checkpoint else "no checkpoint was kept"
        where = " in another folder," if checkpoint else ""
        super().__init__(f"{what} at update {update}; {kept}; begin again{where} at a lower learning rate")


@dataclass
class PartialEpoch:
    """An epoch, or the rest of one after a yield, as far as it is done: the losses of its updates, and its seconds."""

    losses: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    seconds: float = 0.0

    def state_dict(self) -> dict[str, Tensor]:
        """Return it as tensors for a checkpoint."""
        return {"losses": self.losses, "seconds": torch.tensor(self.seconds, dtype=torch.float64)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Put it back; a checkpoint at an epoch's end holds none."""
        if state:
            self.losses, self.seconds = state["losses"], float(state["seconds"])


def parts_in_evaluation(model: nn.Module) -> list[str]:
    """Return the names of parts that are in evaluation mode, as a frozen network's may be, while the whole is not.

    Example:
        >>> parts_in_evaluation(nn.Sequential(nn.Flatten(), nn.Dropout().eval()))
        ['1']
    """
    return [name for name, part in model.named_modules() if not part.training] if model.training else []


@dataclass(frozen=True)
class Run:
    """A run with all that takes part in it.

    Attributes:
        network: the model as the objective sees it.
        in_evaluation: the names of the parts of the model that stay in evaluation mode.
    """

    settings: Settings
    model: nn.Module
    network: nn.Module
    optimizer: Optimizer
    data: Dataset
    watch: Watch | None
    progress: Callable[[int], None] | None
    spread: Alone
    checkpoint: Checkpoint | None
    in_evaluation: Sequence[str]

    @cached_property
    def per_epoch(self) -> int:
        """The number of updates in an epoch."""
        return math.ceil(len(self.data) / self.settings.batch_size)

    @cached_property
    def device(self) -> torch.device:
        """The device of the model."""
        return next(self.model.parameters()).device

    def check(self, done: int) -> None:
        """Refuse a watch that was used before, and processes that do not begin at the same update."""
        if self.watch and self.watch.readings and not done:
            count = len(self.watch.readings)
            raise ValueError(f"watch: expected a new one for a new run, got one with {count} readings")
        if float(self.spread.mean(torch.tensor(done, dtype=torch.float64, device=self.device))) != done:
            raise ValueError(f"checkpoint: expected a folder that all processes see, got one that holds {done} updates")
        if self.watch:
            self.watch.batches = self.spread.batches(self.watch.batches)

    def advance(self, part: PartialEpoch, begin: int) -> int:
        """Train to the end of the epoch that began after ``begin`` updates; return the updates done.

        It ends early where the loss is not finite, masking is called, or the run is stuck.
        """
        size, seed = self.settings.batch_size, self.settings.seed
        epoch, first = divmod(begin, self.per_epoch)
        generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
        order = torch.randperm(len(self.data), generator=generator)[first * size :]
        until = min(self.settings.updates, (epoch + 1) * self.per_epoch)
        losses = torch.zeros(until - begin, dtype=torch.float64, device=self.device)
        losses[: len(part.losses)] = part.losses
        saved = time.perf_counter()
        started = saved - part.seconds

        def note(rows: int) -> None:
            part.losses, part.seconds = self.spread.mean(losses[:rows]).cpu(), time.perf_counter() - started
            self.check_finite(part.losses, begin)

        self.to_training()
        with random_state_kept():
            for row in range(len(part.losses), len(losses)):
                update = begin + row
                seed_all(derive_seed(seed, "model", update) + self.spread.rank)
                losses[row] = self.step(order[row * size : (row + 1) * size], update)
                if self.progress:
                    self.progress(1)
                checked = (row + 1) % CHECK_EVERY == 0
                diverged = checked and not self.spread.mean(losses[row]).isfinite()
                masked = self.measure(update + 1)
                asked = (update + 1) % STUCK_EVERY == 0
                if diverged or masked or (asked and self.is_stuck(losses[: row + 1], update + 1)):
                    break
                if checked and update + 1 < until and self.is_due(saved):
                    note(row + 1)
                    self.save(update + 1, part)
                    saved = time.perf_counter()
        note(row + 1)
        self.spread.align(self.model)
        return update + 1

    def to_training(self) -> None:
        """Put the model into training mode, but for the parts that stay in evaluation mode."""
        self.model.train()
        for name in self.in_evaluation:
            self.model.get_submodule(name).training = False

    def measure(self, done: int) -> str:
        """Let the watch make a reading if one is due, or at the end if it has a rule; return its call of masking."""
        if self.watch is None:
            return ""
        now = self.watch.is_due(done) or (bool(self.watch.rule) and done == self.settings.updates)
        if now:
            self.spread.align(self.model)
        return self.watch(self.model, done, now=now).masked

    def is_due(self, saved: float) -> bool:
        """Return True if a checkpoint that was written at this time is too old; all processes return the same."""
        passed = torch.tensor(time.perf_counter() - saved, device=self.device)
        return self.checkpoint is not None and float(self.spread.mean(passed)) >= SAVE_AFTER

    def save(self, done: int, part: PartialEpoch | None = None) -> None:
        """Write a checkpoint, within an epoch with the part that is done."""
        if self.checkpoint and self.spread.rank == 0:
            others = {"watch": self.watch, "part": part, "objective": stateful(self.settings.objective)}
            self.checkpoint.save(self.model, self.optimizer, done, in_evaluation=self.in_evaluation, **others)

    def check_finite(self, losses: Tensor, begin: int) -> None:
        """Raise if a loss or a weight is not finite: the last update of a pass can break the weights unseen."""
        kept = self.checkpoint.latest() if self.checkpoint else None
        if not losses.isfinite().all():
            first = int((~losses.isfinite()).nonzero()[0])
            raise DivergedError(f"loss: expected a finite number, got {float(losses[first])}", begin + first + 1, kept)
        if not all(one.isfinite().all() for one in self.model.parameters()):
            raise DivergedError("weights: expected finite numbers, got NaN or infinity", begin + len(losses), kept)

    def step(self, rows: Tensor, update: int) -> Tensor:
        """Make one gradient step; return the loss before it, or this process's part of it."""
        own, weight = self.spread.share(rows)
        images, labels = self.batch(own)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * self.settings.schedule(update)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16-mixed"):
            loss = self.loss(images, labels, update)
        if not isinstance(loss, Tensor) or loss.ndim:
            found = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise ValueError(f"objective: expected a loss of shape (), got {found}; is it a mean?")
        if not loss.requires_grad:
            raise ValueError("objective: expected a loss with a gradient, got one without; is it detached?")
        loss = weight * loss
        self.optimizer.zero_grad()
        self.spread.backward(loss)
        self.optimizer.step()
        return loss.detach()

    def loss(self, images: Tensor, labels: Tensor, update: int) -> Tensor:
        """Return the objective's loss of a batch."""
        try:
            return self.settings.objective(self.network, images, labels, step=update)
        except ValueError as error:
            if len(images) > 1 or "more than 1 value per channel" not in str(error):  # torch's batch norm
                raise
            size, count = self.settings.batch_size, len(self.data)
            raise ValueError(
                f"batch_size: expected one that leaves no batch of one image, which batch norm cannot train on, "
                f"got {size} for {count} images"
            ) from error

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images and labels in these rows, in the model's dtype and layout, on its device."""
        images = self.data.images.index_select(0, rows)  # faster than images[rows]
        images = images.to(self.device, torch.float64 if self.settings.precision == "float64" else torch.float32)
        if self.settings.channels_last:
            images = laid_out(images, torch.channels_last)
        return images, self.data.labels[rows].to(self.device)

    def is_stuck(self, losses: Tensor, done: int) -> bool:
        """Return True if the latest losses, and the accuracy on some training images, are those of guessing."""
        if done < STUCK_EVERY and done < self.settings.updates:
            return False
        shares = self.data.labels.bincount() / len(self.data)
        guessing = float(torch.special.entr(shares).sum())
        learned = float(self.spread.mean(losses[-CHECK_EVERY:].mean())) <= (1 - STUCK_WITHIN) * guessing
        if learned and is_ours(self.settings.objective):
            return False
        generator = torch.Generator().manual_seed(derive_seed(self.settings.seed, "stuck"))
        rows = torch.randperm(len(self.data), generator=generator)[:STUCK_IMAGES]
        images, labels = self.batch(rows)
        self.spread.align(self.model)
        (predicted,) = self.spread.batches(Batches(size=STUCK_IMAGES))(
            lambda x, y: predict(self.model, x), images, labels
        )
        right = int((predicted == labels.cpu()).sum())
        return proportion(right, len(rows)).low * len(rows) <= int(self.data.labels[rows].bincount().max())
