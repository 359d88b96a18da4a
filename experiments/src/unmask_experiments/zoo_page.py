"""The zoo's section of ``results/README.md``, from ``results/zoo.json`` alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def section(results: Path) -> list[str]:
    """Return the lines about each zoo that has been run; none if there is no record.

    Example:
        >>> section(Path("nowhere"))
        []
    """
    path = results / "zoo.json"
    if not path.is_file():
        return []
    lines = ["## The zoo: the audit on models whose truth is known", ""]
    for data, zoo in json.loads(path.read_text()).items():
        lines += _zoo(data, zoo)
    return lines


def _zoo(data: str, zoo: Mapping[str, Any]) -> list[str]:
    summary = zoo["summary"]
    pairs = ", ".join(f"{count} {truth}" for truth, count in sorted(summary["pairs"].items()))
    lines = [
        f"### {data}",
        "",
        f"`{zoo['command']}`: {pairs}. How the truth of a pair is decided, before its audit, is ",
    ]
    lines[-1] += "in `experiments/src/unmask_experiments/zoo/truth.py`. Intervals (95 %) take pairs as independent."
    lines += ["", "| rate | share | of | 95 % |", "|---|---|---|---|"]
    lines += [_rate(name, one) for name, one in summary["rates"].items()]
    lines += ["", "| truth | masked | not masked | inconclusive |", "|---|---|---|---|"]
    for truth, counts in summary["verdicts"].items():
        row = " | ".join(str(counts.get(answer, 0)) for answer in ("masked", "not masked", "inconclusive"))
        lines.append(f"| {truth} | {row} |")
    lines += ["", *_spreads(summary), zoo["learned"], ""]
    lines += _misses([row for row in zoo["rows"] if row.get("right") is False])
    lines += _wrong_causes([row for row in zoo["rows"] if row.get("right") and row.get("cause right") is False])
    lines += _remarked([row for row in zoo["rows"] if row["remark"] and row.get("right") is not False])
    lines += _excluded([row for row in zoo["rows"] if row["truth"] == "excluded"])
    lines += [f"Not run: {'; '.join(zoo['not run'])}.", ""] if zoo["not run"] else []
    lines += _peers(zoo["peers"])
    return [*lines, *_all([row for row in zoo["rows"] if "verdict" in row])]


def _rate(name: str, one: Mapping[str, Any]) -> str:
    if not one["total"]:
        return f"| {name} | - | 0 | - |"
    share = f"{100 * one['count'] / one['total']:.1f} %"
    return f"| {name} | {share} | {one['total']} | {100 * one['low']:.1f} to {100 * one['high']:.1f} % |"


def _spreads(summary: Mapping[str, Any]) -> list[str]:
    names = {
        "seconds": "Seconds per audit",
        "audit minus truth, exact, points": "The audit's worst case minus the true one, exact pairs, in points",
        "audit beyond the bounds, points": "The audit's worst case minus what closed forms allow at most, in points",
    }
    found = [(words, summary[key]) for key, words in names.items() if summary[key]]
    return [
        f"{words}: median {one['median']:g}, from {one['least']:g} to {one['most']:g} (n = {one['of']}).\n"
        for words, one in found
    ]


def _misses(wrong: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the wrong verdicts one by one."""
    lines = ["Verdicts that are wrong, one by one:" if wrong else "No verdict is wrong.", ""]
    for row in wrong:
        lines.append(
            f"- **{row['name']}** (epsilon {row['epsilon']:g}): {row['truth']} ({row['because']}), called "
            f"{row['verdict']}{_named(row)}. Claimed {_points(row['claimed'])}, true {_points(row['worst'])}, "
            f"found {_points(row['robust'])}. {row['reason']} {row['remark'] or ''}".rstrip()
        )
    return [*lines, ""] if wrong else lines


def _wrong_causes(wrong: Sequence[Mapping[str, Any]]) -> list[str]:
    if not wrong:
        return []
    lines = ["Verdicts that are right, with another first cause than expected:", ""]
    for row in wrong:
        lines.append(f"- **{row['name']}**: {', '.join(row['causes'])}; expected {' or '.join(row['acceptable'])}.")
    return [*lines, ""]


def _remarked(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    return ["Worth a word:", "", *(f"- **{row['name']}**: {row['remark']}" for row in rows), ""]


def _excluded(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    lines = ["Left out before any audit, since the truth is open:", ""]
    return [*lines, *(f"- {row['name']}: {row['because']}." for row in rows), ""]


def _peers(table: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the table of the flags that other libraries raise."""
    if not table:
        return []
    flags = list(table[0]["flags"])
    lines = [
        "Who notices what: of so many pairs, on how many each flag is raised, and how many unmask calls masked. "
        "The first four flags are AutoAttack's, made anew from their published description; the fifth is ART's own.",
        "",
        f"| pair | truth | n | {' | '.join(flags)} | unmask |",
        "|---" * (len(flags) + 4) + "|",
    ]
    for row in table:
        counts = ["-" if row["flags"][name] is None else str(row["flags"][name]) for name in flags]
        lines.append(f"| {row['label']} | {row['truth']} | {row['pairs']} | {' | '.join(counts)} | {row['unmask']} |")
    return [*lines, ""]


def _all(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the table of every pair that was audited."""
    lines = [
        "| pair | epsilon | truth | verdict | causes | claimed | true | found |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        true = " to ".join(dict.fromkeys(map(_points, row["bounds"]))) if row["bounds"] else _points(row["worst"])
        lines.append(
            f"| {row['name']} | {row['epsilon']:g} | {row['truth']} | {row['verdict']} | {', '.join(row['causes'])} "
            f"| {_points(row['claimed'])} | {true} | {_points(row['robust'])} |"
        )
    return [*lines, ""]


def _named(row: Mapping[str, Any]) -> str:
    return f" for {row['causes'][0]}" if row["causes"] else ""


def _points(share: float) -> str:
    return f"{100 * share:.1f}"
