"""``unmask page``: saved audits as one HTML page."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import click

from unmask.cli.options import FILE


@click.command()
@click.argument("reports", metavar="REPORT...", nargs=-1, required=True, type=FILE)
@click.option("--html", type=FILE, required=True, help="Where to write the page.")
@click.option("--title", help="The page's title; by default it names the model, or says how many there are.")
def page(reports: tuple[Path, ...], html: Path, title: str | None) -> None:
    """Write one page about one model, or about several side by side: each REPORT is an audit's report.json."""
    from unmask.reports import write_page
    from unmask.reports.record import AuditRecord

    records = [AuditRecord.from_json(path) for path in reports]
    named = Counter(record.subject for record in records)
    # Two audits of one architecture bear the same name: the file tells them apart.
    records = [
        replace(record, subject=f"{record.subject} ({path})") if named[record.subject] > 1 else record
        for record, path in zip(records, reports, strict=True)
    ]
    write_page(records, html, title=title)
    click.echo(f"wrote {html}")
