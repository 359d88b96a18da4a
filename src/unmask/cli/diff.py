"""``unmask diff``: two audits of the same images, before and after a change of the model."""

from __future__ import annotations

from pathlib import Path

import click

from unmask.cli.options import FILE

__all__ = ["diff"]


@click.command()
@click.argument("before", type=FILE)
@click.argument("after", type=FILE)
def diff(before: Path, after: Path) -> None:
    """Say what a change of the model won or lost: BEFORE and AFTER are two audits' report.json.

    Both must be of the same images and epsilon: accuracies are compared example by example.
    """
    from unmask.reports import AuditRecord, answer, cautions, compare

    old, new = AuditRecord.from_json(before), AuditRecord.from_json(after)
    changes = compare(old, new)
    click.echo(f"before, {old.model_name}: {answer(old)}\nafter, {new.model_name}: {answer(new)}\n")
    for line in (*changes, *cautions(old, new)):
        click.echo(line)
