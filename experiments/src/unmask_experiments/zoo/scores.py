"""Verdict and cause against the truth: tables, rates with intervals, and the accuracies side by side."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from unmask.statistics import proportion
from unmask_experiments.sweeps import read_run, record_of
from unmask_experiments.zoo.audits import truth_of
from unmask_experiments.zoo.cases import Case
from unmask_experiments.zoo.expected import REMARKS, acceptable
from unmask_experiments.zoo.peers import FLAGS
from unmask_experiments.zoo.worst_case import as_flags

ANSWERS = ("masked", "not masked", "inconclusive")
ADVERSARIAL = ("pgd", "logit distance")
"""The ways of training that must cause no false alarm."""

Row = dict[str, Any]


def rows(cases: Iterable[Case], folder: Path) -> list[Row]:
    """Return one row for each pair whose truth is known: the truth, and the audit's answers if there are any.

    Raises:
        ValueError: a record was changed, or an audit was compared with another truth than the one there is.
    """
    found = []
    for case in cases:
        if not record_of(folder / "truth", case).is_file():
            continue
        truth = truth_of(case, folder)
        row = _truth_columns(case, truth["result"])
        if (path := record_of(folder / "audits", case)).is_file():
            audit = read_run(path)["result"]
            if audit["truth"] != truth["digest"]:
                raise ValueError(f"{path}: expected the audit of a pair with another truth; remove it and audit again")
            row |= _audit_columns(case, truth["result"], audit)
        if (path := record_of(folder / "peers", case)).is_file():
            row["flags"] = read_run(path)["result"]["flags"]
        found.append(row)
    return found


def _truth_columns(case: Case, truth: Mapping[str, Any]) -> Row:
    """Return the columns of a pair's truth; accuracies in [0, 1]."""
    return {
        "name": case.name,
        "label": case.label,
        "kind": case.kind,
        "seed": case.seed,
        "trained": case.method,
        "defended": bool(case.defence),
        "epsilon": case.epsilon,
        "truth": truth["truth"],
        "because": truth["because"],
        "how": truth["how"],
        "clean": _share(truth["clean"]),
        "claimed": _share(truth["claimed"]),
        "worst": _share(truth["worst"]),
        "bounds": truth["bounds"],
        "remark": REMARKS.get(f"{case.data}: {case.name}"),
    }


def _audit_columns(case: Case, truth: Mapping[str, Any], audit: Mapping[str, Any]) -> Row:
    """Return the columns of its audit, with its correctness."""
    first = audit["causes"][0] if audit["causes"] else None
    return {
        "verdict": audit["verdict"],
        "right": audit["verdict"] == truth["truth"],
        "causes": audit["causes"],
        "cause right": first in acceptable(case) if truth["truth"] == "masked" else None,
        "acceptable": sorted(acceptable(case)),
        "robust": audit["robust"] / audit["images"],
        "seconds": audit["seconds"],
        "reason": audit["reason"],
    }


def score_summary(all_rows: Sequence[Row]) -> dict[str, Any]:
    """Return confusion tables, rates with Wilson's interval, seconds, and distances of worst cases from the truth.

    Intervals take the pairs as independent, which those of one network or kind are not.

    Example:
        >>> row = {"truth": "masked", "verdict": "masked", "right": True, "cause right": True, "causes": ["a"]}
        >>> rest = {"label": "x", "trained": "fgsm", "defended": False, "seconds": 1.0, "robust": 0.1, "worst": 0.1}
        >>> score_summary([row | rest | {"seed": 0, "how": "exact", "bounds": None}])["rates"]["verdict right"]["count"]
        1
    """
    done = [row for row in all_rows if "verdict" in row]
    masked, sound = ([row for row in done if row["truth"] == truth] for truth in ANSWERS[:2])
    trained = [row for row in sound if row["trained"] in ADVERSARIAL and not row["defended"]]
    rates = {
        "verdict right": _rate(done, lambda row: row["right"]),
        "verdict right, after the first seed": _rate([row for row in done if row["seed"]], lambda row: row["right"]),
        "false alarms": _rate(sound, lambda row: row["verdict"] == "masked"),
        "false alarms, trained with PGD or the logit distance": _rate(trained, lambda row: row["verdict"] == "masked"),
        "misses": _rate(masked, lambda row: row["verdict"] == "not masked"),
        "inconclusive": _rate(done, lambda row: row["verdict"] == "inconclusive"),
        "first cause right": _rate(masked, lambda row: row["cause right"]),
        "first cause right, where called masked": _rate(
            [row for row in masked if row["verdict"] == "masked"], lambda row: row["cause right"]
        ),
    }
    return {
        "pairs": dict(Counter(row["truth"] for row in all_rows)),
        "verdicts": {
            truth: dict(Counter(row["verdict"] for row in same))
            for truth, same in zip(ANSWERS, (masked, sound), strict=False)
        },
        "first causes": _causes(masked),
        "rates": rates,
        "seconds": _spread([row["seconds"] for row in done]),
        "audit minus truth, exact, points": _spread([_beyond(row) for row in done if row["how"] == "exact"]),
        "audit beyond the bounds, points": _spread([_beyond(row) for row in done if row["bounds"]]),
    }  # fmt: skip


def _beyond(row: Row) -> float:
    """Return the points by which the audit's worst case is above the true one, or above the closed forms' bound."""
    high: float = row["bounds"][1] if row["bounds"] else row["worst"]
    return round(100 * (float(row["robust"]) - high), 2)


def _causes(masked: Sequence[Row]) -> dict[str, dict[str, int]]:
    """Count the first causes, by pair without its seed."""
    found: dict[str, Counter[str]] = {}
    for row in masked:
        first = row["causes"][0] if row["causes"] else f"({row['verdict']})"
        found.setdefault(row["label"], Counter())[first] += 1
    return {label: dict(counts) for label, counts in found.items()}


def peers_table(all_rows: Sequence[Row]) -> list[Row]:
    """Return truth, flags and our verdicts by pair, without its seed, of pairs that all libraries were run on."""
    asked = [row for row in all_rows if "flags" in row and "verdict" in row]
    table = []
    for label in dict.fromkeys(row["label"] for row in asked):
        same = [row for row in asked if row["label"] == label]
        flags = {
            name: None if any(row["flags"][name] is None for row in same) else sum(row["flags"][name] for row in same)
            for name in FLAGS
        }
        ours = sum(row["verdict"] == "masked" for row in same)
        truth = Counter(row["truth"] for row in same).most_common(1)[0][0]
        table.append({"label": label, "truth": truth, "pairs": len(same), "flags": flags, "unmask": ours})
    return table


def _rate(chosen: Sequence[Row], counts: Any) -> dict[str, Any]:
    """Return a share with its interval at 95 %; None where there is nothing to count."""
    if not chosen:
        return {"count": 0, "total": 0, "low": None, "high": None}
    share = proportion(sum(map(bool, map(counts, chosen))), len(chosen))
    return {"count": share.count, "total": share.total, "low": round(share.low, 4), "high": round(share.high, 4)}


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {
        "least": min(values),
        "median": round(statistics.median(values), 2),
        "most": max(values),
        "of": len(values),
    }


def _share(text: str) -> float:
    flags = as_flags(text)
    return sum(flags) / len(flags)
