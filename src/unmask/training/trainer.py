"""A training run as a generator of epochs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from torch import nn
from torch.optim import Optimizer

from unmask.auditing.preflight import LogProbabilities, preflight
from unmask.data import Dataset
from unmask.numerics import Batches
from unmask.training.checkpoint import Checkpoint
from unmask.training.distributed import ALONE, Alone
from unmask.training.objectives.objective import stateful
from unmask.training.run import PartialEpoch, Run, parts_in_evaluation
from unmask.training.settings import Settings
from unmask.training.watch import Reading, Watch


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """The result of one pass over the training images, or of the part of it after which masking or chance was called.

    Attributes:
        number: counted from 1; ``update``: updates done so far.
        loss: the objective's mean over the pass, in nats.
        stuck: loss and accuracy are those of guessing; a lower learning rate, a warm-up or another seed may help. It is
            said after 500 updates, or a multiple of that, at once: the rest of the pass then is an epoch of its own. To
            stop, leave the loop.
        seconds: the time of the pass, readings included.
        readings: those that ``watch`` made during the pass.
        returned_to: the update whose weights the model was put back to, because masking was called at the last of the
            readings; the run is over.

    Example:
        >>> Epoch(number=1, update=9, loss=2.1, stuck=False, seconds=0.02).readings
        ()
    """

    number: int
    update: int
    loss: float
    stuck: bool
    seconds: float
    readings: tuple[Reading, ...] = ()
    returned_to: int | None = None


@dataclass(frozen=True, kw_only=True)
class Trainer(Settings):
    """Settings of a training run; called, it trains a model in place, as its epochs are asked for, and yields each.

    On a CPU in float32 a run that was stopped and resumed ends with the same weights, bit for bit, as one that ran
    through: order, dropout and attack noise follow from seeds, the run's and the objective's, and the number of the
    epoch or update. The model is put into training mode, but for parts that are in evaluation mode while the whole is
    not, as a frozen network may be.

    Attributes:
        updates: how many gradient steps in all; the last epoch may be cut short.
        batch_size: images in each; the last batch of an epoch may be smaller.
        objective: the loss to minimise, such as ``Normal()``, ``Adversarial(attack=FGSM(epsilon=0.3))`` or
            ``LogitDistance("8/255")`` of ``unmask.training.objectives``: called with the model, a batch and the
            update's number, it returns the loss.
        optimizer: ``"sgd"``, ``"momentum"``, ``"adagrad"``, ``"rmsprop"``, ``"adam"`` or ``"adamw"``; or a factory
            ``(parameters, learning_rate) -> optimizer``, such as a class of ``torch.optim``, as it is or with settings
            in a ``functools.partial``. Groups may have learning rates of their own, which the schedule scales.
        learning_rate: before the schedule; ``weight_decay``: of the L2 penalty, or decoupled from it for ``"adamw"``;
            0 leaves it to the factory, where one is given.
        schedule: the learning rate's factor as a function of the update's number, counted from 0.
        precision: ``"float32"``, ``"float64"``, or ``"bf16-mixed"``: weights in float32, the passes under autocast, and
            so the objective's attacks. On networks with small gradients these can be weaker than in float32
            (``results/README.md``, precision): take accuracies in float32.
        channels_last: lay images and filters out as (N, H, W, C), which convolutions often prefer.
        seed: order of the images and the model's own random numbers follow from it. Attack noise follows from the
            objective's, or its attack's; the model's weights are its maker's.

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

    def __call__(
        self,
        model: nn.Module,
        data: Dataset,
        *,
        checkpoint: Path | str | None = None,
        resume: bool = False,
        watch: Watch | None = None,
        progress: Callable[[int], None] | None = None,
        spread: Alone = ALONE,
    ) -> Iterator[Epoch]:
        """Train ``model`` on ``data``, on the device the model is on. Nothing happens until the epochs are asked for.

        Args:
            model: takes images to logits (N, K); it is left in training mode, but for parts that stay as they are.
            data: the training images.
            checkpoint: a folder that holds all that is needed to go on, as of the last epoch's end or, where epochs are
                long, as of some five minutes ago.
            resume: go on from ``checkpoint`` if it holds a run, else begin.
            watch: measures masking after the first update, then every so many and, with a rule, after the last. Where
                it calls masking, the model gets the last healthy weights back and the run is over. Checkpoints hold its
                readings.
            progress: called with 1 after each update.
            spread: the processes that train together; each calls this with the same arguments.

        Raises:
            DivergedError: the loss or a weight became NaN or infinite.
            ValueError: the checkpoint is damaged, or of a run with other settings, data or another watch; its folder
                holds a run that is not to be resumed, or cannot be written to, or another process trains into it; the
                watch was used before, or called masking at its first reading; the data is no ``Dataset``; the model
                does not return one finite logit for each of its classes.
        """
        if not isinstance(data, Dataset):
            raise ValueError(f"data: expected an unmask.data.Dataset, got {type(data).__name__}; put tensors into one")
        if resume and checkpoint is None:
            raise ValueError("resume: expected a checkpoint to go on from, got none; name its folder")
        if watch is not None and not isinstance(watch, Watch):
            raise ValueError(f"watch: expected an unmask.training.watch.Watch, got {type(watch).__name__}")
        optimizer = self.prepare(model)
        folder = self._checkpoint(checkpoint, model, optimizer, data, watch) if checkpoint is not None else None
        part, done = PartialEpoch(), 0
        if folder and resume:
            done = folder.restore(model, optimizer, watch=watch, part=part, objective=stateful(self.objective))
        _check_fits(model, data)
        if folder and not done:
            folder.begin()
        still = folder.in_evaluation if folder and done else parts_in_evaluation(model)
        run = Run(self, model, spread.network(model), optimizer, data, watch, progress, spread, folder, still)
        with folder.locked() if folder and not spread.rank else nullcontext():
            yield from self._epochs(run, part, done)

    def _epochs(self, run: Run, part: PartialEpoch, done: int) -> Iterator[Epoch]:
        """Yield the epochs from here to the run's end."""
        model, watch = run.model, run.watch
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
                stuck=run.is_stuck(part.losses, done),
                seconds=part.seconds,
                readings=tuple(one for one in watch.readings if one.update > begin) if watch else (),
                returned_to=healthy,
            )
            part = PartialEpoch()

    def restore(self, model: nn.Module, data: Dataset, *, checkpoint: Path | str, watch: Watch | None = None) -> int:
        """Put model and watch into the state of the run's checkpoint; return the updates done, 0 if there is none yet.

        Raises:
            ValueError: the checkpoint is damaged, or of a run with other settings, data or another watch.
        """
        optimizer = self.prepare(model)
        return self._checkpoint(checkpoint, model, optimizer, data, watch).restore(model, optimizer, watch=watch)

    def _checkpoint(
        self, folder: Path | str, model: nn.Module, optimizer: Optimizer, data: Dataset, watch: Watch | None
    ) -> Checkpoint:
        settings = self.in_words(model, optimizer) | {"data": data.in_words()}
        return Checkpoint(folder=Path(folder), settings=settings | ({"watch": watch.settings} if watch else {}))


def _check_fits(model: nn.Module, data: Dataset) -> None:
    """Call the model on two images; refuse one that is not made for such data, or that has a softmax."""
    device = next(model.parameters()).device
    batches, classes = Batches(device=device), len(data.classes)
    tried = preflight(model, data.images[:2], data.labels[:2], batches=batches, classes=classes)
    if isinstance(tried.model, LogProbabilities):
        raise ValueError("model: expected logits, got probabilities; leave its softmax out")
