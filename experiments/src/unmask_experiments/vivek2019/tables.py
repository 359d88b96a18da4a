"""From runs to tables 1 to 6 of Vivek et al. 2019, and the claims made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from unmask.models import build
from unmask.statistics import proportion
from unmask_experiments.artefact import ArtefactContent, Estimate, Predicate, Runs, Values, judge
from unmask_experiments.quantities import Result, share
from unmask_experiments.vivek2019 import grid
from unmask_experiments.vivek2019.cells import (
    Cells,
    above,
    accuracy,
    below,
    difference,
    noted,
    notes,
    results_of,
    values,
    white_box,
)
from unmask_experiments.vivek2019.config import CIFAR, Config
from unmask_experiments.vivek2019.published import COLUMNS, LAYERS, TABLE_3


def table1(runs: Runs) -> ArtefactContent:
    """Return the networks' layers as they are built."""
    cells: Cells = {}
    for name in LAYERS:
        model = build(name, inputs=(1, 28, 28), classes=10)
        units = [float(len(one)) for one in model.parameters() if one.ndim > 1]
        cells |= {f"{name} layer {row}": [one] for row, one in enumerate(units, 1)}
    wanted = {
        f"{name} layer {row}": [float(one)] for name, layers in LAYERS.items() for row, one in enumerate(layers, 1)
    }
    differ = [key for key in {*wanted, *cells} if wanted.get(key) != cells.get(key)]
    part = Predicate(what="layers that differ", values=[float(len(differ))], side="below", bound=0.5, unit="")
    return ArtefactContent(measured=cells, claims=[judge("the networks have the layers of table 1", part)])


def sources(profile: Config) -> grid.Rows:
    """The static sources of ensemble adversarial training, by network."""
    rows = [*grid.table3(profile).values(), *grid.cifar_rows(CIFAR[profile]).values()]
    return {one.network: one for one in grid.sources_of(rows)}


def table2(runs: Runs) -> ArtefactContent:
    """Return the static sources and their accuracies."""
    rows, cells = sources(runs.profile), Cells()
    for name, config in rows.items():
        results = results_of(runs, config)
        cells |= {f"{name} {key}": [accuracy(one, key) for one in results] for key in ("clean", "fgsm")}
        cells[f"{name} passes"] = [float(config.epochs)] * len(results)
    return ArtefactContent(measured=cells, notes=notes(runs, rows, 0))


def table3(runs: Runs) -> ArtefactContent:
    """MNIST, white box."""
    rows = grid.table3(runs.profile)
    cells = white_box(runs, rows, COLUMNS["mnist"])
    cells |= white_box(runs, {"proposed_selected": rows["proposed"]}, COLUMNS["mnist"], "selected")
    said = notes(runs, rows, runs.profile.epochs)
    return ArtefactContent(measured=cells, notes=said, claims=[*_masking(cells, said), *_others(cells, said)])


