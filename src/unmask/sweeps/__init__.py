"""Map a function over configurations, each outcome a record on disk.

| file         | what                                                                          |
|--------------|-------------------------------------------------------------------------------|
| runs.py      | a run's record: named by its configuration, with a digest, and what it ran on |
| processes.py | `sweep`: local processes; a killed sweep goes on where it was                 |
"""

from unmask.sweeps.processes import progress_bar, sweep
from unmask.sweeps.runs import SweepError, environment, identify, read_run

__all__ = ["SweepError", "environment", "identify", "progress_bar", "read_run", "sweep"]
