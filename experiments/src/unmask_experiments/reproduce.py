"""Do the runs of an artefact, compute it, and write ``ID.json``, ``ID.svg`` and the table of all artefacts."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from platformdirs import user_cache_path

from unmask.files import write_atomically
from unmask_experiments import PAPERS
from unmask_experiments.artefact import Artefact, ArtefactContent, Runs, mean_with_interval, series_of
from unmask_experiments.drawing import draw
from unmask_experiments.perceptrons import speed
from unmask_experiments.summary import Titled, summary
from unmask_experiments.sweeps import ProgressCallback, finite, identify, read_run, run_environment, sweep

FORMAT = "unmask-artefact/1"

MEASURING = 0.15
"""The time of measuring, as a share of that of training."""

Profile = Literal["smoke", "quick", "paper"]


class Paper(Titled, Protocol):
    """The module of a paper."""

    SMOKE: Any
    QUICK: Any
    PAPER: Any

    def grid(self, profile: Any, *, seeds: int) -> list[Any]:
        """Return all runs, the most telling first; the further seeds only where intervals are wanted."""
        ...

    def cost(self, config: Any) -> float:
        """Return the length of a run relative to others."""
        ...

    def run(self, config: Any, *, work: Path | None, progress: Callable[[float], None]) -> dict[str, Any]:
        """Do one run."""
        ...


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """A paper at one length: its runs, and the artefacts computed from them.

    Attributes:
        paper: a module such as ``unmask_experiments.yanagita2018``.
        folder: for ``ID.json``, ``ID.svg`` and ``runs/HASH.json``, e.g. ``results/yanagita2018``.
        work: a folder for checkpoints and weights, apart from the results.

    Raises:
        ValueError: unknown profile, or fewer than one seed.
    """

    paper: Paper
    folder: Path
    work: Path
    profile: Profile = "paper"
    seeds: int = 3

    def __post_init__(self) -> None:
        if self.profile not in ("smoke", "quick", "paper"):
            raise ValueError(f"profile: expected smoke, quick or paper, got {self.profile!r}")
        if self.seeds < 1:
            raise ValueError(f"seeds: expected at least 1, got {self.seeds}")

    @property
    def config(self) -> Any:
        """The profile's configuration."""
        return getattr(self.paper, self.profile.upper())

    def artefacts(self, name: str | None = None) -> list[Artefact]:
        """Return the artefact of this name, or all.

        Raises:
            ValueError: no such artefact; the message lists the known ones.
        """
        known = {one.name: one for one in self.paper.ARTEFACTS}
        if name is None:
            return list(known.values())
        if name not in known:
            raise ValueError(f"artefact: expected one of {', '.join(known)}, got {name!r}")
        return [known[name]]

    def needed(self, name: str | None = None) -> list[Any]:
        """Return the runs, in the grid's order, of one artefact, or of all but those done on request."""
        asked = [one for one in self.artefacts(name) if name or not one.on_request]
        wanted = {identify(config) for one in asked for config in one.needs(self.config)}
        return [
            config
            for config in self.paper.grid(self.config, seeds=self.seeds)
            if identify(replace(config, seed=self.config.seed)) in wanted
        ]

    def run(
        self,
        name: str | None = None,
        *,
        jobs: int = 1,
        ray: str | None = None,
        on_progress: ProgressCallback | None = None,
    ) -> list[Path]:
        """Do the runs that are missing, here or on the Ray cluster at that address; return their records' paths."""
        return sweep(
            self.paper.run,
            self.needed(name),
            folder=self.folder / "runs",
            work=self.work,
            jobs=jobs,
            ray=ray,
            cost=self.paper.cost,
            on_progress=on_progress,
        )

    def compute(self, name: str | None = None) -> Iterator[dict[str, Any]]:
        """Compute the artefacts from what has finished, write ``ID.json`` and ``ID.svg``, and yield each record.

        Missing runs are named in the record; nothing is put in their place.

        Raises:
            ValueError: a run's record is half-written or was edited.
        """
        for artefact in self.artefacts(name):
            needed = self.needed(artefact.name)
            paths = {identify(config): self.folder / "runs" / f"{identify(config)}.json" for config in needed}
            found = {key: read_run(path) for key, path in paths.items() if path.is_file()}
            record = self._record(artefact, found, [config for config in needed if identify(config) not in found])
            text = json.dumps(finite(record), indent=1, allow_nan=False)
            write_atomically(self.folder / f"{artefact.name}.json", text.encode() + b"\n")
            if record["panels"] or record["images"]:
                write_atomically(self.folder / f"{artefact.name}.svg", draw(record))
            yield record

    def _record(self, artefact: Artefact, found: dict[str, dict[str, Any]], missing: Sequence[Any]) -> dict[str, Any]:
        content: ArtefactContent = artefact.compute(Runs(found, self.config, self.seeds))
        records = list(found.values())
        here = run_environment(0)
        table = {
            "rows": list(artefact.rows),
            "columns": list(artefact.columns),
            "over": artefact.over,
            "means": list(artefact.means),
            "notes": dict(content.notes),
        }
        return {
            "format": FORMAT,
            "artefact": artefact.name,
            "paper": self.paper.NAME,
            "shows": artefact.shows,
            "profile": self.profile,
            "command": f"unmask reproduce {self.paper.NAME} --artefact {artefact.name} --profile {self.profile} "
            f"--seeds {self.seeds}",
            "commit": here["commit"],
            "versions": here["versions"],
            "seconds": round(sum(one["seconds"] for one in records), 1),
            "seeds": sorted({one["config"]["seed"] for one in records}),
            "choices": dict(self.paper.CHOICES),
            "runs": sorted(found),
            "missing": [_differing(config, self.config) for config in missing],
            "published": dict(artefact.published),
            "measured": {key: mean_with_interval(values) for key, values in content.measured.items() if values},
            "series": {name: series_of(points) for name, points in content.series.items()},
            "panels": [asdict(panel) for panel in artefact.panels],
            "images": {name: [list(row) for row in rows] for name, rows in content.images.items()},
            "claims": list(content.claims),
            "story": artefact.story,
        } | ({"table": table} if artefact.rows else {})


