"""One run of Yanagita & Yamamura 2018: train a perceptron, and measure it at each training length."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from torch import nn

from unmask.attacks import FGSM
from unmask.data import Dataset, load
from unmask.data.dataset import permutation
from unmask.experiments.moments import Moment
from unmask.experiments.perceptrons import WeightPenalty, follow, operations, perceptron, surrogate, with_label_noise
from unmask.experiments.yanagita2018.examine import examine, weights_at
from unmask.losses import cross_entropy
from unmask.objectives import Adversarial, Normal, Objective
from unmask.sweeps import identify
from unmask.training import Trainer
from unmask.weights import save_weights

LEARNING_RATES = (0.00075, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1)
"""Adam's, for figures 1 and 3a: the paper gives the range alone."""

OPTIMIZERS = {"sgd": 0.01, "momentum": 0.01, "adagrad": 0.01, "rmsprop": 0.001}
"""The other optimizers' recommended learning rates; the paper does not state them."""

SECOND_RATES = {"sgd": 0.1, "rmsprop": 0.01}
"""A second reading of SGD's rate; and RMSprop at the rate at which Adam masks most."""

READINGS = ("adam-double-corrected", "adam-literal")
"""Readings of the printed Adam beside the standard one."""

READING_UPDATES = 4_000
"""How long they are trained: the literal one freezes within 30 updates, and the other differs in the first hundreds."""

