"""Vivek, Baburaj & Babu 2019: every table and figure of the logit-distance regularizer, and beyond.

| file         | what                                                                                 |
|--------------|--------------------------------------------------------------------------------------|
| config.py    | what a run is made of, at three lengths, and what the paper leaves open              |
| methods.py   | the training methods: what each minimises and costs                                  |
| grid.py      | which runs there are: the tables' rows, their order and cost                         |
| evaluate.py  | what is measured of a network                                                        |
| train.py     | one training, measured on the way                                                    |
| black_box.py | attacks transferred to networks that were kept                                       |
| precision.py | attacks made on them in bfloat16                                                     |
| starts.py    | the first pass of many trainings                                                     |
| timing.py    | seconds per update of each method                                                    |
| runs.py      | a run of any kind                                                                    |
| published.py | the paper's numbers                                                                  |
| cells.py     | from runs to cells of tables                                                         |
| tables.py    | tables 1 to 6; table7.py; figures.py: figures 1 to 4; beyond.py: our own             |
| artefacts.py | all of them                                                                          |
"""

from unmask.experiments.vivek2019.artefacts import ARTEFACTS
from unmask.experiments.vivek2019.config import CHOICES, PAPER, QUICK, SMOKE, Config
from unmask.experiments.vivek2019.grid import cost, grid
from unmask.experiments.vivek2019.runs import run

__all__ = ["ARTEFACTS", "CHOICES", "NAME", "PAPER", "QUICK", "SMOKE", "TITLE", "Config", "cost", "grid", "run"]

NAME = "vivek2019"
TITLE = (
    "Vivek, Baburaj & Babu 2019, Regularizer to Mitigate Gradient Masking Effect During Single-Step Adversarial "
    "Training"
)
