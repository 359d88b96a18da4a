"""``results/README.md``: every artefact and claim, published beside measured, from the artefacts' records."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from unmask.reports import listing, quantity
from unmask_experiments.artefact import Artefact
from unmask_experiments.zoo_page import section


class Titled(Protocol):
    """The part of a paper's module that the table of results needs."""

    NAME: str
    TITLE: str
    IN_SHORT: str
    CHOICES: Mapping[str, str]
    ARTEFACTS: Sequence[Artefact]


INTERVALS = (
    "Intervals are 95 % t-intervals over n seeds, unless something else is said; they know nothing of what a share can "
    "be, so that with few seeds some pass 0 or 100. With one seed there is none. "
    "A claim is *reproduced* if all its parts hold, *partly* if only some do, *not reproduced* if none does and one "
    "fails, *open* if every part's interval meets its bound, *not judged* while runs are missing. A part holds if its "
    "whole interval is on the right side of the bound; with one seed the value is, which says nothing of other seeds. "
    "Figures shade the range of the seeds."
)

VERDICTS = ("reproduced", "partly", "not reproduced", "open", "not judged")
"""In the order in which they are counted."""


def summary(results: Path, papers: Sequence[Titled]) -> str:
    """Return ``results/README.md``: every artefact and claim of these papers, published beside measured.

    Each paper has its results in short, then its claims, then one section for each artefact, from ``ID.json``. The zoo
    follows, from ``zoo.json``.
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
        lines += [
            f"## {paper.TITLE}",
            "",
            *_in_short(paper.IN_SHORT, records),
            *_overview(records),
            *_choices(paper.CHOICES),
        ]
        for record in records:
            lines += _artefact(record)
    lines += section(results)
    return "\n".join(lines) + "\n"


def _in_short(text: str, records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the results at the paper's length in short, with measured values in place of ``{artefact: key}``."""
    if any(record["profile"] != "paper" for record in records):
        return []
    found = {record["artefact"]: record["measured"] for record in records}

    def fill(match: re.Match[str]) -> str:
        artefact, _, key = match[1].partition(": ")
        return _in_words(found.get(artefact, {}), key)

    return [re.sub(r"\{([^{}]+)\}", fill, text), ""]


def _overview(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return all claims of a paper with their verdicts; the evidence is beside the artefact."""
    counts = Counter(one["verdict"] for record in records for one in record["claims"])
    rows = [
        f"| {record['artefact']}{_short(record)} | {one['claim']} | {one['verdict']} |"
        for record in records
        for one in record["claims"]
    ]
    said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])
    seeds = len({seed for record in records for seed in record["seeds"]})
    return [
        f"Claims: {said}; from {quantity(seeds, 'seed')}.",
        "",
        "| artefact | claim | verdict |",
        "|---|---|---|",
        *rows,
        "",
    ]


def _choices(choices: Mapping[str, str]) -> list[str]:
    """Return the choices that the paper leaves open, folded."""
    rows = [f"- **{name}**: {text}" for name, text in choices.items()]
    return ["<details><summary>What the paper leaves open, and how it is read here</summary>", "", *rows, "",
            "</details>", ""]  # fmt: skip


def _artefact(record: Mapping[str, Any]) -> list[str]:
    """Return the section of one artefact: its figure, its story, its numbers, and the evidence for its claims."""
    name = f"{record['paper']}/{record['artefact']}"
    lines = [f"### {name}{_short(record)}: {record['shows']}", ""]
    if record["panels"] or record["images"]:
        lines += [f"![{record['shows']}]({name}.svg)", ""]
    if record.get("story"):
        lines += [_story(record), ""]
    lines += _grid(record) if "table" in record else _list(record)
    claims = [f"- **{one['verdict']}**: {one['claim']}. {one['evidence']}" for one in record["claims"]]
    return [*lines, *claims, *([""] if claims else [])]


def _story(record: Mapping[str, Any]) -> str:
    """Return the story of an artefact with measured values in place of ``{key}``."""
    return re.sub(r"\{([^{}]+)\}", lambda match: _in_words(record["measured"], match[1]), record["story"])


def _in_words(measured: Mapping[str, Any], key: str) -> str:
    """Return a quantity's mean with its interval, or after ``, each`` its value at every seed."""
    one = measured.get(key.removesuffix(", each"))
    if one is None or not key.endswith(", each"):
        return _words(one)
    return listing([_number(value, 4) for value in one["values"]])


def _list(record: Mapping[str, Any]) -> list[str]:
    """Return a list of the published quantities, or of some measured ones where none is published."""
    rows = []
    for key in list(record["published"]) or list(record["measured"])[:8]:
        one, published = record["measured"].get(key), record["published"].get(key)
        number = one.get("runs", len(one["values"])) if one else 0
        rows.append(f"| {key} | {'-' if published is None else _published(published)} | {_words(one)} | {number} |")
    return ["| quantity | published | measured (95 %) | n |", "|---|---|---|---|", *rows, ""] if rows else []


def _grid(record: Mapping[str, Any]) -> list[str]:
    """Return a table with the measured value in each cell and, after a stroke, the published one."""
    table = record["table"]
    legend = f"In each cell: measured (95 % over {table['over']}), then what was published."
    head = [one if one in table["rows"] else _with_note(table, one) for one in table["columns"]]
    lines = [legend, "", f"| | n {table['over']} | " + " | ".join(head) + " |", "|---" * (len(head) + 2) + "|"]
    for row in table["rows"]:
        keys = [f"{row} {column}" for column in table["columns"]]
        words = [_cell(record, row, column) for column in table["columns"]]
        found = [one for key in keys if (one := record["measured"].get(key))]
        lines.append(f"| {_with_note(table, row)} | {_number_of(found, table['over'])} | " + " | ".join(words) + " |")
    return [*lines, ""]


def _with_note(table: Mapping[str, Any], name: str) -> str:
    """Return the name of a row or a column, with its note."""
    return f"{name} ({table['notes'][name]})" if name in table["notes"] else name


def _cell(record: Mapping[str, Any], row: str, column: str) -> str:
    measured, published = (record[kind].get(f"{row} {column}") for kind in ("measured", "published"))
    if measured is None and published is None and not record["missing"]:
        return ""
    if measured and column in record["table"].get("means", ()):
        measured = {**measured, "low": None}
    return _words(measured) + ("" if published is None else f" / {_published(published)}")


def _number_of(cells: Sequence[Mapping[str, Any]], over: str) -> str:
    """Return the number of seeds behind the cells of a row, or of the things that their intervals are over."""
    seeds = {len(one["values"]) for one in cells if "runs" not in one}
    others = {one["runs"] for one in cells if "runs" in one}
    counts = (seeds if over == "seeds" else others) or {0}
    return " to ".join(f"{one:,}" for one in sorted({min(counts), max(counts)}))


def _short(record: Mapping[str, Any]) -> str:
    """Return the remark on a shorter profile, or on missing runs."""
    notes = [] if record["profile"] == "paper" else [f"profile {record['profile']}"]
    notes += [f"{quantity(len(record['missing']), 'run')} missing"] if record["missing"] else []
    return f" ({', '.join(notes)})" if notes else ""


def _words(one: Mapping[str, Any] | None) -> str:
    if one is None:
        return "not run"
    spread = f" ({_number(one['low'], 3)} to {_number(one['high'], 3)})" if one["low"] is not None else ""
    return f"{_number(one['mean'], 4)}{spread}"


def _published(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:,}"


def _number(value: float, digits: int) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.{digits}g}"
