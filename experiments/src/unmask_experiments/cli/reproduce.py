"""``unmask reproduce``: regenerate the tables and figures of a paper, published values beside ours."""

from __future__ import annotations

from pathlib import Path

import click

from unmask_experiments import PAPERS
from unmask_experiments.cli.options import FOLDER

PROFILES = ("smoke", "quick", "paper")


@click.command()
@click.argument("paper", required=False, metavar="PAPER")
@click.option("--artefact", help="One table or figure; by default all.")
@click.option("--profile", type=click.Choice(PROFILES), default="paper", show_default=True, help="Length of training.")
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="Seeds of runs with intervals.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Processes at once.")
@click.option("--ray", metavar="ADDRESS", help="Address of a running Ray cluster, e.g. auto.")
@click.option("--results", type=FOLDER, default="results", show_default=True, help="Folder of the records.")
@click.option("--work", type=FOLDER, help="Folder of checkpoints; else $UNMASK_WORK, else the user's cache.")
@click.option("--no-run", "records_only", is_flag=True, help="Compute from existing records; train nothing.")
@click.option("--list", "listed", is_flag=True, help="List the artefacts with the time that each would take here.")
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
    """Reproduce the tables and figures of PAPER: write RESULTS/PAPER/ID.json, ID.svg and RESULTS/README.md.

    PAPER is one that --list names. Finished runs are not repeated, and interrupted ones are resumed. Missing runs are
    named in the table or figure that needs them.
    """
    from unmask_experiments import reproduce as library
    from unmask_experiments.sweeps import SweepError, share_bar

    if paper is None and not listed:
        raise click.UsageError(f"expected a paper: one of {', '.join(PAPERS)}; or --list")
    if listed:
        for name in [paper] if paper else PAPERS:
            for one, shows, seconds in library.listing(name, profile=profile, seeds=seeds, jobs=jobs):  # type: ignore[arg-type]
                click.echo(f"{name} {one:<12} {seconds / 60:7.1f} min  {shows}")
        return
    try:
        with share_bar(f"runs of {paper}") as on_progress:
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
                on_progress=on_progress,
            ):
                click.echo(f"wrote {results / str(paper) / record['artefact']}.json")
    except SweepError as error:
        raise ValueError(str(error)) from error