def _differing(config: Any, profile: Any) -> dict[str, Any]:
    """Return the settings of a configuration that differ from its profile, with its seed."""
    return {key: value for key, value in asdict(config).items() if key == "seed" or value != asdict(profile)[key]}


def find_paper(name: str) -> Paper:
    """Return the module of a paper.

    Raises:
        ValueError: unknown name; the message lists the known ones.

    Example:
        >>> find_paper("yue2017").NAME
        'yue2017'
    """
    if name not in PAPERS:
        raise ValueError(f"paper: expected one of {', '.join(PAPERS)}, got {name!r}")
    paper: Any = importlib.import_module(f"unmask_experiments.{name}")
    return cast(Paper, paper)


def reproduce(
    name: str,
    *,
    artefact: str | None = None,
    profile: Profile = "paper",
    seeds: int = 3,
    jobs: int = 1,
    ray: str | None = None,
    results: Path = Path("results"),
    work: Path | None = None,
    run: bool = True,
    on_progress: ProgressCallback | None = None,
) -> Iterator[dict[str, Any]]:
    """Do the missing runs, write the artefacts and ``results/README.md``, and yield each artefact's record.

    Args:
        name: a key of ``PAPERS``; ``artefact``: one of its artefacts, by default all.
        results: the folder with a sub-folder for each paper.
        work: the folder of checkpoints and weights; by default ``default_work(name)``.
        jobs: number of local processes; ``ray``: the address of a Ray cluster to run on instead.
        run: False computes from the records that are there.
        on_progress: called about once a second with the share of the runs that is done.

    Raises:
        ValueError: an unknown paper, artefact or profile, or a run's record that is damaged.
        SweepError: a folder cannot be written, or the disk is full.
    """
    made = Reproduction(
        paper=find_paper(name), folder=results / name, work=work or default_work(name), profile=profile, seeds=seeds
    )
    if run:
        made.run(artefact, jobs=jobs, ray=ray, on_progress=on_progress)
    yield from made.compute(artefact)
    text = summary(results, [find_paper(one) for one in PAPERS])
    write_atomically(results / "README.md", text.encode())


def listing(name: str, *, profile: Profile = "paper", seeds: int = 3, jobs: int = 1) -> list[tuple[str, str, float]]:
    """Return each artefact, its subject, and the seconds, about, that it would take here if nothing had been run yet.

    Artefacts share runs, so that all of them together take less than the sum.
    """
    made = Reproduction(paper=find_paper(name), folder=Path(), work=Path(), profile=profile, seeds=seeds)
    rate = speed() * jobs / (1 + MEASURING)
    return [
        (one.name, one.shows, sum(made.paper.cost(config) for config in made.needed(one.name)) / rate)
        for one in made.artefacts()
    ]


def default_work(paper: str) -> Path:
    """Return the folder of checkpoints and weights: in ``$UNMASK_WORK``, else in the user's cache.

    Example:
        >>> default_work("yue2017").name
        'yue2017'
    """
    cache = user_cache_path("unmask", appauthor=False) / "runs"
    return Path(os.environ.get("UNMASK_WORK") or cache) / paper
