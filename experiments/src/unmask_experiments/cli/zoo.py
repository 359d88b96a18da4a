"""``unmask zoo``: audit models whose truth is known, and score the audit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from unmask.cli.options import FOLDER


@click.command()
@click.option("--data", type=click.Choice(["digits", "mnist"]), default="digits", show_default=True)
@click.option("--only", multiple=True, metavar="NAME", help="Pairs whose name holds this; may be repeated.")
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="Networks of each kind.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Processes at once.")
@click.option("--peers", is_flag=True, help="Ask AutoAttack's flags and ART's gradient check too (first seed).")
@click.option("--again", is_flag=True, help="Audit once more what has been audited; the truth stays.")
@click.option("--truth-only", is_flag=True, help="Train and write the truth down; audit nothing.")
@click.option("--results", type=FOLDER, default="results", show_default=True, help="Where the records go.")
@click.option("--work", type=FOLDER, help="Where weights go; else $UNMASK_WORK, else the user's cache.")
@click.option("--list", "listed", is_flag=True, help="List the pairs, and what each is in the zoo for.")
def zoo(
    data: str,
    only: tuple[str, ...],
    seeds: int,
    jobs: int,
    peers: bool,
    again: bool,
    truth_only: bool,
    results: Path,
    work: Path | None,
    listed: bool,
) -> None:
    """Audit models whose truth is known, and say how often the audit was right.

    The truth of each pair of a model and an attack is written down before the audit may look at it. What has been done
    before is not done again, and what was interrupted goes on. Writes RESULTS/zoo.json and RESULTS/README.md.
    """
    from unmask_experiments.sweeps import SweepError, progress_bar
    from unmask_experiments.zoo import stages

    pairs = stages.chosen(data, seeds=seeds, only=only)
    if listed:
        for case in pairs:
            click.echo(f"{case.kind:<12} {case.name}, epsilon {case.epsilon:g}")
        return
    options: Any = {"jobs": jobs, "peers": peers, "again": again, "audit": not truth_only}
    folder = results / "zoo"
    try:
        stages.run_zoo(pairs, folder=folder, work=work or stages.zoo_work(), bar=progress_bar, **options)
    except SweepError as error:
        raise ValueError(str(error)) from error
    every = stages.chosen(data, seeds=seeds)
    score = stages.report(data, every, results=results, command=f"unmask zoo --data {data} --seeds {seeds}")
    for line in _told(score):
        click.echo(line)
    click.echo(f"wrote {results / 'zoo.json'} and {results / 'README.md'}")


def _told(score: dict[str, Any]) -> list[str]:
    """The confusion table and the rates."""
    answers = ("masked", "not masked", "inconclusive")
    lines = [f"{'truth':<12}" + "".join(f"{answer:>14}" for answer in answers)]
    for truth, counts in score["summary"]["verdicts"].items():
        lines.append(f"{truth:<12}" + "".join(f"{counts.get(answer, 0):>14}" for answer in answers))
    for name, one in score["summary"]["rates"].items():
        if one["total"]:
            share, low, high = (100 * x for x in (one["count"] / one["total"], one["low"], one["high"]))
            lines.append(f"{name}: {share:.1f} % ({low:.1f} to {high:.1f}) of {one['total']}")
    for row in score["rows"]:
        if row.get("right") is False:
            lines.append(f"wrong: {row['name']}: {row['truth']}, called {row['verdict']}; {row['reason']}")
    return lines
