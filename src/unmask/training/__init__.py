"""Training: one loop, a generator that yields an `Epoch` after each pass over the images.

| file           | content                                                                                |
|----------------|----------------------------------------------------------------------------------------|
| objectives/    | the losses to minimise: ``objective(model, images, labels, step=...) -> loss``         |
| watch.py       | `Watch`: readings of masking during training, the rule that calls it, the way back     |
| optimizers.py  | optimizers by name, and schedules of the learning rate                                 |
| checkpoint.py  | `Checkpoint`: the state of a run, whole at any instant                                 |
| distributed.py | several processes that train or attack one network                                     |
| words.py       | settings in words, by which a checkpoint knows its run                                 |
| settings.py    | `Settings` of a run: its length, batches, objective, optimizer and precision           |
| run.py         | the loop: updates, checkpoints, measurements on the way, and when it ends              |
| trainer.py     | `Trainer`: settings that are called with a model and data, and yield epochs            |
"""

from unmask.training.checkpoint import Checkpoint
from unmask.training.optimizers import OPTIMIZERS, Constant, Cosine, Schedule, Steps
from unmask.training.run import STUCK_EVERY, STUCK_WITHIN, DivergedError
from unmask.training.settings import Settings
from unmask.training.trainer import Epoch, Trainer
from unmask.training.watch import Reading, Rule, Watch, above_chance

__all__ = [
    "OPTIMIZERS",
    "STUCK_EVERY",
    "STUCK_WITHIN",
    "Checkpoint",
    "Constant",
    "Cosine",
    "DivergedError",
    "Epoch",
    "Reading",
    "Rule",
    "Schedule",
    "Settings",
    "Steps",
    "Trainer",
    "Watch",
    "above_chance",
]
