"""``unmask reproduce``: regenerate the tables and figures of a paper, published values beside ours."""

from __future__ import annotations

from pathlib import Path

import click

from unmask.cli.options import FOLDER
from unmask_experiments import PAPERS

PROFILES = ("smoke", "quick", "paper")


@click.command()
@click.argument("paper", required=False, metavar="PAPER")
@click.option("--artefact", help="One table or figure; by default all.")
@click.option("--profile", type=click.Choice(PROFILES), default="paper", show_default=True, help="How long to train.")
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="Where intervals are wanted.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Processes at once.")
@click.option("--ray", metavar="ADDRESS", help="Run on a Ray cluster that is up, e.g. auto; needs unmask[ray].")
@click.option("--results", type=FOLDER, default="results", show_default=True, help="Where the records go.")
@click.option("--work", type=FOLDER, help="Where checkpoints go; else $UNMASK_WORK, else the user's cache.")
@click.option("--no-run", "records_only", is_flag=True, help="Compute from the records that are there; train nothing.")
@click.option("--list", "listed", is_flag=True, help="List the artefacts and about how long each would take here.")
def reproduce(
    paper: str | None,
    artefact: str | None,
    profile: str,
    seeds: int,
    jobs: int,
    ray: str | None,
    results: Path,
    work: Path | None,
    records_only: bool,
    listed: bool,
) -> None:
    """Run what PAPER's artefacts need and write RESULTS/PAPER/ID.json and ID.svg, and RESULTS/README.md.

    PAPER is one that --list names. What has been run before is not run again, and what was interrupted goes on.
    What a table or figure lacks is named in it.
    """
    from unmask_experiments import reproduce as library
    from unmask_experiments.sweeps import SweepError, progress_bar

    if paper is None and not listed:
        raise click.UsageError(f"expected a paper: one of {', '.join(PAPERS)}; or --list")
    if listed:
        for name in [paper] if paper else PAPERS:
            for one, shows, seconds in library.listing(name, profile=profile, seeds=seeds, jobs=jobs):  # type: ignore[arg-type]
                click.echo(f"{name} {one:<12} {seconds / 60:7.1f} min  {shows}")
        return
    try:
        with progress_bar(f"runs of {paper}") as report:
            for record in library.reproduce(
                str(paper),
                artefact=artefact,
                profile=profile,  # type: ignore[arg-type]
                seeds=seeds,
                jobs=jobs,
                ray=ray,
                results=results,
                work=work,
                run=not records_only,
                report=report,
            ):
                click.echo(f"wrote {results / str(paper) / record['artefact']}.json")
    except SweepError as error:
        raise ValueError(str(error)) from error
