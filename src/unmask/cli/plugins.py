"""Commands of other distributions, by the entry point group ``unmask.commands``; each is loaded when it is called."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

__all__ = ["GROUP", "LazyCommand", "plugin_commands"]

GROUP = "unmask.commands"
"""The entry point group."""

EXPERIMENTS = {
    "reproduce": "Regenerate the tables and figures of a paper, published values beside ours.",
    "zoo": "Audit models whose truth is known, and say how often the audit was right.",
}
"""The commands of the distribution ``unmask-experiments``, with their help: it is shown without loading them."""


class LazyCommand(click.Command):
    """A command that is loaded when it is called, and not when the commands are listed.

    Example:
        >>> LazyCommand("zoo", None, help="Audit models.").get_short_help_str()
        'Audit models.'
    """

    def __init__(self, name: str, entry: EntryPoint | None, *, help: str) -> None:  # noqa: A002  # click's word
        """Make a command of an entry point, or of none where its distribution is not installed."""
        super().__init__(name, help=help)
        self.entry = entry

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Load the command and let it read its arguments.

        Raises:
            click.UsageError: its distribution is not installed.
        """
        if self.entry is None:
            raise click.UsageError(
                f"{self.name}: needs the distribution unmask-experiments; in a clone of the repository run "
                "pip install ./experiments"
            )
        command: click.Command = self.entry.load()
        return command.make_context(info_name, args, parent, **extra)


def plugin_commands() -> list[click.Command]:
    """Return the commands of other distributions; those of the experiments are listed also where they are missing.

    Example:
        >>> sorted(EXPERIMENTS) == [command.name for command in plugin_commands() if command.name in EXPERIMENTS]
        True
    """
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    helps = EXPERIMENTS | {name: f"Of {entry.value.partition('.')[0]}." for name, entry in found.items()} | EXPERIMENTS
    return [LazyCommand(name, found.get(name), help=text) for name, text in sorted(helps.items())]
