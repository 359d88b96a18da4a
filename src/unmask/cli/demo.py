"""``unmask demo``: four classifiers, two of them fooling their examiner, on one page."""

from __future__ import annotations

import os
import time
from pathlib import Path

import click

from unmask.cli.options import FOLDER
from unmask.cli.progress import progress_bar

__all__ = ["demo"]


@click.command()
@click.option(
    "--out", type=FOLDER, default="unmask-demo", show_default=True, help="Folder for the page and the records."
)
def demo(out: Path) -> None:
    """Train four classifiers on embedded digits, audit them, and write one page that sets them side by side.

    Needs no data and no GPU; takes about a minute on two cores.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Column, Table

    from unmask import demo as candidates
    from unmask.reports import SUMMARY_COLUMNS, answer, summary_rows, write_page

    started = time.perf_counter()
    reports = []
    with progress_bar("training") as bar:
        for report in candidates.run(bar.stage, processes=_cores()):
            reports.append(report)
            click.echo(f"{report.model_name}: {answer(report)}")
            report.to_json(out / f"{len(reports)}.json")
    columns = [Column(name, overflow="fold") for name in SUMMARY_COLUMNS]
    table = Table(*columns, box=SIMPLE_HEAD, title=f"Digits, L-infinity epsilon {candidates.EPSILON}")
    for row in summary_rows(reports):
        table.add_row(*row)
    Console().print(table)
    write_page(reports, out / "report.html", title="unmask demo: four classifiers of handwritten digits")
    click.echo(f"wrote {out / 'report.html'} in {time.perf_counter() - started:.0f} s; open it in a browser")


def _cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
