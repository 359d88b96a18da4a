"""The whole zoo in order, each stage a resumable sweep: networks, worst cases, truth, audits, peers; then the score."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from unmask.files import write_atomically
from unmask_experiments import PAPERS
from unmask_experiments.reproduce import default_work, find_paper
from unmask_experiments.summary import summary
from unmask_experiments.sweeps import ProgressCallback, finite, identify, record_of, run_environment, sweep
from unmask_experiments.zoo.audits import audit_pair, truth_of
from unmask_experiments.zoo.cases import SEEDS, Case, cases
from unmask_experiments.zoo.defences import DEFENCES
from unmask_experiments.zoo.expected import LEARNED
from unmask_experiments.zoo.networks import Network, network_of, operations, train
from unmask_experiments.zoo.peers import ask_peers
from unmask_experiments.zoo.scores import peers_table, rows, score_summary
from unmask_experiments.zoo.truth import WORST_CASES, establish_truth
from unmask_experiments.zoo.worst_case import establish_worst_case

StageBar = Callable[[str], AbstractContextManager[ProgressCallback | None]]
"""Called with the name of a stage; returns a context that yields the callback for the share that is done."""


def chosen(data: str, *, seeds: int = SEEDS, only: Sequence[str] = ()) -> list[Case]:
    """Return the pairs of a zoo whose name holds one of the words given, or all.

    Raises:
        ValueError: no name holds such a word; the message lists the names without their seeds.

    Example:
        >>> [case.name for case in chosen("digits", seeds=2, only=["linear, plus"])]
        ['linear, plus 1e6, seed 0', 'linear, plus 1e6, seed 1']
    """
    every = cases(data, seeds=seeds)
    for word in only:
        if not any(word in case.name for case in every):
            labels = "; ".join(dict.fromkeys(case.label for case in every))
            raise ValueError(f"only: expected a part of one of these names: {labels}; got {word!r}")
    return [case for case in every if not only or any(word in case.name for word in only)]


def run_zoo(
    pairs: Sequence[Case],
    *,
    folder: Path,
    work: Path,
    jobs: int = 1,
    peers: bool = False,
    audit: bool = True,
    again: bool = False,
    bar: StageBar = lambda name: nullcontext(),
) -> None:
    """Do the missing runs of all stages; each stage has its records in a folder of its own under ``folder``.

    Args:
        work: a folder for weights and checkpoints.
        peers: run the other libraries too, on the pairs of the first seed.
        audit: False stops when the truth is recorded.
        again: repeat the audits; the truth stays.

    Raises:
        ValueError: a record was changed, or a run failed; the message names the first that did.
        SweepError: a folder cannot be written, or the disk is full.
    """
    shared: dict[str, Any] = {"work": work, "jobs": jobs}
    networks = _once(_with_teachers(network_of(case) for case in pairs))
    undefended = _once(case.undefended for case in pairs if DEFENCES[case.defence].truth == "exact")
    _stage("networks", train, networks, folder, bar, cost=operations, **shared)
    _stage(WORST_CASES, establish_worst_case, undefended, folder, bar, **shared)
    _stage("truth", partial(establish_truth, folder=folder), pairs, folder, bar, **shared)
    decided = [case for case in pairs if truth_of(case, folder)["result"]["truth"] != "excluded"]
    if audit:
        for case in decided if again else ():
            record_of(folder / "audits", case).unlink(missing_ok=True)
        _stage("audits", partial(audit_pair, folder=folder), decided, folder, bar, **shared)
    if peers:
        first = [case for case in decided if case.seed == 0 and case.reference == "fgsm"]
        _stage("peers", ask_peers, first, folder, bar, **shared)


def write_score(data: str, pairs: Sequence[Case], *, results: Path, command: str) -> dict[str, Any]:
    """Score the finished runs, write ``results/zoo.json`` and ``results/README.md``, and return the score.

    Raises:
        ValueError: a record was changed.
    """
    found = rows(pairs, results / "zoo")
    told = {row["name"] for row in found}
    here = run_environment(0)
    score: dict[str, Any] = finite({
        "command": command,
        "commit": here["commit"],
        "versions": here["versions"],
        "learned": LEARNED.get(data, ""),
        "not run": [case.name for case in pairs if case.name not in told],
        "summary": score_summary(found),
        "peers": peers_table(found),
        "rows": found,
    })  # fmt: skip
    path = results / "zoo.json"
    known = json.loads(path.read_text()) if path.is_file() else {}
    write_atomically(path, json.dumps(known | {data: score}, indent=1, allow_nan=False).encode() + b"\n")
    write_atomically(results / "README.md", summary(results, [find_paper(one) for one in PAPERS]).encode())
    return score


def zoo_work() -> Path:
    """Return the folder of weights and checkpoints: in ``$UNMASK_WORK``, else in the user's cache.

    Example:
        >>> zoo_work().name
        'zoo'
    """
    return default_work("zoo")


def _stage(
    name: str, run: Any, configs: Sequence[Any], folder: Path, bar: StageBar, work: Path, **options: Any
) -> None:
    """Run one sweep; every run of it has to succeed before the next stage may begin."""
    with bar(name) as on_progress:
        done = sweep(run, configs, folder=folder / name, work=work / name, on_progress=on_progress, **options)
    if len(done) < len(configs):
        raise ValueError(_failure(configs, folder / name))


def _failure(configs: Sequence[Any], folder: Path) -> str:
    """Return the error of the first run that has no record."""
    open_ones = [config for config in configs if not record_of(folder, config).is_file()]
    path = folder / f"{identify(open_ones[0])}.failed.json"
    why = json.loads(path.read_text())["error"]["message"] if path.is_file() else "it is being run elsewhere"
    return f"{path}: expected {len(configs)} records, {len(open_ones)} are missing; the first: {why}"


def _with_teachers(networks: Iterator[Network]) -> Iterator[Network]:
    """Yield each network, and before it the one that it learns from."""
    for one in networks:
        if one.method == "distilled":
            yield replace(one, method="tempered")
        yield one


def _once(configs: Any) -> list[Any]:
    """Return each once, in order."""
    return list(dict.fromkeys(configs))
