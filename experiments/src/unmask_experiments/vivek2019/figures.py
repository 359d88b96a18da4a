"""From runs to figures 1 to 4 of Vivek et al. 2019 and its section 4.2, and the claims made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from unmask_experiments.artefact import ArtefactContent, Runs, Values, judge
from unmask_experiments.quantities import Result, share
from unmask_experiments.vivek2019 import grid
from unmask_experiments.vivek2019.cells import Cells, above, below, difference, notes, results_of
from unmask_experiments.vivek2019.config import CIFAR, Config
from unmask_experiments.vivek2019.evaluate import ATTACKS

Series = dict[str, Mapping[float, Values]]

FGSM_TRAININGS = {"fgsm": "half clean", "fgsm_only": "adversarial only"}


def distance(results: Sequence[Result]) -> dict[float, Values]:
    """Mean distance of FGSM's and R-FGSM's logits, by update."""
    rows = [dict(zip(one["readings"]["update"], one["readings"]["logit_distance"], strict=True)) for one in results]
    places = sorted({update for row in rows for update in row})
    return {update: [row[update] for row in rows if row.get(update) is not None] for update in places}


LEARNED = 0.5
"""Clean accuracy from which on a network counts as trained: before, its logits are nearly constant, and close."""


def growth(result: Result, until: int, learned: float = 0.0) -> float:
    """The distance in the last tenth of the readings, over that in those up to this update.

    Those with a clean accuracy under ``learned`` are left out, and the first always is, unless none is left.
    """
    names = ("update", "clean_accuracy", "logit_distance")
    rows = list(zip(*(result["readings"][name] for name in names), strict=True))
    begun = [(clean, value) for update, clean, value in rows[1:] if update <= until] or [rows[0][1:]]
    early = [value for clean, value in begun if clean >= learned] or [value for _, value in begun]
    late = [value for *_, value in rows[-max(1, len(rows) // 10) :]]
    return float(median(late) / median(early))


def curve_at(result: Result, update: int) -> Mapping[str, Any] | None:
    """The loss against epsilon that was measured after this update."""
    return next((one for one in result["curves"] if one["update"] == update), None)


def loss_curves(curves: Sequence[Mapping[str, Any]], name: str, attacks: Sequence[str] = ATTACKS) -> Series:
    """Mean loss against epsilon, by attack."""
    return {
        f"{name}: {attack}": {
            epsilon: [one[attack]["loss"][row] for one in curves]
            for row, epsilon in enumerate(curves[0]["epsilons"] if curves else [])
        }
        for attack in attacks
    }


def gap(curve: Mapping[str, Any], epsilon: float) -> float:
    """PGD's mean loss minus FGSM's, in nats."""
    row = curve["epsilons"].index(epsilon)
    return float(curve["PGD"]["loss"][row] - curve["FGSM"]["loss"][row])


def first_gap(result: Result) -> float:
    """PGD's mean loss minus FGSM's at the first reading after the first update, on training images, in nats."""
    losses = list(zip(result["readings"]["pgd_loss"], result["readings"]["fgsm_loss"], strict=True))
    pgd, fgsm = losses[min(1, len(losses) - 1)]
    return float(pgd - fgsm)


def _training(runs: Runs, row: str, label: str) -> tuple[Cells, Series]:
    """Growth and loss gap of a row of table 3, and its curves."""
    config = grid.table3(runs.profile)[row]
    results = _sound(runs, config)
    cells: Cells = {
        f"growth of the distance, {label}": [growth(one, runs.profile.looks[0]) for one in results],
        f"last distance, {label}": [one["readings"]["logit_distance"][-1] for one in results],
        f"last distance, squared, {label}": [one["readings"]["logit_distance"][-1] ** 2 for one in results],
        f"loss gap, at first, {label}": [first_gap(one) for one in results],
    }
    series: Series = {f"distance: {label}": distance(results)}
    for when, update in zip(("early", "late"), config.moments, strict=True):
        curves = [found for one in results if (found := curve_at(one, update))]
        cells[f"loss gap, {when}, {label}"] = [gap(one, config.epsilon) for one in curves]
        series |= loss_curves(curves, f"{label}, {when}")
    ends = [one["test_curves"] for one in results if "test_curves" in one]
    cells[f"loss gap, end, {label}"] = [gap(one, config.epsilon) for one in ends]
    return cells, series


def _sound(runs: Runs, config: Config) -> list[Result]:
    """The results of runs that did not diverge: the others have readings without a number."""
    return [one for one in results_of(runs, config) if not one["diverged"]]


def fig1(runs: Runs) -> ArtefactContent:
    """FGSM training, in both readings; the proposed training beside it."""
    cells, series = Cells(), Series()
    for row, label in {**FGSM_TRAININGS, "proposed": "proposed"}.items():
        found, drawn = _training(runs, row, label)
        cells, series = cells | found, series | drawn
    masked = [
        part
        for label in FGSM_TRAININGS.values()
        for part in (
            above(cells, f"growth of the distance, {label}", 10, "times"),
            above(cells, f"loss gap, late, {label}", 1, "nats"),
        )
    ]
    kept = [
        below(cells, "growth of the distance, proposed", 10, "times"),
        below(cells, "loss gap, end, proposed", 1, "nats"),
    ]
    return ArtefactContent(
        measured=cells,
        series=series,
        claims=[
            judge("under FGSM training the distance jumps and PGD's loss leaves FGSM's behind", *masked),
            judge("before, the two losses are alike", *(
                below(cells, f"loss gap, early, {label}", 1, "nats") for label in FGSM_TRAININGS.values()
            )),
            judge("the distance comes to the published 300 to 450", *(
                above(cells, f"last distance, {label}", 300, "") for label in FGSM_TRAININGS.values()
            )),
            judge("under the proposed training neither happens", *kept),
        ],
    )  # fmt: skip


def fig2(runs: Runs) -> ArtefactContent:
    """PGD training."""
    cells, series = _training(runs, "pgd", "PGD")
    results = _sound(runs, grid.table3(runs.profile)["pgd"])
    since = "growth of the distance since it has learned, PGD"
    cells[since] = [growth(one, runs.profile.looks[0], learned=LEARNED) for one in results]
    cells["largest distance, PGD"] = [max(one["readings"]["logit_distance"]) for one in results]
    return ArtefactContent(
        measured=cells,
        series=series,
        claims=[
            judge(
                "under PGD training the distance stays small and the losses alike",
                below(cells, "growth of the distance, PGD", 10, "times"),
                below(cells, "loss gap, late, PGD", 1, "nats"),
                below(cells, "largest distance, PGD", 10, ""),
            ),
            judge(
                "beyond: nor does the distance grow tenfold once the network has learned",
                below(cells, since, 10, "times"),
            ),
        ],
    )


def proposed_rows(profile: Config) -> list[tuple[Config, str]]:
    """The proposed training on both data sets, with their names."""
    narrow = grid.cifar_rows(CIFAR[profile])
    return [(grid.table3(profile)["proposed"], "MNIST"), (narrow["proposed"], "CIFAR-10")]


def _test_curves(runs: Runs, config: Config) -> list[Mapping[str, Any]]:
    return [one["test_curves"] for one in results_of(runs, config) if "test_curves" in one]


def fig3(runs: Runs) -> ArtefactContent:
    """Accuracy of the proposed training against PGD's epsilon."""
    cells, series, parts = Cells(), Series(), []
    for config, name in proposed_rows(runs.profile):
        curves = _test_curves(runs, config)
        places = [0.0, *config.epsilons]
        drawn = {
            epsilon: [share(one["PGD"]["standing"][row], one["images"]) for one in curves]
            for row, epsilon in enumerate(places)
        }
        series[f"{name}: PGD"] = drawn
        cells[f"accuracy at the trained epsilon, {name}"] = drawn[config.epsilon]
        cells[f"accuracy at the largest, {name}"] = drawn[places[-1]]
        both = zip(drawn[places[-1]], drawn[config.epsilon], strict=True)
        key = f"half of the accuracy at the trained epsilon minus that at the largest, {name}"
        cells[key] = [at_trained / 2 - largest for largest, at_trained in both]
        parts.append(above(cells, key, 0, "points"))
    return ArtefactContent(
        measured=cells, series=series, claims=[judge("accuracy degrades as PGD's epsilon grows", *parts)]
    )


