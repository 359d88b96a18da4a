"""The runs of Yanagita & Yamamura 2018: train a perceptron, and measure it at each training length."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from unmask.data import Dataset
from unmask.models import save_weights
from unmask_experiments.diagnostics import diagnose
from unmask_experiments.follow import follow, weights_folder
from unmask_experiments.perceptron_config import PerceptronConfig, load_images, measurement_of, trainer_of
from unmask_experiments.perceptrons import operations, perceptron
from unmask_experiments.printed_adam import VARIANTS

LEARNING_RATES = (0.00075, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1)
"""Adam's, for figures 1 and 3a: the paper gives the range alone."""

OPTIMIZERS = {"sgd": 0.01, "momentum": 0.01, "adagrad": 0.01, "rmsprop": 0.001}
"""The other optimizers' recommended learning rates; the paper does not state them."""

SECOND_RATES = {"sgd": 0.1, "rmsprop": 0.01}
"""A second reading of SGD's rate; and RMSprop at the rate at which Adam masks most."""

ADAM_VARIANTS = tuple(VARIANTS)
"""Variants of the printed Adam beside the standard one: see ``printed_adam.py``."""

VARIANT_UPDATES = 4_000
"""Their updates: the literal one freezes within 30, and the other differs in the first hundreds."""

CHOICES = {
    "length": "'learning epoch is 100000' is read as 100,000 updates, 250 passes over 50,000 images",
    "images": "pixels in [0, 1]; 50,000 training images by a seeded cut of the official 60,000; all 10,000 test images",
    "weights": "Xavier-uniform, zero biases",
    "optimizers": "SGD 0.01 (0.1, tried first, misses table 2's natural error by 0.6 points, and is kept beside it); "
    "momentum 0.9 at 0.01; AdaGrad 0.01; RMSprop 0.001, decay 0.9; Adam (0.9, 0.999, 1e-8)",
    "attack": "per-example cross entropy in the network's precision, true labels, adversarial images cut to [0, 1]; "
    "'unclipped' without the cut; 'recast' with the same weights in float64; 'log-odds' with that loss in float32",
    "subnormals": "kept, not flushed to zero",
    "random signs": "on 10,000 of the training images, drawn once",
    "PGD": "40 steps of epsilon / 16 from a random start, best point kept, on 1,000 test images",
    "Square": "1,000 queries, on the same 1,000 test images, Adam at 0.01 and 0.001 alone",
    "DeepFool": "L2, at most 50 steps, overshoot 0.02, on 500 test images",
    "adversarial training": "0.5 J(x) + 0.5 J(x_fgsm), epsilon 0.25, one forward for both",
    "transfer": "FGSM on another network of the same kind, trained for 2,000 updates with Adam at 0.001",
}
"""Choices that the paper leaves open, and those made here."""


@dataclass(frozen=True, kw_only=True)
class Config(PerceptronConfig):
    """One run; the defaults are the paper's, at full length.

    Attributes:
        updates: the paper's "learning epoch is 100000", read as updates: 250 passes.
        moments: the training lengths, in updates, at which the network is measured.
    """

    widths: tuple[int, ...] = (600, 128)
    batch_size: int = 125
    training: Literal["normal", "adversarial"] = "normal"
    updates: int = 100_000
    moments: tuple[int, ...] = (400, 1_200, 4_000, 10_000, 20_000, 40_000, 100_000)
    epsilon: float = 0.25
    epsilons: tuple[float, ...] = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
    l2: float = 0.0
    slow_images: int = 1_000


PAPER = Config()
QUICK = replace(
    PAPER,
    updates=2_000,
    moments=(400, 2_000),
    test_images=2_000,
    probe_images=2_000,
    slow_images=200,
    surrogate_updates=400,
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
    """Return all runs of the artefacts, the most telling first.

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
    variants = [variant_config(profile, name) for name in ADAM_VARIANTS]
    return [
        *repeated,
        *single,
        *variants,
        *(replace(config, seed=seed) for seed in range(1, seeds) for config in repeated),
    ]


def variant_config(profile: Config, name: str) -> Config:
    """Return the run of a variant of the printed Adam, shorter than the others."""
    updates = min(VARIANT_UPDATES, profile.updates)
    kept = tuple(update for update in profile.moments if update <= updates)
    return replace(profile, optimizer=name, updates=updates, moments=kept)


def cost(config: Config) -> float:
    """Estimate the floating-point operations of the training; diagnostics are a small part of it."""
    passes = 3.0 if config.training == "adversarial" else 0.05 if config.examine else 1.0
    return operations(config.data, config.widths, images=config.updates * config.batch_size, passes=passes)


def run(
    config: Config, *, work: Path | None = None, progress: Callable[[float], None] = lambda share: None
) -> dict[str, Any]:
    """Train one network and measure it at each of the training lengths.

    Args:
        work: a folder for checkpoints and the weights at each moment; by default a temporary one.
        progress: called with the share that is done.

    Example:
        >>> record = run(SMOKE)
        >>> [moment["update"] for moment in record["moments"]]
        [9, 45]
    """
    if work is None:
        with tempfile.TemporaryDirectory() as folder:
            return run(config, work=Path(folder) / "run", progress=progress)
    train, test = load_images(config)
    if config.examine:
        return _diagnosed(config, test, work)
    model = perceptron(train, config.widths, config.seed)
    measured_at = measurement_of(config, train, test, repairs=(0.1, config.epsilon), scales=(0.1, 10.0))

    def measure(update: int) -> dict[str, Any]:
        if update not in config.moments and update != config.updates:
            return {}
        save_weights(model, work / _weights(update))
        return {"moment": measured_at(model, thorough=update == config.updates)}

    training = trainer_of(config, config.updates, penalty=config.l2)
    measured, diverged = follow(training, model, train, measure, work=work, progress=progress)
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


def _weights(update: int) -> str:
    return f"update-{update:06d}.safetensors"


def _diagnosed(config: Config, test: Dataset, work: Path) -> dict[str, Any]:
    """Diagnose the networks of the same run."""
    files = {update: _weights(update) for update in sorted({*config.moments, config.updates})}
    folder = weights_folder(run, replace(config, examine=False), work, files.values())
    model = perceptron(test, config.widths, config.seed)
    kept = {update: folder / name for update, name in files.items()}
    part = test.take(np.arange(min(config.slow_images, len(test))))
    return {"moments": diagnose(model, kept, part, epsilon=config.epsilon, position="update")}
