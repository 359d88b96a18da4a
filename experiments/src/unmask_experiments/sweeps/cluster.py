"""A sweep on a running Ray cluster. Scheduling, retries and transport are Ray's."""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unmask_experiments.sweeps.execution import C, Run, execute, locked, tidy
from unmask_experiments.sweeps.runs import SweepError, run_environment, write_run

RETRIES = 10
"""Times that Ray runs a configuration again when its node was lost; an exception of the run itself is not retried."""


def on_cluster(run: Run[C], configs: Sequence[C], *, address: str, folder: Path, work: Path, threads: int) -> None:
    """Run the configurations as Ray tasks of ``threads`` CPUs each, and write each record here as it arrives.

    This process alone writes records, so that each configuration has one, whatever was lost and begun again. A node
    needs this package and the data; it keeps checkpoints under ``work``, a path of its own or one that all share. Where
    nodes share it, a configuration whose node was lost goes on from its checkpoint.

    Raises:
        SweepError: Ray is not installed, the cluster cannot be reached, or nothing can be written.
    """
    try:
        import ray
    except ImportError as error:
        raise SweepError("ray: expected to be installed; pip install 'unmask-experiments[ray]'") from error
    _check_answers(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise SweepError(f"ray: expected a running cluster at {address}, got: {error}") from error
    try:
        task: Any = ray.remote(num_cpus=threads, max_retries=RETRIES)(_execute)
        waiting = {task.remote(run, config, work, threads): config for config in configs}
        while waiting:
            (done,), _ = ray.wait(list(waiting))
            config = waiting.pop(done)
            content = _content(done, threads)
            write_run(folder, config, content)
            if content["error"] is None:
                tidy(work, config)
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Refuse an address at which nothing listens: Ray itself would try for minutes. ``auto`` is left to Ray."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise SweepError(f"ray: expected a running cluster at {address}, got: {error.strerror or error}") from error


def _execute(run: Run[C], config: C, work: Path, threads: int) -> dict[str, Any]:
    """Run on a node. The folder may still be locked by a process of a node that is just being lost."""
    with locked(work, config, wait=True):
        return execute(run, config, work, threads)


def _content(done: Any, threads: int) -> dict[str, Any]:
    """Return the content of the record; a task that Ray gave up is a configuration that failed."""
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        return dict(ray.get(done))
    except RayTaskError as error:
        raise SweepError(str(error.cause)) from error
    except RayError as error:
        failure = {"type": type(error).__name__, "message": str(error), "trace": ""}
        return {"error": failure, "result": None, "seconds": 0.0, "environment": run_environment(threads)}
