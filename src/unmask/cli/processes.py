"""A command in several processes: its options, starting them, and taking part as one of them."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

import click

from unmask.cli.loading import find_device
from unmask.cli.options import together

if TYPE_CHECKING:
    import torch

    from unmask.training.distributed import Alone


class Ended(click.ClickException):
    """The command began and could not finish."""

    exit_code = 3


class Stopped(click.ClickException):
    """The user stopped the command."""

    exit_code = 130


class _Refused(click.ClickException):
    exit_code = 2


spread_options = together(
    click.option("--devices", type=click.IntRange(1), help="Processes on each machine, each with a device of its own."),
    click.option("--nodes", type=click.IntRange(1), help="Machines, each of which runs this same command."),
)


def processes(devices: int | None, nodes: int | None) -> tuple[int, int]:
    """Return the numbers of processes and of machines: as asked for, as a launcher started them, or one."""
    from unmask.training.distributed import is_launched

    if not is_launched():
        return devices or 1, nodes or 1
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    return devices or here, nodes or int(os.environ["WORLD_SIZE"]) // here


def launch_all(several: tuple[int, int], place: torch.device, out: Path | None = None) -> None:
    """Run this same command in several processes, and say in one line which of them failed.

    ``out`` is where the command keeps checkpoints, if it does.
    """
    from unmask.training.distributed import WorkerError, launch

    if place.index is not None:
        raise click.UsageError(f"--device: each process takes one of its own; expected {place.type}, got {place}")
    try:
        launch(["-m", "unmask", *sys.argv[1:]], devices=several[0], nodes=several[1])
    except WorkerError as error:
        if error.code == 2:
            raise _Refused(str(error)) from error
        if error.code == 3:
            raise Ended(str(error)) from error
        if error.code == Stopped.exit_code:
            raise Stopped(f"stopped; {how_to_go_on(out)}") from error
        raise Ended(f"{error}; {how_to_go_on(out)}") from error
    except KeyboardInterrupt as error:
        raise Stopped(f"stopped; {how_to_go_on(out)}") from error


def how_to_go_on(out: Path | None) -> str:
    """Return advice on a run that ended early, by what it has kept."""
    if out is None:
        return "begin again"
    kept = (out / "checkpoint.json").is_file()
    return "go on from the last checkpoint with --resume" if kept else "there is no checkpoint yet: begin again"


@contextmanager
def member(device: str, several: tuple[int, int], strategy: str = "ddp") -> Iterator[tuple[Alone, torch.device]]:
    """Take part as one of several processes: the first one speaks, and the launcher says what went wrong."""
    from unmask.training.distributed import ALONE, join, reporting

    if several == (1, 1):
        yield ALONE, find_device(device)
        return
    with ExitStack() as stack:
        stack.enter_context(reporting(_exit_code))
        spread = join(accelerator=device, devices=several[0], nodes=several[1], strategy=strategy)
        if spread.rank:
            nowhere = stack.enter_context(Path(os.devnull).open("w"))
            stack.enter_context(redirect_stdout(nowhere))
            stack.enter_context(redirect_stderr(nowhere))
        yield spread, spread.fabric.device


def _exit_code(error: Exception) -> int:
    """Return 2 for bad input and 3 for a run that is of no use, as in one process; else 1."""
    if isinstance(error, click.ClickException):
        return error.exit_code
    if isinstance(error, ValueError | OSError):
        return 2
    traceback.print_exc()
    return 1
