"""The command line: one command per file. Commands import torch when they run, so ``unmask --help`` is immediate.

| file            | content                                                                      |
|-----------------|------------------------------------------------------------------------------|
| audit.py ...    | ``unmask audit`` and each other command, in a file of its name               |
| options.py      | options that several commands share, and the types of their values           |
| loading.py      | data, models, devices and the user's own factories, by name                  |
| attacks.py      | attacks by name, with the settings that their classes have                   |
| objectives.py   | objectives of training, likewise                                             |
| settings.py     | ``--set NAME=VALUE``                                                         |
| progress.py     | the progress bar                                                             |
| processes.py    | one command in several processes                                             |
| training_log.py | the lines that ``unmask train`` prints                                       |
| plugins.py      | commands of other distributions                                              |
"""

from __future__ import annotations

import os
import traceback

import click

from unmask import __version__
from unmask.cli.attack import attack
from unmask.cli.audit import audit
from unmask.cli.demo import demo
from unmask.cli.diff import diff
from unmask.cli.page import page
from unmask.cli.plugins import plugin_commands
from unmask.cli.processes import Stopped
from unmask.cli.train import train
from unmask.cli.verify import verify

__all__ = ["main"]


class _Commands(click.Group):
    """A group that says in one line what was wrong with the input and exits with 2; 3 is our fault, 130 a stop."""

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except (ValueError, OSError) as error:
            if context.params["show_traceback"]:
                raise
            raise _BadInput(" ".join(str(error).split())) from error
        except KeyboardInterrupt as error:
            raise Stopped("stopped") from error
        except (click.ClickException, click.exceptions.Exit, click.exceptions.Abort):
            raise
        except Exception:  # 1 is the answer "masked": a failure of ours must not be taken for it
            traceback.print_exc()
            context.exit(3)


class _BadInput(click.ClickException):
    exit_code = 2


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
@click.option(
    "--traceback", "show_traceback", is_flag=True, help="On bad input show where it was found, for a bug report."
)
def main(show_traceback: bool) -> None:
    """Tell whether a neural network's robustness is real or only gradient masking."""
    # Before torch is loaded: its threads then sleep while they wait, where by default they spin. On two cores with
    # other processes busy, a pass through a small MLP took 370 ms with two spinning threads and 2 ms with two sleeping.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


for command in (demo, audit, verify, diff, page, train, attack, *plugin_commands()):
    main.add_command(command)
