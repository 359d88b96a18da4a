"""``unmask page``: saved audits as one HTML page."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import click

from unmask.cli.options import FILE

__all__ = ["page"]


@click.command()
@click.argument("reports", metavar="REPORT...", nargs=-1, required=True, type=FILE)
@click.option("--html", type=FILE, required=True, help="The page to write.")
@click.option("--title", help="The page's title; by default it names the model, or says how many there are.")
def page(reports: tuple[Path, ...], html: Path, title: str | None) -> None:
    """Write one page about one model, or about several side by side: each REPORT is an audit's report.json."""
    from unmask.reports import AuditRecord, write_page

    records = [AuditRecord.from_json(path) for path in reports]
    named = Counter(record.model_name for record in records)
    # Two audits of one architecture bear the same name: the file tells them apart.
    records = [
        replace(record, model_name=f"{record.model_name} ({path})") if named[record.model_name] > 1 else record
        for record, path in zip(records, reports, strict=True)
    ]
    write_page(records, html, title=title)
    click.echo(f"wrote {html}")
