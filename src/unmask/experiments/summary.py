"""``results/README.md``: every artefact and claim, published beside measured, from the artefacts' records."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from unmask.experiments.artefact import Artefact
from unmask.experiments.zoo.page import section
from unmask.report.words import quantity


class Titled(Protocol):
    """What the table of results needs of a paper's module."""

    NAME: str
    TITLE: str
    ARTEFACTS: Sequence[Artefact]


INTERVALS = (
    "Intervals are 95 % t-intervals over n seeds, unless something else is said; they know nothing of what a share can "
    "be, so that with few seeds some pass 0 or 100. With one seed there is none."
)


def summary(results: Path, papers: Sequence[Titled]) -> str:
    """``results/README.md``: every artefact and claim of these papers, published beside measured, from ``ID.json``.

    Then what the zoo came to, from ``zoo.json``.
    """
    made = "Generated from the records beside it by `unmask reproduce` and `unmask zoo`; do not edit."
    lines = ["# Results", "", made, "", INTERVALS, ""]
    for paper in papers:
        records = [
            json.loads(path.read_text())
            for artefact in paper.ARTEFACTS
            if (path := results / paper.NAME / f"{artefact.name}.json").is_file()
        ]
        if not records:
            continue
        lines += [f"## {paper.TITLE}", ""]
        lines += _table([record for record in records if "table" not in record])
        for record in records:
            lines += _grid(record)
        lines += _claims(records)
        for record in records:
            lines += _story(record)
    lines += section(results)
    return "\n".join(lines) + "\n"


def _table(records: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = ["| artefact | quantity | published | measured (95 % over seeds) | n |", "|---|---|---|---|---|"]
    for record in records:
        keys = list(record["published"]) or list(record["measured"])[:8]
        for key in keys:
            one = record["measured"].get(key)
            published = record["published"].get(key)
            number = one.get("runs", len(one["values"])) if one else 0
            rows.append(
                f"| {record['paper']}/{record['artefact']}{_short(record)} | {key} "
                f"| {'-' if published is None else published} | {_words(one)} | {number} |"
            )
    return [*rows, ""]


def _grid(record: Mapping[str, Any]) -> list[str]:
    """A table of its own: in each cell what was measured and, after a stroke, what was published."""
    if "table" not in record:
        return []
    rows, columns = record["table"]["rows"], record["table"]["columns"]
    lines = [f"### {record['paper']}/{record['artefact']}{_short(record)}: {record['shows']}", ""]
    lines += ["In each cell: measured (95 % over seeds), then what was published.", ""]
    lines += ["| | n | " + " | ".join(columns) + " |", "|---" * (len(columns) + 2) + "|"]
    for row in rows:
        note = record["table"]["notes"].get(row)
        cells = [record["measured"].get(f"{row} {column}") for column in columns]
        count = max((one.get("runs", len(one["values"])) for one in cells if one), default=0)
        published = [record["published"].get(f"{row} {column}") for column in columns]
        words = [
            _words(one) + ("" if known is None else f" / {known}") for one, known in zip(cells, published, strict=True)
        ]
        lines.append(f"| {row}{f' ({note})' if note else ''} | {count} | " + " | ".join(words) + " |")
    return [*lines, ""]


def _claims(records: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = ["| artefact | claim | verdict | evidence |", "|---|---|---|---|"]
    for record in records:
        for one in record["claims"]:
            name = f"{record['artefact']}{_short(record)}"
            rows.append(f"| {name} | {one['claim']} | {one['verdict']} | {one['evidence']} |")
    return [*rows, ""]


def _story(record: Mapping[str, Any]) -> list[str]:
    """What it means, with the measured quantities put in, and the figure if there is one."""
    if not record.get("story"):
        return []

    def fill(match: re.Match[str]) -> str:
        return _words(record["measured"].get(match[1]))

    name = f"{record['paper']}/{record['artefact']}"
    text = re.sub(r"\{([^{}]+)\}", fill, record["story"])
    notes = f" ({quantity(len(record['missing']), 'run')} missing)" if record["missing"] else ""
    figure = [f"![{record['shows']}]({name}.svg)", ""] if record["panels"] or record["images"] else []
    return [f"### {record['shows']}{notes}", "", *figure, text, ""]


def _short(record: Mapping[str, Any]) -> str:
    """What a reader must know about a row: a shorter profile, or runs that are missing."""
    notes = [] if record["profile"] == "paper" else [f"profile {record['profile']}"]
    notes += [f"{quantity(len(record['missing']), 'run')} missing"] if record["missing"] else []
    return f" ({', '.join(notes)})" if notes else ""


def _words(one: Mapping[str, Any] | None) -> str:
    if one is None:
        return "not run"
    spread = f" ({one['low']:.3g} to {one['high']:.3g})" if one["low"] is not None else ""
    return f"{one['mean']:.4g}{spread}"