def _masking(cells: Cells, said: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the claims on the trainings that mask, and on those that do not."""
    return [
        judge(
            "FGSM training masks: it withstands FGSM and falls to PGD",
            above(cells, "fgsm fgsm", 80), below(cells, "fgsm pgd100", 10),
        ),
        judge(
            "so it does on adversarial images alone",
            above(cells, "fgsm_only fgsm", 80), below(cells, "fgsm_only pgd100", 10),
        ),
        judge(
            "without the term (lambda 0) the proposed training masks",
            above(cells, "lambda0 fgsm", 80), below(cells, "lambda0 pgd100", 10),
        ),
        judge("the term stops it", above(cells, "proposed clean", 97.5), above(cells, "proposed pgd100", 87.7)),
        judge("PGD training withstands PGD", above(cells, "pgd pgd100", 90), note=noted(said, "pgd")),
        judge(
            "the proposed training is near PGD training's accuracy",
            difference(cells, "pgd pgd100", "proposed pgd100", "below", 5), note=noted(said, "pgd", "proposed"),
        ),
    ]  # fmt: skip


def _others(cells: Cells, said: Mapping[str, str]) -> list[dict[str, str]]:
    """The other methods of the paper, and the two readings of its baselines."""
    half, only = (_from_published(cells, row) for row in ("fgsm", "fgsm_only"))
    nearer = [one - other for one, other in zip(only, half, strict=False)]
    return [
        judge(
            "EAT fails against multi-step attacks", *(below(cells, f"eat_{name} pgd100", 30) for name in "abcd"),
            note=noted(said, *(f"eat_{name}" for name in "abcd")),
        ),
        judge(
            "training on R-FGSM images, and on FGSM and R-FGSM images without the term, does not withstand PGD",
            *(below(cells, f"{row} pgd100", 50) for row in ("rfgsm", "rfgsm_only", "rfgsm_fgsm")),
            note=noted(said, "rfgsm", "rfgsm_only", "rfgsm_fgsm"),
        ),
        judge(
            "nor does it with alpha 0.01",
            *(below(cells, f"{row} pgd100", 50) for row in ("rfgsm_only_near", "rfgsm_fgsm_near")),
            note=noted(said, "rfgsm_only_near", "rfgsm_fgsm_near"),
        ),
        judge(
            "the published FGSM row is nearer to half clean images than to adversarial images alone",
            Predicate(
                what="distance from that row, adversarial images alone minus half clean", values=nearer, side="above",
                bound=0, unit="points",
            ),
        ),
    ]  # fmt: skip


def _from_published(cells: Cells, row: str) -> list[float]:
    """Return the distance of a row's accuracies on clean and FGSM images from the published FGSM row, in points."""
    pairs = zip(values(cells, f"{row} clean"), values(cells, f"{row} fgsm"), strict=True)
    return [abs(clean - TABLE_3["fgsm"][0]) + abs(fgsm - TABLE_3["fgsm"][1]) for clean, fgsm in pairs]


def table4(runs: Runs) -> ArtefactContent:
    """CIFAR-10, white box, the narrow network; its accuracies are low, so that chance is the mark."""
    rows = grid.table4(runs.profile)
    made = _table4(runs, rows, fallen=10)
    cells = dict(made.measured)
    masks = judge(
        "beyond: FGSM training withstands FGSM better than PGD, which leaves it under chance",
        difference(cells, "fgsm fgsm", "fgsm pgd20", "above", 5), below(cells, "fgsm pgd20", 10),
    )  # fmt: skip
    sound = judge(
        "beyond: at the published epsilon so small a network does not mask in as few passes",
        difference(cells, "fgsm_only_8 fgsm", "fgsm_only_8 pgd20", "below", 5),
    )
    later = judge(
        "beyond: with twice the passes lambda 0 does so too",
        difference(cells, "lambda0_longer fgsm", "lambda0_longer pgd20", "above", 5),
        below(cells, "lambda0_longer pgd20", 10),
    )
    stopped = judge(
        "beyond: and the term keeps it from that",
        difference(cells, "proposed_longer fgsm", "proposed_longer pgd20", "below", 5),
        above(cells, "proposed_longer pgd20", 10),
    )
    wider = judge(
        "beyond: with an alpha of a quarter of epsilon it does",
        difference(cells, "proposed_quarter_longer fgsm", "proposed_quarter_longer pgd20", "below", 5),
        above(cells, "proposed_quarter_longer pgd20", 10),
    )
    named = {"pgd_longer": "pgd", "proposed_quarter_longer": "proposed"}
    twice = {named.get(name, name): results_of(runs, rows[name]) for name in grid.LONGER}
    lasting = judge(
        "beyond: after twice the passes PGD training and the proposed one with that alpha stand above all that had not "
        "fallen before, intervals apart",
        _apart(twice),
    )
    return replace(made, claims=[*made.claims, masks, sound, later, stopped, wider, lasting])


def table4_in_full(runs: Runs) -> ArtefactContent:
    """CIFAR-10, white box, as published."""
    return _table4(runs, grid.cifar_rows(grid.full(runs.profile)), fallen=30)


def _table4(runs: Runs, rows: grid.Rows, fallen: float) -> ArtefactContent:
    """``fallen`` is the accuracy under which EAT has failed."""
    cells = white_box(runs, rows, COLUMNS["cifar10"])
    same = {name: results_of(runs, config) for name, config in rows.items() if name not in grid.BESIDE}
    eat = [below(cells, f"eat_{one} pgd20", fallen) for one in "abc"]
    return ArtefactContent(
        measured=cells,
        notes=notes(runs, rows, 0),
        claims=[
            judge("FGSM training masks", above(cells, "fgsm fgsm", 50), below(cells, "fgsm pgd20", 10)),
            judge("FGSM training leaks labels", difference(cells, "fgsm fgsm", "fgsm clean", "above", 0)),
            judge(
                "under PGD-20 PGD training and the proposed one stand above all others, intervals apart",
                _apart(same),
            ),
            judge("EAT fails against multi-step attacks", *eat),
        ],
    )


def _apart(results: Mapping[str, Sequence[Result]]) -> Predicate:
    return Predicate(
        what="the lowest of the two minus the highest other, at any seed, intervals over test images",
        values=_gap(results),
        side="above",
        bound=0,
        unit="points",
    )


def _gap(results: Mapping[str, Sequence[Result]]) -> Values | Estimate:
    """Return the lead of the two robust rows under longer PGD, by Wilson intervals, at the worst of the seeds."""
    if not all(results.values()) or not all("final" in one for found in results.values() for one in found):
        return []
    counts = {name: [one["final"]["last"] for one in found] for name, found in results.items()}
    shares = {
        name: [proportion(one["standing"]["longer pgd"], one["images"]) for one in found]
        for name, found in counts.items()
    }
    robust = ("pgd", "proposed")
    own = min((one for name in robust for one in shares[name]), key=lambda one: one.value)
    other = max((one for name in shares.keys() - {*robust} for one in shares[name]), key=lambda one: one.value)
    low, high = 100 * (own.low - other.high), 100 * (own.high - other.low)
    return Estimate(100 * (own.value - other.value), low, high, runs=counts["pgd"][0]["images"])


def table5(runs: Runs) -> ArtefactContent:
    """MNIST, black box."""
    return _black_box(runs, grid.table3(runs.profile), grid.BLACK_BOX["mnist"], runs.profile.epochs)


def table6(runs: Runs) -> ArtefactContent:
    """CIFAR-10, black box, the narrow network."""
    return _black_box(runs, grid.cifar_rows(CIFAR[runs.profile]), grid.BLACK_BOX["cifar10"], 0)


def _black_box(runs: Runs, rows: grid.Rows, names: Sequence[str], usual: int) -> ArtefactContent:
    cells = Cells()
    for row, config in grid.transfers(rows).items():
        results = results_of(runs, config)
        cells |= {f"{name} {row}": [share(one["from"][name], one["images"]) for one in results] for name in names}
        for name, kept in {"itself": "own", "clean": "clean"}.items():
            cells[f"{name} {row}"] = [share(one[kept], one["images"]) for one in results]
        worst = [min(share(one["from"][name], one["images"]) for name in names) for one in results]
        cells[f"worst {row}"] = worst
    said = notes(runs, {row: rows[row] for row in grid.transfers(rows)}, usual)
    fallen = [difference(cells, f"itself {row}", f"worst {row}", "above", 5) for row in ("fgsm", "fgsm_only")]
    stand = [difference(cells, f"itself {row}", f"worst {row}", "below", 5) for row in ("pgd", "proposed")]
    return ArtefactContent(
        measured=cells,
        notes=said,
        claims=[
            judge("FGSM-trained networks fall to FGSM images of other networks, not to those of their own", *fallen),
            judge("networks trained with PGD or the term do not", *stand, note=noted(said, "pgd", "proposed")),
        ],
    )
