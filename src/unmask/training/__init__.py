"""Training: one loop, a generator that yields after each epoch, and at once where there is something to say.

| file        | what                                                                           |
|-------------|--------------------------------------------------------------------------------|
| words.py    | settings in words, by which a checkpoint knows its run                         |
| settings.py | what a run is: its length, batches, objective, optimizer and precision         |
| run.py      | how it goes: updates, checkpoints, what is looked at on the way, when it ends  |
| trainer.py  | `Trainer`: settings that are called, and yield an `Epoch` after each pass      |
"""

from unmask.training.run import STUCK_EVERY, DivergedError
from unmask.training.settings import Settings
from unmask.training.trainer import Epoch, Trainer

__all__ = ["STUCK_EVERY", "DivergedError", "Epoch", "Settings", "Trainer"]