CHOICES = {
    "length": "'learning epoch is 100000' is read as 100,000 updates, 250 passes over 50,000 images",
    "images": "pixels in [0, 1]; 50,000 training images by a seeded cut of the official 60,000; all 10,000 test images",
    "weights": "Xavier-uniform, zero biases",
    "optimizers": "SGD 0.01, and 0.1; momentum 0.9 at 0.01; AdaGrad 0.01; RMSprop 0.001, decay 0.9; "
    "Adam (0.9, 0.999, 1e-8)",
    "attack": "per-example cross entropy in the network's precision, true labels, adversarial images cut to [0, 1]; "
    "'unclipped' without the cut; 'recast' with the same weights in float64; 'log-odds' with that loss in float32",
    "subnormals": "kept, not flushed to zero",
    "random signs": "on 10,000 of the training images, drawn once",
    "PGD": "40 steps of epsilon / 16 from a random start, best point kept, on 1,000 test images",
    "DeepFool": "L2, at most 50 steps, overshoot 0.02, on 500 test images",
    "adversarial training": "0.5 J(x) + 0.5 J(x_fgsm), epsilon 0.25, one forward for both",
    "transfer": "FGSM on another network of the same kind, trained for 2,000 updates with Adam at 0.001",
}
"""What the paper leaves open, and how it is read here."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """One run; the defaults are the paper's, at full length.

    Attributes:
        training: ``"normal"``, or ``"adversarial"``: 0.5 J(x) + 0.5 J(x_fgsm) at ``epsilon``, J being cross entropy.
        updates: the paper's "learning epoch is 100000", read as updates: 250 passes.
        moments: the training lengths, in updates, at which the network is measured.
        train_images: of the 50,000, how many are used; 0 for all.
        label_noise: the share of training labels that are replaced.
        l2: weight of the penalty on the weight matrices.
        probe_images: how many training images are measured; ``slow_images``: test images under PGD.
        surrogate_updates: the training of the network from which attacks are transferred; 0 for none.
        examine: look for dead units in the network that the same run without this keeps, instead of training one.
    """

    data: str = "mnist"
    widths: tuple[int, ...] = (600, 128)
    optimizer: str = "adam"
    learning_rate: float = 0.001
    batch_size: int = 125
    training: Literal["normal", "adversarial"] = "normal"
    updates: int = 100_000
    moments: tuple[int, ...] = (400, 1_200, 4_000, 10_000, 20_000, 40_000, 100_000)
    epsilon: float = 0.25
    epsilons: tuple[float, ...] = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
    train_images: int = 0
    label_noise: float = 0.0
    l2: float = 0.0
    test_images: int = 10_000
    probe_images: int = 10_000
    slow_images: int = 1_000
    surrogate_updates: int = 2_000
    examine: bool = False
    seed: int = 0


PAPER = Config()
QUICK = replace(
    PAPER,
    updates=4_000,
    moments=(400, 1_200, 4_000),
    test_images=2_000,
    probe_images=2_000,
    slow_images=200,
    surrogate_updates=800,
)
SMOKE = replace(
    PAPER,
    data="digits",
    widths=(32, 16),
    updates=45,
    moments=(9, 45),
    test_images=100,
    probe_images=100,
    slow_images=20,
    surrogate_updates=20,
)


def grid(profile: Config, *, seeds: int = 3) -> list[Config]:
    """All runs that the artefacts need, the most telling first.

    One seed for every learning rate; ``seeds`` for Adam at 0.01 and 0.001, for the other optimizers and for
    adversarial training.

    Example:
        >>> len(grid(SMOKE, seeds=1))
        23
    """
    repeated = [replace(profile, learning_rate=rate) for rate in (0.01, 0.001)]
    repeated += [replace(profile, optimizer=name, learning_rate=rate) for name, rate in OPTIMIZERS.items()]
    repeated += [replace(profile, training="adversarial")]
    repeated += [replace(profile, learning_rate=rate, examine=True) for rate in (0.01, 0.001)]
    single = [replace(profile, learning_rate=rate) for rate in LEARNING_RATES if rate not in (0.01, 0.001)]
    single += [replace(profile, optimizer=name, learning_rate=rate) for name, rate in SECOND_RATES.items()]
    readings = [reading_config(profile, name) for name in READINGS]
    return [
        *repeated,
        *single,
        *readings,
        *(replace(config, seed=seed) for seed in range(1, seeds) for config in repeated),
    ]


def reading_config(profile: Config, name: str) -> Config:
    """The run of a reading of the printed Adam, shorter than the others."""
    updates = min(READING_UPDATES, profile.updates)
    kept = tuple(update for update in profile.moments if update <= updates)
    return replace(profile, optimizer=name, updates=updates, moments=kept)


def cost(config: Config) -> float:
    """Floating-point operations of the training, about; examining is a small part of it."""
    passes = 3.0 if config.training == "adversarial" else 0.05 if config.examine else 1.0
    return operations(config.data, config.widths, images=config.updates * config.batch_size, passes=passes)


def run(
    config: Config, *, work: Path | None = None, progress: Callable[[float], None] = lambda share: None
) -> dict[str, Any]:
    """Train one network and measure it at each of the training lengths.

    Args:
        work: a folder to which checkpoints and the weights at each moment go; by default nothing is kept.
        progress: called with the share that is done.

    Example:
        >>> record = run(SMOKE)
        >>> [moment["update"] for moment in record["moments"]]
        [9, 45]
    """
    if work is None:
        with tempfile.TemporaryDirectory() as folder:
            return run(config, work=Path(folder), progress=progress)
    train, test = load(config.data, "train"), load(config.data, "test")
    if config.examine:
        return _examined(config, test, work)
    train = with_label_noise(train.sample(config.train_images or len(train), 0), config.label_noise, config.seed)
    model = perceptron(train, config.widths, config.seed)
    moment = _moment(config, train, test)

    def measure(update: int) -> dict[str, Any]:
        if update not in config.moments and update != config.updates:
            return {}
        save_weights(model, work / weights_at(update))
        return {"moment": moment(model, thorough=update == config.updates)}

    measured, diverged = follow(_trainer(config), model, train, measure, work=work, progress=progress)
    return {
        "epochs": {
            "update": list(measured),
            "loss": [values["loss"] for values in measured.values()],
            "seconds": [values["seconds"] for values in measured.values()],
        },
        "moments": [{"update": at, **values["moment"]} for at, values in measured.items() if "moment" in values],
        "diverged": diverged,
        "precision": "float32",
        "choices": dict(CHOICES),
    }


def _examined(config: Config, test: Dataset, work: Path) -> dict[str, Any]:
    """Examine the network of the same run, from its own work folder if it has run, or else trained for the purpose."""
    trained = replace(config, examine=False)
    folder, moments = work.parent / identify(trained), sorted({*config.moments, config.updates})
    if not all((folder / weights_at(update)).is_file() for update in moments):
        folder = work / "trained"
        run(trained, work=folder)
    model = perceptron(test, config.widths, config.seed)
    part = test.take(permutation(len(test), 0)[: config.slow_images])
    return {"moments": examine(model, folder, part, updates=moments, epsilon=config.epsilon)}


def _moment(config: Config, train: Dataset, test: Dataset) -> Moment:
    other: nn.Module | None = None
    if config.surrogate_updates:
        other = surrogate(train, config.widths, updates=config.surrogate_updates, seed=config.seed)
    return Moment(
        epsilon=config.epsilon,
        epsilons=config.epsilons,
        repairs=(0.1, config.epsilon),
        test=test.take(permutation(len(test), 0)[: config.test_images]),
        train=train.sample(config.probe_images, 1),
        slow_images=config.slow_images,
        scales=(0.1, 10.0),
        surrogate=other,
    )


def _trainer(config: Config) -> Trainer:
    objective: Objective = Normal()
    if config.training == "adversarial":
        objective = Adversarial(attack=FGSM(epsilon=config.epsilon, loss=cross_entropy), clean_weight=0.5)
    if config.l2:
        objective = WeightPenalty(objective=objective, weight=config.l2)
    return Trainer(
        updates=config.updates,
        batch_size=config.batch_size,
        objective=objective,
        optimizer=config.optimizer,
        learning_rate=config.learning_rate,
        seed=config.seed,
    )
