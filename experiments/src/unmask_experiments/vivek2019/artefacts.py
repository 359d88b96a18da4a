"""The tables and figures of Vivek et al. 2019, and what goes beyond them; what is published of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from unmask_experiments.artefact import Artefact, Panel
from unmask_experiments.vivek2019 import beyond, figures, grid, published, stories, table7, tables
from unmask_experiments.vivek2019.config import CIFAR, PAPER, SMOKE
from unmask_experiments.vivek2019.precision import ATTACKS
from unmask_experiments.vivek2019.published import COLUMNS, LAYERS, TABLE_3, TABLE_4, TABLE_5, TABLE_6, TABLE_7

Needs = Callable[[Any], list[Any]]

NARROW = "CIFAR-10 (JPEG copy), narrow ResNet-18, a short schedule"
"""What tables on CIFAR-10 rest on in the full profile."""

BOTH = {"MNIST": "MNIST", "CIFAR-10": "CIFAR-10 (JPEG copy), narrow ResNet-18"}

EPSILON, LOSS, UPDATES = "epsilon", "mean cross entropy, nats", "updates"


def _trained(rows: Callable[[Any], grid.Rows], *names: str) -> Needs:
    """The rows so named, or all, and their static sources."""

    def needs(profile: Any) -> list[Any]:
        found = [row for name, row in rows(profile).items() if name in names or not names]
        return [*grid.sources_of(found), *found]

    return needs


def _narrow(profile: Any) -> grid.Rows:
    return grid.cifar_rows(CIFAR[profile])


def _black_box(rows: Callable[[Any], grid.Rows]) -> Needs:
    """The transfers, and all that they attack and are attacked from."""

    def needs(profile: Any) -> list[Any]:
        found = grid.transfers(rows(profile))
        return [*grid.sources_of(found.values()), *(rows(profile)[name] for name in found), *found.values()]

    return needs


def _panel(title: str, xlabel: str, ylabel: str, series: str = "", **more: Any) -> Panel:
    return Panel(title=title, xlabel=xlabel, ylabel=ylabel, series=series, **more)


def _training_panels(label: str, early: str, late: str) -> list[Panel]:
    return [
        _panel(f"{label}, after {early} updates", EPSILON, LOSS, series=f"{label}, early:", level="loss"),
        _panel(f"{label}, after {late} updates", EPSILON, LOSS, series=f"{label}, late:", level="loss"),
    ]


def _panels_of_both(ylabel: str) -> list[Panel]:
    trained = (PAPER.epsilon, CIFAR[PAPER].epsilon)
    return [
        _panel(title, EPSILON, ylabel, series=f"{name}:", verticals={"trained at": epsilon})
        for (name, title), epsilon in zip(BOTH.items(), trained, strict=True)
    ]


MADE = ("passes", "seconds")
"""How a row's runs were made."""

WHITE_BOX = ("worst", *MADE)
"""Columns of the white-box tables beside the paper's."""

TIMED = tuple(grid.timed(SMOKE))
TIMES = tuple(
    f"{name} {column}" for name in table7.NAMES for column in ("seconds", "ratio", "by passes", "share of peak")
)

