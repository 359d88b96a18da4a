"""The configuration of a run of Vivek et al. 2019, at three lengths, and the choices that the paper leaves open."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import nn

from unmask.data import Dataset
from unmask.models import build
from unmask_experiments.shortcuts import fold_grey, pool_first

CHOICES = {
    "recipe": "SGD, momentum 0.9, weight decay 5e-4, learning rate 0.01, batches of 32, 20 passes, the rate divided by "
    "5, 25 and 125 after 30, 55 and 80 % of them: the same lab's later public code; the paper has 'SGD with momentum' "
    "and 'step-policy'. Baselines likewise",
    "images": "pixels in [0, 1]; 10,000 of MNIST's 60,000 training images, by a seeded cut, are for validation; all "
    "10,000 test images",
    "FGSM and R-FGSM training": "'mini-batches are augmented' is read as half clean images ('fgsm', 'rfgsm'); beside "
    "them adversarial images alone ('fgsm_only', 'rfgsm_only')",
    "R-FGSM": "alpha is not stated: 0.01 in the regularizer (the lab's later code), with a step of all of epsilon from "
    "there, cut to [0, 1] alone; half of epsilon in the R-FGSM baselines, as the attack was published, and 0.01 beside",
    "attack": "per-example cross entropy, true labels, no gradient through the attack, evaluation mode while attacking",
    "I-FGSM and PGD": "the last iterate; PGD from a uniform start in steps of 0.01. The longer PGD goes on from the "
    "shorter's end: the same random start. No image is dropped before its last iterate",
    "precision": "passes of training, and the attacks that it makes, in float32; in bfloat16, as autocast has it, "
    "where the processor or GPU multiplies in it, and the row says so. Weights, and all that is measured, in float32. "
    "Attacks made in bfloat16 beside those made in float32, PGD on 4,000 images: 'precision'; there, a processor that "
    "does not multiply in bfloat16 rounds to it what each layer takes and returns and sums up in float32",
    "lambda 0": "LeNet+ has neither dropout nor batch norm, so that without its term the proposed training is "
    "'fgsm_only' update by update: on MNIST the two rows are one run",
    "evaluation": "in float32 on all test images; the worst case is over these attacks, "
    "FGSM with log-odds and, on the images that stand till then, PGD with log-odds whose best point is kept",
    "checkpoint": "the last one; the proposed row is also given at the pass with the best accuracy under 3-step I-FGSM "
    "on 2,000 validation images ('proposed_selected'), which is how the lab's later code chooses",
    "EAT": "half clean images; one model a batch, drawn among the sources and the one in training; sources trained "
    "normally for 5 passes from weights of their own. B has strides 2, 2 and 1, as it was first published; with stride "
    "1, as in the lab's later code, it costs sixteen times as much",
    "black box": "Table 5's and 6's sources are normally trained",
    "readings": "on 200 training images, with FGSM, R-FGSM (alpha 0.01, then a step of the rest of epsilon) and PGD-7 "
    "that maximise log-odds, which do not vanish as cross entropy does. Figure 2 has the distance's growth from the "
    "first updates, and beside it that since the network classifies half of the clean ones: before, its logits are "
    "nearly constant. Curves on 250 validation images during training and on 250 test images at its end; PGD's step "
    "grows with epsilon. Figure 2's later look at PGD training is after 5,000 updates, as figure 1's, and at the end, "
    "not after 15,000",
    "stuck": "a run stuck at chance when its first pass is over (of at least 500 updates) begins again, at most twice, "
    "with other weights and a learning rate that rises over the first pass",
    "shorter rows": "all rows of table 3 but normal, FGSM, lambda 0, the proposed, PGD, and R-FGSM and FGSM training "
    "with the alpha of the baselines, have a quarter of the passes, the rate's drops at the same shares of them; so "
    "have the ablation and the later methods, whose own rows are evaluated without I-FGSM, which their tables do not "
    "show. GradAlign's weight 1 and StepDistance's 0.5 are not tuned for MNIST; GAT's are its authors' for MNIST, 15 "
    "and an offset of all of epsilon, not raised during the run; N-FGSM's noise is its authors', up to twice epsilon, "
    "and beside it half of epsilon, with which black stays darker than white",
    "CIFAR-10": "a narrow ResNet-18 (width 16), 10 passes over 20,000 images of a JPEG copy of CIFAR-10 (static "
    "sources 5), learning rate 0.1, batches of 64, crop and flip. So small a network did not mask at the "
    "published 8/255 ('fgsm_only_8'), nor, on FGSM images alone in two thirds of a training that was not "
    "kept, at 16/255: epsilon is 24/255 for all its other rows, PGD's steps are 6/255 and R-FGSM's alpha "
    "in the readings likewise, a quarter of it. The proposed training, and lambda 0, have alpha 0.8/255, "
    "as small beside epsilon as on MNIST: with 6/255, a quarter, as in the lab's later code, training "
    "images stayed at chance for two passes of a training that was not kept ('proposed_quarter'). "
    "'table4-full' is ResNet-34 on all images for 100 passes, epsilon 8/255, alpha 2/255",
    "time": "seconds of a run include its readings; table 7 is measured on its own, an ensemble there with three "
    "untrained sources of the network in training, and the paper's FGSM time beside adversarial images alone",
}
"""Choices that the paper leaves open, and those made here."""

WIDTHS = {
    "lenet+": 32,
    **dict.fromkeys(("lenet-a", "lenet-b", "lenet-b-strided"), 64),
    "lenet-c": 128,
    "lenet-d": 300,
    **dict.fromkeys(("resnet-18", "resnet-34", "vgg-11", "vgg-16", "vgg-19"), 64),
}
"""Channels or units of each network's first layer as published."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """One run; the defaults are normal training of LeNet+ on MNIST, at full length.

    Attributes:
        kind: ``"source"`` is a training from other weights, for attacks on other networks; ``"transfer"`` and
            ``"precision"`` attack the network of the same training; ``"starts"`` trains
            many networks for a short while; ``"timing"`` times the methods.
        copy: a remark on the copy of ``data``, for every table that rests on it.
        side: the side to which the images are enlarged; 0 leaves them as they are.
        narrowing: the factor by which the network's layers have fewer channels or units than published.
        method: what is trained on, see ``methods.py``; ``clean_weight``, ``weight``, ``alpha`` and
            ``step_from_offset`` are its settings, where it has them.
        sources: networks that are attacked in its place: by an ensemble while training, or to transfer from.
        noise: R-FGSM's alpha wherever it only measures.
        step_size: of PGD's steps in training and in measuring, of which training has ``training_steps``.
        steps: of I-FGSM, PGD and longer PGD in evaluation; 0 leaves I-FGSM out.
        augment: crop and flip.
        drops: shares of the training after which the learning rate is divided by ``decay`` once more.
        sample_images: validation images for I-FGSM after each pass.
        curve_images: images on which loss against epsilon is measured, for each of ``epsilons``.
        precision: of training; ``"fastest"`` is bfloat16 where the machine multiplies in it, else float32.
        looks: the updates, an early and a late one, of figures 1 and 2.
        moments: updates after which it is measured; where there are any, at the end too.
        select: also evaluate the weights that did best under I-FGSM on validation images.
        starts: number of networks.
        rounds: of timing; ``timed_updates`` of normal training in each, of dearer methods as many fewer, but 3;
            ``peak_size`` of the matrices whose product is taken for the processor's peak.
    """

    kind: Literal["training", "source", "transfer", "precision", "starts", "timing"] = "training"
    data: str = "mnist"
    copy: str = ""
    side: int = 0
    network: str = "lenet+"
    narrowing: int = 1
    method: str = "normal"
    clean_weight: float = 0.0
    weight: float = 5.0
    alpha: float = 0.01
    step_from_offset: Literal["full", "remaining"] = "full"
    sources: tuple[str, ...] = ()
    epsilon: float = 0.3
    noise: float = 0.01
    step_size: float = 0.01
    training_steps: int = 40
    steps: tuple[int, int, int] = (40, 40, 100)
    augment: bool = False
    epochs: int = 20
    source_epochs: int = 5
    drops: tuple[float, ...] = (0.3, 0.55, 0.8)
    decay: float = 5.0
    batch_size: int = 32
    learning_rate: float = 0.01
    weight_decay: float = 5e-4
    precision: Literal["float32", "bf16-mixed", "fastest"] = "fastest"
    channels_last: bool = True
    train_images: int = 0
    test_images: int = 10_000
    sample_images: int = 2_000
    curve_images: int = 1_000
    epsilons: tuple[float, ...] = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4)
    looks: tuple[int, int] = (1_000, 5_000)
    moments: tuple[int, ...] = ()
    watch_every: int = 500
    watch_images: int = 200
    watch_steps: int = 7
    select: bool = False
    starts: int = 0
    rounds: int = 9
    timed_updates: int = 40
    peak_size: int = 2_048
    seed: int = 0

    @property
    def shown_data(self) -> str:
        """The data's name for tables.

        Example:
            >>> Config(data="cifar10", copy="JPEG copy").shown_data
            'CIFAR-10 (JPEG copy)'
        """
        name = {"mnist": "MNIST", "cifar10": "CIFAR-10"}.get(self.data, self.data)
        return name + (f" ({self.copy})" if self.copy else "")


PAPER = Config()
QUICK = replace(
    PAPER,
    narrowing=8,
    epochs=2,
    source_epochs=1,
    train_images=8_000,
    test_images=500,
    sample_images=200,
    curve_images=100,
    steps=(10, 10, 20),
    training_steps=10,
    step_size=0.04,
    epsilons=(0.1, 0.2, 0.3, 0.4),
    looks=(100, 200),
    watch_images=50,
    rounds=3,
)
SMOKE = replace(
    PAPER,
    data="digits",
    side=28,
    narrowing=16,
    epochs=2,
    source_epochs=1,
    batch_size=16,
    train_images=64,
    test_images=30,
    sample_images=20,
    curve_images=20,
    steps=(2, 2, 3),
    training_steps=2,
    epsilons=(0.15, 0.3),
    looks=(1, 3),
    watch_every=8,
    watch_images=10,
    watch_steps=2,
    rounds=1,
    timed_updates=2,
    peak_size=64,
)


def _ball(epsilon: int, *epsilons: int) -> dict[str, Any]:
    """Return epsilon on CIFAR-10 and the settings that grow with it, from 255ths; ``epsilons`` are for the curves."""
    return {
        "epsilon": epsilon / 255,
        **dict.fromkeys(("noise", "alpha", "step_size"), epsilon / 4 / 255),
        "epsilons": tuple(one / 255 for one in epsilons),
    }


PUBLISHED_BALL = _ball(8, 2, 4, 6, 8, 12, 16, 24, 32)
_RAISED = _ball(24, 4, 8, 12, 16, 24, 32, 40, 48)
_CIFAR: dict[str, Any] = {"network": "resnet-18", "augment": True, "learning_rate": 0.1}
NARROW = replace(
    PAPER,
    **_CIFAR,
    **_RAISED,
    data="cifar10",
    copy="JPEG copy",
    narrowing=4,
    training_steps=7,
    steps=(7, 7, 20),
    epochs=10,
    source_epochs=5,
    batch_size=64,
    train_images=20_000,
    looks=(500, 1_500),
)
"""CIFAR-10 as a machine without a GPU can do it: a narrow network, a part of the images, a short schedule."""

NEAR = PAPER.alpha / PAPER.epsilon
"""The proposed training's alpha over epsilon on MNIST, with which the narrow network learns as well."""