ALIKE = {"MNIST": 1.0, "CIFAR-10": 0.2}
"""Nats under which PGD's loss is like FGSM's; fewer on CIFAR-10, where who withstands PGD is near the loss of guessing
under either."""


def fig4(runs: Runs) -> ArtefactContent:
    """Test loss of the proposed training against epsilon."""
    cells, series, parts = Cells(), Series(), []
    for config, name in proposed_rows(runs.profile):
        curves = _test_curves(runs, config)
        series |= loss_curves(curves, name, ("FGSM", "PGD"))
        cells[f"loss gap, {name}"] = [gap(one, config.epsilon) for one in curves]
        parts.append(below(cells, f"loss gap, {name}", ALIKE[name], "nats"))
    return ArtefactContent(
        measured=cells, series=series, claims=[judge("FGSM's loss follows PGD's up to the trained epsilon", *parts)]
    )


TURNED = ("normal", "fgsm", "fgsm_only", "lambda0", "proposed", "pgd")
"""Rows of table 3 whose gradients are looked at."""


def noise(runs: Runs) -> ArtefactContent:
    """Measure the turn of the gradient by noise, section 4.2."""
    rows = grid.table3(runs.profile)
    cells: Cells = {
        f"{row} {kind}": [one["cosine"][kind] for one in results_of(runs, rows[row]) if "cosine" in one]
        for row in TURNED
        for kind in ("noise", "ball")
    }
    parts = [
        difference(cells, f"{sound} noise", f"{masked} noise", "above", 0.2, "")
        for sound in ("proposed", "pgd")
        for masked in ("fgsm", "fgsm_only")
    ]
    said = notes(runs, {row: rows[row] for row in TURNED}, runs.profile.epochs)
    return ArtefactContent(
        measured=cells, notes=said, claims=[judge("noise turns the gradient of a masked network much more", *parts)]
    )