ARTEFACTS = (
    Artefact(
        name="table1", shows="layers of the networks: channels or units", rows=tuple(LAYERS),
        columns=tuple(f"layer {row}" for row in range(1, 6)),
        published={f"{name} layer {row}": one for name, layers in LAYERS.items() for row, one in enumerate(layers, 1)},
        needs=lambda profile: [], compute=tables.table1,
    ),
    Artefact(
        name="table2", shows="static sources of ensemble adversarial training, trained normally", published={},
        needs=lambda profile: list(tables.sources(profile).values()), compute=tables.table2,
        rows=("lenet-a", grid.B, "lenet-c", "lenet-d", "resnet-34", "resnet-18", "vgg-16"),
        columns=("clean", "fgsm", "passes"), means=MADE,
    ),
    Artefact(
        name="table3", shows="MNIST, white box, epsilon 0.3: accuracy by training method",
        published=published.cells(TABLE_3, list(COLUMNS["mnist"])),
        needs=_trained(grid.table3), compute=tables.table3,
        rows=(
            "normal", "fgsm", "fgsm_only", "rfgsm", "rfgsm_only", "rfgsm_only_near", "eat_a", "eat_b", "eat_c", "eat_d",
            "rfgsm_fgsm", "rfgsm_fgsm_near", "lambda0", "pgd", "proposed", "proposed_selected",
        ),
        columns=(*COLUMNS["mnist"], *WHITE_BOX), means=MADE, story=stories.TABLE3,
    ),
    Artefact(
        name="table4", shows=f"{NARROW}, white box, epsilon 24/255; published: ResNet-34 on the originals, 8/255",
        published=published.cells(TABLE_4, list(COLUMNS["cifar10"])),
        needs=_trained(grid.table4), compute=tables.table4,
        rows=tuple(grid.table4(SMOKE)), columns=(*COLUMNS["cifar10"], *WHITE_BOX), means=MADE, story=stories.TABLE4,
    ),
    Artefact(
        name="table5", shows="MNIST, black box: FGSM, epsilon 0.3, made on normally trained networks",
        published=TABLE_5, needs=_black_box(grid.table3), compute=tables.table5,
        rows=(*grid.BLACK_BOX["mnist"], "itself", "clean"), columns=tuple(grid.transfers(grid.table3(SMOKE))),
        story=stories.TABLE5,
    ),
    Artefact(
        name="table6", shows=f"{NARROW}, black box: FGSM, epsilon 24/255, made on normally trained networks",
        published=TABLE_6, needs=_black_box(_narrow), compute=tables.table6,
        rows=(*grid.BLACK_BOX["cifar10"], "itself", "clean"), columns=tuple(grid.transfers(grid.table3(SMOKE))),
        story=stories.TABLE6,
    ),
    Artefact(
        name="table7", shows="seconds per pass, and their ratio to normal training's; CIFAR-10: the narrow ResNet-18, "
        "without augmentation; published: on a Titan Xp", over="rounds", story=stories.TABLE7,
        published={
            f"{row} {name} {column}": float(f"{value / (rows['normal'] if column == 'ratio' else 1):.3g}")
            for name, rows in TABLE_7.items() for row, value in rows.items() for column in ("seconds", "ratio")
        },
        needs=grid.timings, compute=table7.table7, rows=(*TIMED, *table7.BARE), columns=TIMES,
    ),
    Artefact(
        name="fig1", shows="FGSM training on MNIST: distance of logits by update, and loss against epsilon",
        published={
            "last distance, half clean": "300 to 450", "last distance, adversarial only": "300 to 450",
            "loss gap, late, half clean": "large",
        },
        needs=_trained(grid.table3, "fgsm", "fgsm_only", "proposed"), compute=figures.fig1, story=stories.FIG1,
        panels=[
            _panel("FGSM and R-FGSM logits", UPDATES, "mean distance", series="distance:", yscale="log"),
            *_training_panels("half clean", "1,000", "5,000"),
            *_training_panels("adversarial only", "1,000", "5,000"),
        ],
    ),
    Artefact(
        name="fig2", shows="PGD training on MNIST: distance of logits by update, and loss against epsilon",
        published={"largest distance, PGD": 1.2, "loss gap, late, PGD": "small"},
        needs=_trained(grid.table3, "pgd"), compute=figures.fig2, story=stories.FIG2,
        panels=[
            _panel("FGSM and R-FGSM logits", UPDATES, "mean distance", series="distance:"),
            *_training_panels("PGD", "1,000", "5,000"),
        ],
    ),
    Artefact(
        name="fig3", shows=f"accuracy of the proposed training against PGD's epsilon; MNIST, and {NARROW}",
        published={"accuracy at the largest, MNIST": "degrades", "accuracy at the largest, CIFAR-10": "degrades"},
        needs=lambda profile: [row for row, _ in figures.proposed_rows(profile)], compute=figures.fig3,
        panels=_panels_of_both("accuracy, %"), story=stories.FIG3,
    ),
    Artefact(
        name="fig4", shows=f"test loss of the proposed training against epsilon; MNIST, and {NARROW}",
        published={"loss gap, MNIST": None, "loss gap, CIFAR-10": None},
        needs=lambda profile: [row for row, _ in figures.proposed_rows(profile)], compute=figures.fig4,
        panels=_panels_of_both(LOSS), story=stories.FIG4,
    ),
    Artefact(
        name="noise", shows="mean cosine of the loss's gradients at an image and beside it, section 4.2: a step of "
        "random signs away (noise), or anywhere in the ball", published={},
        needs=_trained(grid.table3, *figures.TURNED), compute=figures.noise,
        rows=figures.TURNED, columns=("noise", "ball"), story=stories.NOISE,
    ),
    Artefact(
        name="ablation", shows="beyond: the term's weight and alpha, the step from the offset, the batch; MNIST",
        published={f"{grid.WHOLE} {name}": TABLE_3["proposed"][place] for name, place in beyond.PLACES.items()}
        | {f"weight 0 {name}": TABLE_3["lambda0"][place] for name, place in beyond.PLACES.items()},
        needs=_trained(grid.ablation), compute=beyond.ablation,
        rows=tuple(grid.ablation(SMOKE)), columns=(*beyond.COLUMNS, *WHITE_BOX), means=MADE, story=stories.ABLATION,
    ),
    Artefact(
        name="single-step", shows="beyond: single-step methods on the same network, schedule and evaluation; MNIST",
        published={}, needs=lambda profile: [*_trained(grid.single_step)(profile), grid.timings(profile)[0]],
        compute=beyond.single_step, story=stories.SINGLE_STEP,
        rows=tuple(grid.single_step(SMOKE)), columns=(*beyond.COLUMNS, "worst", "seconds per pass", "ratio"),
    ),
    Artefact(
        name="precision", shows="beyond: images standing under attacks made in float32 and in bfloat16, MNIST",
        published={}, needs=lambda profile: list(grid.precisions(profile).values()), compute=beyond.precision,
        rows=tuple(grid.precisions(SMOKE)), over="images", story=stories.PRECISION,
        columns=(
            *(f"{attack}, {kind}" for attack in ATTACKS for kind in ("float32", "bfloat16", "bfloat16 minus float32")),
            "longer pgd, weights rounded", "longer pgd, weights moved",
        ),
    ),
    Artefact(
        name="stuck", shows="beyond: 500 updates of the proposed training, and which starts are called stuck; MNIST",
        published={}, needs=lambda profile: list(grid.starts(profile).values()), compute=beyond.stuck,
        rows=tuple(grid.starts(SMOKE)), columns=beyond.STARTS, story=stories.STUCK,
    ),
    Artefact(
        name="table4-full", shows="CIFAR-10, white box, epsilon 8/255, ResNet-34 as published: takes a GPU",
        on_request=True,
        published=published.cells(TABLE_4, list(COLUMNS["cifar10"])),
        needs=_trained(lambda profile: grid.cifar_rows(grid.full(profile))), compute=tables.table4_in_full,
        rows=tuple(_narrow(SMOKE)), columns=(*COLUMNS["cifar10"], *WHITE_BOX), means=MADE,
    ),
)  # fmt: skip
