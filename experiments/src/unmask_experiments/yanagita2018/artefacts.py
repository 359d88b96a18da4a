"""The tables, figures and statements of Yanagita & Yamamura 2018, and what is published of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from unmask_experiments.artefact import Artefact, Mark, Panel
from unmask_experiments.yanagita2018 import optimizers as of_optimizers
from unmask_experiments.yanagita2018 import rates as of_rates
from unmask_experiments.yanagita2018.optimizers import TABLE_1, TABLE_2, optimizers
from unmask_experiments.yanagita2018.rates import LR_AXIS, RATES, rates, two
from unmask_experiments.yanagita2018.runs import ADAM_VARIANTS, variant_config


def _panel(
    title: str, xlabel: str, ylabel: str, *, logy: bool = False, marks: Sequence[Mark] = (), series: str = ""
) -> Panel:
    return Panel(
        title=title,
        xlabel=xlabel,
        ylabel=ylabel,
        xscale="log",
        yscale="log" if logy else "linear",
        marks=marks,
        series=series,
    )


ARTEFACTS = (
    Artefact(
        name="table1", shows="the network's layers", published=TABLE_1,
        needs=lambda profile: [], compute=of_optimizers.table1,
    ),
    Artefact(
        name="table2", shows="natural and FGS test error by optimizer, epsilon 0.25", published=TABLE_2,
        needs=optimizers, compute=of_optimizers.table2,
    ),
    Artefact(
        name="fig1a", shows="natural test error against Adam's learning rate, by training length",
        published={"natural error, 0.075 and above, at least": 60, "natural error, below 0.01, at most": 3},
        needs=rates, compute=of_rates.fig1a,
        panels=[_panel("natural images", LR_AXIS, "test error, %", logy=True, marks=[
            Mark(label="at least 60 %", x=(0.075, 0.1), y=(60, 90)),
            Mark(label="below 3 %", x=(0.00075, 0.01), y=(1, 3)),
        ])],
    ),
    Artefact(
        name="fig1b", shows="FGS test error, and the share of images FGSM can change, against Adam's learning rate",
        published={
            "FGS error, 0.001": 90, "FGS error, 0.01": 20, "FGS error, 0.1": "high", "valid images, 0.001": 90,
            "valid images, 0.01": 20, "valid images, 0.1": 40, "natural error, 0.01 minus 0.001": "somewhat above 0",
        },
        needs=rates, compute=of_rates.fig1b,
        panels=[
            _panel("FGS images, epsilon 0.25", LR_AXIS, "test error, %", logy=True, series="FGS error:", marks=[
                Mark(label="90 %", x=(0.001, 0.001), y=(90, 90)),
                Mark(label="20 % or less", x=(0.0075, 0.0125), y=(5, 20)),
            ]),
            _panel("images that FGSM can change", LR_AXIS, "share, %", series="valid:", marks=[
                Mark(label="about 90 %", x=(0.001, 0.001), y=(90, 90)),
                Mark(label="20 % or less", x=(0.0075, 0.0125), y=(0, 20)),
                Mark(label="under 40 %", x=(0.075, 0.1), y=(0, 40)),
            ]),
        ],
    ),
    Artefact(
        name="fig2", shows="FGS test error against training length, several epsilons",
        published={f"FGS error, {rate:g}, {end}": None for rate in RATES for end in ("last", "first")},
        needs=two, compute=of_rates.fig2,
        panels=[_panel(f"lr {rate:g}", "updates", "FGS test error, %", series=f"lr {rate:g}:") for rate in RATES],
    ),
    Artefact(
        name="fig3a", shows="random-sign error on training images against Adam's learning rate, epsilon 0.25",
        published={"random-sign error, 0.01 minus 0.001": "above 0", "rank correlation with the rate": "rises"},
        needs=rates, compute=of_rates.fig3a,
        panels=[_panel("training images, random signs", LR_AXIS, "training error, %", logy=True)],
    ),
    Artefact(
        name="fig3b", shows="random-sign error on training images against training length, several epsilons",
        published={}, needs=two, compute=of_rates.fig3b,
        panels=[_panel(f"lr {rate:g}", "updates", "training error, %", series=f"lr {rate:g}:") for rate in RATES],
    ),
    Artefact(
        name="disc1", shows="which optimizers mask",
        published={
            "FGS error, RMSprop": "as difficult to fool as Adam", "FGS error, Adam": 90.4, "FGS error, SGD": 99.9,
            "FGS error, momentum": 99.5, "FGS error, AdaGrad": 99.9,
        },
        needs=optimizers, compute=of_optimizers.disc1,
        panels=[_panel("by optimizer", "updates", "FGS test error, %")],
    ),
    Artefact(
        name="disc2", shows="FGS error at lr 0.01 against adversarial training, epsilon 0.25",
        published={"FGS error, lr 0.01": 5, "FGS error, adversarial training": 10},
        needs=lambda profile: [replace(profile, learning_rate=0.01), replace(profile, training="adversarial")],
        compute=of_optimizers.disc2,
        panels=[_panel("against adversarial training", "updates", "FGS test error, %")],
    ),
    Artefact(
        name="adam", shows="the printed update rule, in its readings",
        published={f"natural error, {name}": "trains" for name in ("adam (standard)", *ADAM_VARIANTS)},
        needs=lambda profile: [profile, *(variant_config(profile, name) for name in ADAM_VARIANTS)],
        compute=of_optimizers.adam, panels=[_panel("the printed Adam", "updates", "training loss, nats", logy=True)],
    ),
)  # fmt: skip
