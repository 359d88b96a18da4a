"""The command line. Commands import what they need when they run, so ``unmask --help`` is there at once."""

from __future__ import annotations

import sys

import click

from unmask import __version__
from unmask.cli.attack import attack
from unmask.cli.audit import audit
from unmask.cli.demo import demo
from unmask.cli.reproduce import reproduce
from unmask.cli.train import train


class _Commands(click.Group):
    """A group that says in one line what was wrong with the input, and exits with 2."""

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except (ValueError, OSError) as error:
            if context.params["traceback"]:
                raise
            raise _BadInput(" ".join(str(error).split())) from error


class _BadInput(click.ClickException):
    exit_code = 2


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
@click.option("--traceback", is_flag=True, help="On bad input show where it was found, for a bug report.")
def main(traceback: bool) -> None:
    """Tell whether a neural network's robustness is real or only gradient masking."""


for command in (demo, audit, train, attack, reproduce):
    main.add_command(command)

if __name__ == "__main__":
    sys.exit(main())