FULL = replace(
    NARROW, **PUBLISHED_BALL, copy="", network="resnet-34", narrowing=1, train_images=0, epochs=100, source_epochs=100
)
"""CIFAR-10 as published, on the original images."""

CIFAR = {
    PAPER: NARROW,
    QUICK: replace(
        NARROW, narrowing=16, epochs=2, source_epochs=2, train_images=1_000, test_images=200, sample_images=100,
        curve_images=100, epsilons=NARROW.epsilons[::2], looks=(10, 20), watch_images=50, rounds=3,
    ),
    SMOKE: replace(
        SMOKE, **_CIFAR, **_ball(24, 24, 48), side=32, narrowing=32, batch_size=8,
        train_images=16, test_images=20, looks=(1, 2), watch_every=100,
    ),
}  # fmt: skip
"""Each profile's counterpart on CIFAR-10."""

COMPARED = 4_000
"""Test images on which PGD made in bfloat16 is compared with PGD made in float32."""

SIZES = {"mnist": (50_000, (1, 28, 28)), "cifar10": (45_000, (3, 32, 32)), "digits": (1_078, (1, 8, 8))}
"""Training images of each data set, and their shape."""


def source(config: Config, name: str) -> Config:
    """Return the run that trains the static source of this name for networks of the same profile as ``config``."""
    return replace(
        config,
        kind="source",
        network=name,
        method="normal",
        clean_weight=PAPER.clean_weight,
        weight=PAPER.weight,
        alpha=config.noise,
        step_from_offset=PAPER.step_from_offset,
        sources=(),
        epochs=config.source_epochs,
        moments=(),
        watch_every=PAPER.watch_every,
        curve_images=PAPER.curve_images,
        select=False,
        seed=0,
    )


def trained(config: Config) -> Config:
    """Return the training whose network a ``"transfer"`` or ``"precision"`` run attacks."""
    return replace(config, kind="training", sources=())


def updates_per_epoch(config: Config, images: int | None = None) -> int:
    """Return the number of batches in one pass over the training images.

    Example:
        >>> updates_per_epoch(PAPER)
        1563
    """
    count = images or min(config.train_images or SIZES[config.data][0], SIZES[config.data][0])
    return math.ceil(count / config.batch_size)


def network(config: Config, data: Dataset, seed: int) -> nn.Module:
    """Build the network with the seed's weights, in the equivalent form that costs less: see ``shortcuts.py``."""
    channels, height, width = data.images.shape[1:]
    model = build(
        config.network,
        inputs=(channels, height, width),
        classes=len(data.classes),
        width=WIDTHS[config.network] // config.narrowing,
        seed=seed,
    )
    return fold_grey(pool_first(model))
