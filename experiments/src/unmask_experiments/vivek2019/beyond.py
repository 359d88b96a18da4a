"""Beyond Vivek et al. 2019: an ablation, later methods, attacks made in bfloat16, and trainings stuck at chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import mean

from unmask.training import STUCK_EVERY
from unmask_experiments.artefact import ArtefactContent, Estimate, Predicate, Runs, judge
from unmask_experiments.quantities import Result
from unmask_experiments.vivek2019 import grid
from unmask_experiments.vivek2019.cells import (
    Cells,
    above,
    below,
    difference,
    is_guessing,
    noted,
    notes,
    results_of,
    white_box,
)
from unmask_experiments.vivek2019.config import trained
from unmask_experiments.vivek2019.precision import ATTACKS, DRAWS
from unmask_experiments.vivek2019.table7 import times

COLUMNS = {"clean": "clean", "fgsm": "fgsm", "pgd100": "longer pgd"}
PLACES = {"clean": 0, "fgsm": 1, "pgd100": 4}
"""Columns, as evaluations call them, and where they stand in table 3."""


def ablation(runs: Runs) -> ArtefactContent:
    """The term's weight and alpha, the step from the offset, and the batch."""
    rows = grid.ablation(runs.profile)
    cells = white_box(runs, rows, COLUMNS)
    best = f"{grid.CENTRE} pgd100"
    return ArtefactContent(
        measured=cells,
        notes=notes(runs, rows, runs.profile.epochs),
        claims=[
            judge("weight 5 and alpha 0.01 come to the published number", above(cells, f"{grid.WHOLE} pgd100", 87.7)),
            judge("it needs the term", below(cells, "weight 0 pgd100", 50)),
            judge(
                "it needs a weight of 5: 1 is lower", difference(cells, "weight 1, alpha 0.01 pgd100", best, "below", 0)
            ),
            judge("nor is 25 higher", difference(cells, "weight 25, alpha 0.01 pgd100", best, "below", 0)),
            judge(
                "it needs an alpha of 0.01: larger ones are lower",
                *(difference(cells, f"weight 5, alpha {alpha} pgd100", best, "below", 0) for alpha in (0.05, 0.15)),
            ),
            judge(
                "at an alpha of 0.15 it needs the full step from the offset: the paper's own is lower",
                difference(cells, "remaining step, alpha 0.15 pgd100", "weight 5, alpha 0.15 pgd100", "below", 0),
            ),
            judge("it needs the smaller batch", difference(cells, "batch doubled pgd100", best, "below", 0)),
        ],
    )


def single_step(runs: Runs) -> ArtefactContent:
    """Single-step methods on the same network, schedule and evaluation."""
    rows, later = grid.single_step(runs.profile), grid.later(runs.profile)
    said = notes(runs, rows, runs.profile.epochs)
    cells = white_box(runs, rows, COLUMNS)
    timed = times(runs, "MNIST")
    for row in rows:
        cells[f"{row} seconds per pass"] = timed.get(f"{row} MNIST seconds", [])
        cells[f"{row} ratio"] = timed.get(f"{row} MNIST ratio", [])
    lost = [row for row, config in later.items() if any(map(is_guessing, results_of(runs, config)))]
    return ArtefactContent(
        measured=cells,
        notes=said,
        claims=[
            judge(
                "no later single-step method that learns is ahead of the proposed one in the worst case here",
                *(difference(cells, f"{row} worst", "proposed worst", "below", 0) for row in later if row not in lost),
                note=f"Left out, {noted(said, *lost)}" if lost else "",
            ),
            judge(
                "after as many passes, too, the proposed training is near PGD training's accuracy",
                difference(cells, "pgd pgd100", "proposed pgd100", "below", 5),
            ),
        ],
    )


CHANCE = 0.2
"""Of ten classes: a network that is right on fewer validation images in the end has learned nothing."""

STARTS = ("starts", "learned", "learned but called", "at chance", "at chance but not called in time")
"""Columns; *called* means: called stuck."""


