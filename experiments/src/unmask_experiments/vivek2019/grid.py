"""The runs: the rows of the tables, their dependencies, and their order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from unmask.training import STUCK_EVERY
from unmask_experiments.vivek2019.config import (
    CIFAR,
    FULL,
    NEAR,
    PAPER,
    PUBLISHED_BALL,
    Config,
    source,
)

Rows = dict[str, Config]

ENSEMBLES = {"a": "abc", "b": "bcd", "c": "cda", "d": "dab"}
"""Table 2, MNIST: the networks that make images for the one in training; see ``B``."""

CIFAR_ENSEMBLES = {
    "a": ("resnet-34", "resnet-18"),
    "b": ("resnet-34", "vgg-16"),
    "c": ("resnet-18", "vgg-16"),
}
"""Table 2, CIFAR-10."""

B = "lenet-b-strided"
"""Network B, with the strides it was first published with; with stride 1, ``"lenet-b"``, it costs 16 times as much."""

LEADING = ("normal", "fgsm", "fgsm_only", "lambda0", "proposed", "pgd", "rfgsm_fgsm")
"""Rows of table 3 that are trained for all passes."""

SHARE = 4
"""Its other rows, and trainings that are only compared with each other, get one in so many of the passes."""

BLACK_BOX = {"mnist": ("lenet-a", B), "cifar10": ("vgg-11", "vgg-19")}
"""The sources of tables 5 and 6."""

LOOKED_AT = 250
"""Images on which loss against epsilon is measured where it is measured at several moments."""

REPEATED = ("fgsm", "proposed", "pgd")
"""Rows with further seeds."""

SEEDS_NARROW = {"fgsm_only": 3, "lambda0": 3, "proposed_quarter_longer": 2, "pgd_longer": 2, "rfgsm_fgsm_longer": 2}
"""Rows of table 4 with further seeds, and how many at most.

The first two train on the same images, and at the first seed one masks and the other not; after twenty passes the order
of the last three is what the table's claim is about.
"""

IN_BFLOAT16 = ("fgsm", "proposed", "pgd")
"""Rows whose networks are attacked in bfloat16."""

TURNS = {"rounds": 60, "timed_updates": 10}
"""Of a timing at full length: many short turns. In few of 40 updates a shared machine changes its pace from one
method's turn to the next, and intervals are as wide as what they are asked to tell."""

USUAL_RATE, RAISED_RATE = "published rate", "twenty times the rate"
"""Names of the trainings whose first pass is watched."""

WEIGHTS, ALPHAS = (0.0, 1.0, 5.0, 25.0), (0.01, 0.05, 0.15)
"""The ablation's; at weight 0 alpha means nothing."""

CENTRE = "weight 5, alpha 0.01"
"""Its row with the proposed training's values."""

WHOLE = f"{CENTRE}, all passes"
"""The proposed training as it is in table 3."""


def letter(name: str) -> str:
    """The network of table 1 by its letter.

    Example:
        >>> letter("a")
        'lenet-a'
    """
    return B if name == "b" else f"lenet-{name}"


