"""Map a function over configurations, each outcome a record on disk.

| file         | what                                                                                |
|--------------|-------------------------------------------------------------------------------------|
| runs.py      | a run's record: named by its configuration, with a digest, and what it ran on       |
| attempt.py   | one configuration carried out in this process                                       |
| progress.py  | how far the whole sweep is                                                          |
| cluster.py   | the configurations as tasks of a Ray cluster                                        |
| processes.py | `sweep`: local processes, or a cluster; a killed sweep goes on where it was         |
"""

from unmask_experiments.sweeps.processes import sweep
from unmask_experiments.sweeps.progress import progress_bar
from unmask_experiments.sweeps.runs import SweepError, environment, identify, read_run

__all__ = ["SweepError", "environment", "identify", "progress_bar", "read_run", "sweep"]