def precision(runs: Runs) -> ArtefactContent:
    """Attacks made in bfloat16 beside those made in float32, evaluated in float32."""
    cells, parts = Cells(), []
    rows = grid.precisions(runs.profile)
    for row, config in rows.items():
        results = results_of(runs, config)[:1]
        for attack in ATTACKS:
            found = [one["attacks"][attack] for one in results]
            for kind in ("float32", "bfloat16"):
                cells[f"{row} {attack}, {kind}"] = [100 * counts[kind] / counts["images"] for counts in found]
            what = f"{row} {attack}, bfloat16 minus float32"
            cells[what] = _paired(found[0], "float32", "bfloat16") if found else []
            parts.append(below(cells, what, 0.5, "points"))
        draws = [one["weights"]["longer pgd"] for one in results if "weights" in one]
        for kind in ("rounded", "moved"):
            cells[f"{row} longer pgd, weights {kind}"] = [
                100 * mean(counts[kind] / counts["images"] for counts in each) for each in draws
            ]
    return ArtefactContent(
        measured=cells,
        notes=notes(runs, {row: trained(config) for row, config in rows.items()}, runs.profile.epochs),
        claims=[
            judge("attacks made in bfloat16 are as strong as those made in float32", *parts),
            judge(
                "PGD training in bfloat16 teaches a network to withstand that rounding, not any error of its size",
                *_rounded_beside_moved(results_of(runs, rows["pgd"])[:1]),
            ),
        ],
    )


def _rounded_beside_moved(results: Sequence[Result]) -> list[Predicate]:
    """More stand under PGD on the network with rounded weights than on each with weights moved as far at random."""
    found = [counts for one in results for counts in one.get("weights", {}).get("longer pgd", [])]
    return [
        Predicate(
            what=f"pgd longer pgd, weights rounded minus moved, draw {draw + 1}",
            values=_paired(found[draw], "moved", "rounded") if draw < len(found) else [],
            side="above",
            bound=0,
            unit="points",
        )
        for draw in range(DRAWS)
    ]


def stuck(runs: Runs) -> ArtefactContent:
    """Count the starts that learn, and those that are called stuck: rightly, wrongly and in time."""
    cells = Cells()
    for row, config in grid.starts(runs.profile).items():
        results = results_of(runs, config)[:1]
        kept = [(one, one["right"] < CHANCE * result["images"]) for result in results for one in result["starts"]]
        lost = [any(update <= STUCK_EVERY for update in one["called"]) for one, at_chance in kept if at_chance]
        wrongly = [bool(one["called"]) for one, at_chance in kept if not at_chance]
        counts = (len(kept), len(wrongly), sum(wrongly), len(lost), len(lost) - sum(lost))
        cells |= {
            f"{row} {column}": [float(count)] * len(results) for column, count in zip(STARTS, counts, strict=True)
        }
    return ArtefactContent(
        measured=cells,
        claims=[
            judge(
                "no start that learns is called stuck", below(cells, f"{grid.USUAL_RATE} {STARTS[2]}", 0.5, "starts")
            ),
            judge(
                f"a start that stays at chance is called stuck within {STUCK_EVERY} updates",
                above(cells, f"{grid.RAISED_RATE} {STARTS[3]}", 0.5, "starts"),
                below(cells, f"{grid.RAISED_RATE} {STARTS[4]}", 0.5, "starts"),
            ),
        ],
    )


def _paired(counts: dict[str, int], one: str, other: str) -> Estimate:
    """Images standing under the other attack minus those under the one, in points: Bonett and Price's interval."""
    more, fewer, images = counts[f"{other} only"], counts[f"{one} only"], counts["images"]
    total = images + 2
    centre = (more - fewer) / total
    half = 1.959964 * math.sqrt((more + fewer + 2 - (more - fewer) ** 2 / total) / total / total)
    return Estimate(100 * (more - fewer) / images, 100 * (centre - half), 100 * (centre + half), runs=images)