def methods(profile: Config) -> Rows:
    """The rows of tables 3 and 4 but the ensembles, and the second readings."""
    half = profile.epsilon / 2
    looks = profile.looks
    closely: dict[str, Any] = {
        "watch_every": max(1, profile.watch_every // 2),
        "curve_images": min(profile.curve_images, LOOKED_AT),
    }
    distance = replace(profile, **closely, method="logit-distance")
    fgsm = replace(distance, method="fgsm", moments=looks)
    rfgsm = replace(profile, method="rfgsm", alpha=half)
    mixture = replace(profile, method="rfgsm+fgsm", alpha=half)
    return {
        "normal": profile,
        "fgsm": replace(fgsm, clean_weight=0.5),
        "fgsm_only": fgsm,
        "lambda0": fgsm if profile.network == "lenet+" else replace(distance, weight=0.0, moments=looks),
        "proposed": replace(distance, moments=looks, select=True),
        "pgd": replace(distance, method="pgd", moments=looks),
        "rfgsm": replace(rfgsm, clean_weight=0.5),
        "rfgsm_only": rfgsm,
        "rfgsm_fgsm": mixture,
        "rfgsm_only_near": replace(rfgsm, alpha=profile.alpha),
        "rfgsm_fgsm_near": replace(mixture, alpha=profile.alpha),
    }


def ensembles(profile: Config) -> Rows:
    """The rows of ensemble adversarial training on MNIST, each on its own network; the dearest last."""
    eat = replace(profile, method="ensemble", clean_weight=0.5)
    return {
        f"eat_{name}": replace(eat, network=letter(name), sources=tuple(map(letter, ENSEMBLES[name])))
        for name in ("d", "c", "a", "b")
    }


def cifar_rows(profile: Config) -> Rows:
    """The published rows of table 4, and their second readings; ``profile`` is one of CIFAR-10."""
    eat = replace(profile, method="ensemble", clean_weight=0.5)
    found = {f"eat_{name}": replace(eat, sources=names) for name, names in CIFAR_ENSEMBLES.items()}
    kept = {name: row for name, row in methods(profile).items() if not name.endswith("near")}
    if profile.narrowing > 1:
        near = {name: replace(kept[name], alpha=NEAR * profile.epsilon) for name in ("lambda0", "proposed")}
        kept |= near
    return kept | found


LONGER = (
    "fgsm_only_longer", "lambda0_longer", "proposed_longer", "proposed_quarter_longer", "pgd_longer",
    "rfgsm_only_longer", "rfgsm_fgsm_longer",
)  # fmt: skip
"""Rows of table 4 with twice the passes: all that had not fallen before, be it at one of their seeds."""

BESIDE = ("fgsm_only_8", "proposed_quarter", *LONGER)
"""Rows of table 4 that show why the narrow network has an epsilon and an alpha of its own, and what more passes do."""


def table4(profile: Config) -> Rows:
    """The rows of table 4 with the narrow network, and those of ``BESIDE``; ``profile`` is the one on MNIST."""
    narrow = CIFAR[profile]
    rows = cifar_rows(narrow)
    published_ball = replace(rows["fgsm_only"], **PUBLISHED_BALL)
    published_alpha = replace(rows["proposed"], alpha=narrow.alpha)
    beside = {"fgsm_only_8": published_ball, "proposed_quarter": published_alpha}
    passes = 2 * narrow.epochs
    longer = {name: replace((rows | beside)[name.removesuffix("_longer")], epochs=passes) for name in LONGER}
    return rows | beside | longer


def table3(profile: Config) -> Rows:
    """All trainings of table 3."""
    rows = methods(profile) | ensembles(profile)
    return {name: row if name in LEADING else _shortened(row) for name, row in rows.items()}


def sources_of(rows: Iterable[Config]) -> list[Config]:
    """The runs that train the static sources of these, each once."""
    found = [source(row, name) for row in rows for name in row.sources]
    return list(dict.fromkeys(found))


def transfers(rows: Rows) -> Rows:
    """FGSM images of other networks on those that rows of table 3 or 4 have trained."""
    return {
        name: replace(rows[name], kind="transfer", sources=BLACK_BOX["cifar10" if rows[name].augment else "mnist"])
        for name in ("pgd", "proposed", "fgsm", "fgsm_only", "normal")
    }


def precisions(profile: Config) -> Rows:
    """Attacks in bfloat16 on three networks of table 3, and on PGD's after fewer passes."""
    rows = {name: row for name, row in table3(profile).items() if name in IN_BFLOAT16}
    rows["pgd_shorter"] = compared(profile)["pgd"]
    return {name: replace(row, kind="precision") for name, row in rows.items()}


def starts(profile: Config) -> Rows:
    """First updates of the proposed training, at the published rate and at one that few survive."""
    few, images = profile != PAPER, STUCK_EVERY * profile.batch_size
    one = replace(
        methods(profile)["proposed"], kind="starts", epochs=1, drops=(), moments=(), select=False,
        train_images=min(images, profile.train_images or images),
    )  # fmt: skip
    return {
        USUAL_RATE: replace(one, starts=2 if few else 20),
        RAISED_RATE: replace(one, starts=2 if few else 10, learning_rate=20 * profile.learning_rate),
    }


def compared(profile: Config) -> Rows:
    """The rows of table 3 as they are compared with other trainings: those of all passes get fewer.

    They are read less often, too, but for PGD training, where readings cost next to nothing.
    """
    names = ("watch_every", "curve_images", "moments", "select")
    plain: dict[str, Any] = {name: getattr(profile, name) for name in names}
    rows = table3(profile)
    shorter = {name: _shortened(replace(rows[name], **plain)) for name in LEADING}
    return rows | shorter | {"pgd": _shortened(rows["pgd"])}


def ablation(profile: Config) -> Rows:
    """The regularizer's weight and alpha; and the paper's own step from the offset, and batches twice as large.

    The proposed training of all passes stands beside them: the published number is one of that.
    """
    trainings = compared(profile)
    centre, proposed = trainings["proposed"], _without_ifgsm(trainings["proposed"])
    rows = {"weight 0": trainings["lambda0"]}
    for weight in WEIGHTS[1:]:
        for alpha in ALPHAS:
            row = replace(proposed, weight=weight, alpha=alpha)
            rows[f"weight {weight:g}, alpha {alpha:g}"] = centre if row == proposed else row
    rows[WHOLE] = table3(profile)["proposed"]
    rows["remaining step, alpha 0.15"] = replace(proposed, alpha=profile.epsilon / 2, step_from_offset="remaining")
    rows["batch doubled"] = replace(proposed, batch_size=2 * profile.batch_size)
    return rows


def later(profile: Config) -> Rows:
    """Single-step methods that came after the paper."""
    plain = _without_ifgsm(compared(profile)["normal"])
    return {
        "rs-fgsm": replace(plain, method="rs-fgsm"),
        "n-fgsm": replace(plain, method="n-fgsm"),
        "n-fgsm, k 0.5": replace(plain, method="n-fgsm-near"),
        "gradalign": replace(plain, method="gradalign", weight=1.0),
        "gat": replace(plain, method="gat", weight=15.0, alpha=profile.epsilon),
        "step-distance": replace(plain, method="step-distance", weight=0.5, alpha=profile.epsilon / 2),
    }


def single_step(profile: Config) -> Rows:
    """Single-step methods of the paper and later ones, and PGD to compare with."""
    rows = compared(profile)
    first = {name: rows[name] for name in ("fgsm_only", "rfgsm_only", "rfgsm_fgsm", "proposed")}
    return first | later(profile) | {"pgd": rows["pgd"]}


def timed(profile: Config) -> Rows:
    """The methods whose updates are timed, on one network."""
    rows = methods(profile)
    first = {name: rows[name] for name in ("normal", "fgsm_only", "fgsm", "proposed", "pgd")}
    eat = replace(profile, method="ensemble", clean_weight=0.5)
    return first | single_step(profile) | {"eat": eat}


def timings(profile: Config) -> list[Config]:
    """The runs of table 7: MNIST's network and the narrow one of CIFAR-10."""
    longer: dict[str, Any] = TURNS if profile == PAPER else {}
    return [replace(one, kind="timing", **longer) for one in (profile, CIFAR[profile])]


def full(profile: Config) -> Config:
    """CIFAR-10 as published; the shorter profiles have nothing longer than their counterpart."""
    return FULL if profile == PAPER else CIFAR[profile]


def grid(profile: Config, *, seeds: int = 3) -> list[Config]:
    """All runs, the most telling first.

    On MNIST: the rows of the first figures, the networks to attack from, the other rows, the later methods and the
    ablation; then CIFAR-10 with the narrow network, and further seeds of some of its rows, of three rows of MNIST
    and of the transfers to them; what takes a quiet machine or a GPU comes last. One seed for all others.

    Example:
        >>> from unmask_experiments.vivek2019.config import SMOKE
        >>> [run.method for run in grid(SMOKE)[:5]]
        ['normal', 'fgsm', 'fgsm', 'logit-distance', 'pgd']
    """
    rows, narrow = table3(profile), table4(profile)
    leading = [rows[name] for name in LEADING]
    black_box = list(transfers(rows).values())
    cheap_first = [source(profile, letter(name)) for name in "dcab"]
    others = [row for name, row in rows.items() if row not in leading]
    again = [made[name] for name in REPEATED for made in (rows, transfers(rows))]
    most = {narrow[name]: count for name, count in SEEDS_NARROW.items()} | dict.fromkeys(again, seeds)
    repeated = [replace(row, seed=seed) for seed in range(1, seeds) for row, count in most.items() if seed < count]
    colour, colour_black_box = list(narrow.values()), list(transfers(narrow).values())
    whole = list(cifar_rows(full(profile)).values())
    return list(
        dict.fromkeys(
            [
                *leading, *cheap_first, *others, *black_box, *precisions(profile).values(),
                *starts(profile).values(), *single_step(profile).values(), *ablation(profile).values(),
                *sources_of(colour), *colour, *sources_of(colour_black_box), *colour_black_box,
                *repeated, *timings(profile), *sources_of(whole), *whole,
            ]
        )
    )  # fmt: skip


def _shortened(row: Config) -> Config:
    return replace(row, epochs=max(1, row.epochs // SHARE))


def _without_ifgsm(row: Config) -> Config:
    return replace(row, steps=(0, *row.steps[1:]))
