"""The runs of Vivek et al. 2019, of any kind."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unmask_experiments.vivek2019.black_box import transfer
from unmask_experiments.vivek2019.config import Config
from unmask_experiments.vivek2019.grid import timed
from unmask_experiments.vivek2019.precision import precision
from unmask_experiments.vivek2019.starts import starts
from unmask_experiments.vivek2019.timing import methods_timed, timing
from unmask_experiments.vivek2019.train import train


def run(
    config: Config, *, work: Path | None = None, progress: Callable[[float], None] = lambda share: None
) -> dict[str, Any]:
    """Train a network, attack a trained one, or time the methods, by the configuration's kind.

    Args:
        work: a folder for checkpoints and the last weights; by default a temporary one. Networks of other runs are
            looked for in the folders beside it, and trained within it if they are not there.
        progress: called with the share that is done.

    Example:
        >>> from unmask_experiments.vivek2019.config import SMOKE
        >>> record = run(SMOKE)
        >>> record["epochs"]["update"], record["final"]["last"]["images"]
        ([4, 8], 30)
    """
    if work is None:
        with tempfile.TemporaryDirectory() as folder:
            return run(config, work=Path(folder) / "run", progress=progress)
    work.mkdir(parents=True, exist_ok=True)
    if config.kind == "transfer":
        return transfer(config, work=work)
    if config.kind == "precision":
        return precision(config, work=work)
    if config.kind == "starts":
        return starts(config, work=work, progress=progress)
    if config.kind == "timing":
        return timing(config, methods_timed(config, timed(config)))
    return train(config, work=work, progress=progress)
