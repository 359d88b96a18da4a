"""Map a function over configurations, each outcome a record on disk.

| file         | what                                                                                |
|--------------|-------------------------------------------------------------------------------------|
| runs.py      | the record of a run: its name, from the configuration; its digest; its environment  |
| execution.py | one configuration run in this process                                               |
| progress.py  | the share of a sweep that is done                                                   |
| cluster.py   | the configurations as tasks of a Ray cluster                                        |
| processes.py | `sweep`: local processes or a cluster; an interrupted sweep is resumed              |
"""

from unmask_experiments.sweeps.execution import locked
from unmask_experiments.sweeps.processes import sweep
from unmask_experiments.sweeps.progress import ProgressCallback, share_bar
from unmask_experiments.sweeps.runs import SweepError, finite, identify, read_run, record_of, run_environment

__all__ = [
    "ProgressCallback",
    "SweepError",
    "finite",
    "identify",
    "locked",
    "read_run",
    "record_of",
    "run_environment",
    "share_bar",
    "sweep",
]
