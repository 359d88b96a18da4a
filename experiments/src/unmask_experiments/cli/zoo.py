"""``unmask zoo``: audit models whose truth is known, and score the audit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from unmask_experiments.cli.options import FOLDER


@click.command()
@click.option("--data", type=click.Choice(["digits", "mnist"]), default="digits", show_default=True)
@click.option("--only", multiple=True, metavar="NAME", help="Pairs whose name holds this; may be repeated.")
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="Networks of each kind.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Processes at once.")
@click.option("--peers", is_flag=True, help="Raise AutoAttack's flags and ART's gradient check too (first seed).")
@click.option("--again", is_flag=True, help="Repeat the audits; the truth stays.")
@click.option("--truth-only", is_flag=True, help="Train and establish the truth; audit nothing.")
@click.option("--results", type=FOLDER, default="results", show_default=True, help="Folder of the records.")
@click.option("--work", type=FOLDER, help="Folder of weights; else $UNMASK_WORK, else the user's cache.")
@click.option("--list", "listed", is_flag=True, help="List the pairs with their purposes.")
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
    """Audit models whose truth is known, and score the audit.

    The truth of each pair of a model and an attack is recorded before its audit. Finished runs are not repeated, and
    interrupted ones are resumed. Writes RESULTS/zoo.json and RESULTS/README.md.
    """
    from unmask_experiments.sweeps import SweepError, share_bar
    from unmask_experiments.zoo import stages

    pairs = stages.chosen(data, seeds=seeds, only=only)
    if listed:
        for case in pairs:
            click.echo(f"{case.kind:<12} {case.name}, epsilon {case.epsilon:g}")
        return
    options: Any = {"jobs": jobs, "peers": peers, "again": again, "audit": not truth_only}
    folder = results / "zoo"
    try:
        stages.run_zoo(pairs, folder=folder, work=work or stages.zoo_work(), bar=share_bar, **options)
    except SweepError as error:
        raise ValueError(str(error)) from error
    every = stages.chosen(data, seeds=seeds)
    score = stages.write_score(data, every, results=results, command=f"unmask zoo --data {data} --seeds {seeds}")
    for line in _table_of(score):
        click.echo(line)
    click.echo(f"wrote {results / 'zoo.json'} and {results / 'README.md'}")


def _table_of(score: dict[str, Any]) -> list[str]:
    """Return the confusion table and the rates, line by line."""
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
