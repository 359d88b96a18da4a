"""The runs of Yue 2017: train a perceptron, and measure it at each epoch and, with attacks, at some."""

from __future__ import annotations

import base64
import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from unmask.attacks import FGSM, predict
from unmask.data import Dataset, load
from unmask.losses import cross_entropy, log_odds
from unmask.models import load_weights, save_weights
from unmask.numerics import Batches
from unmask_experiments.diagnostics import diagnose
from unmask_experiments.follow import follow, weights_folder
from unmask_experiments.measurement import margin_summary
from unmask_experiments.perceptron_config import PerceptronConfig, load_images, measurement_of, trainer_of
from unmask_experiments.perceptrons import SIZES, operations, perceptron
from unmask_experiments.sweeps import finite

WIDTHS = ((50, 75), (100, 150), (400, 600), (200,), (200, 300, 300), (200, 300, 300, 300))
"""Narrower, wider, shallower and deeper than the paper's (200, 300), for its conjecture in section 7."""

LARGER_BATCH = 500
"""A second reading of the batch size: overfitting begins later, and log-odds and float32 part ways."""

CHOICES = {
    "batch": "100 images, the paper does not state it; also 500, with which overfitting begins later",
    "images": "pixels in [0, 1]; 10,000 of the 60,000 training images, by a seeded cut, are for validation",
    "weights": "Xavier-uniform, zero biases, a seed for each run (the paper: one fixed seed)",
    "L2": "0.001 times half the sum of squares of the weight matrices, biases left out",
    "SGD": "learning rate 0.1, and 0.01",
    "adversarial training": "0.5 J(x) + 0.5 J(x_fgsm), epsilon 0.1, one forward for both",
    "attack": "per-example cross entropy in the network's precision, true labels, adversarial images cut to [0, 1]; "
    "'unclipped' without the cut; 'recast' with the same weights in the other precision; 'log-odds' with that loss",
    "float64": "trained and attacked in float64; 'twin' is its attack on the float32 network of the same seed",
    "subnormals": "kept, not flushed to zero",
    "PGD": "40 steps of epsilon / 16 from a random start, best point kept, on 500 test images",
    "Square": "1,000 queries, on the same 500 test images, plain and L2 alone",
    "transfer": "FGSM on another network of the same kind, trained for 2,000 updates with Adam at 0.001",
    "other data": "scikit-learn's 8 x 8 digits, 2,000 epochs of 11 updates",
    "widths": "section 7 is a conjecture: networks of other widths and depths trained for 25 epochs",
}
"""Choices that the paper leaves open, and those made here."""


@dataclass(frozen=True, kw_only=True)
class Config(PerceptronConfig):
    """One run; the defaults are the paper's network, plain.

    Attributes:
        training: ``"l2"`` adds the penalty of weight ``l2``.
        precision: of the training and of the network's own attack.
        moments: the epochs after which the network is attacked.
    """

    widths: tuple[int, ...] = (200, 300)
    batch_size: int = 100
    training: Literal["plain", "l2", "adversarial"] = "plain"
    l2: float = 0.001
    precision: Literal["float32", "float64"] = "float32"
    epochs: int = 200
    moments: tuple[int, ...] = (1, 2, 5, 10, 15, 20, 25, 35, 50, 75, 100, 125, 150, 175, 200)
    epsilon: float = 0.1
    epsilons: tuple[float, ...] = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
    slow_images: int = 500


PAPER = Config()
QUICK = replace(
    PAPER,
    epochs=10,
    moments=(1, 2, 5, 10),
    test_images=2_000,
    probe_images=2_000,
    slow_images=100,
    surrogate_updates=800,
)
SMOKE = replace(
    PAPER,
    data="digits",
    widths=(32, 16),
    epochs=4,
    moments=(1, 2, 4),
    test_images=100,
    probe_images=100,
    slow_images=20,
    surrogate_updates=20,
)


def grid(profile: Config, *, seeds: int = 3) -> list[Config]:
    """Return all runs of the artefacts, the most telling first.

    Example:
        >>> len(grid(SMOKE, seeds=1))
        18
    """
    first = [
        profile,
        replace(profile, precision="float64"),
        replace(profile, training="l2"),
        replace(profile, training="adversarial"),
        replace(profile, optimizer="sgd", learning_rate=0.1),
        replace(profile, optimizer="sgd", learning_rate=0.01),
        replace(profile, batch_size=LARGER_BATCH),
        replace(profile, batch_size=LARGER_BATCH, precision="float64"),
        *diagnosed(profile),
        *widths(profile),
        *digits(profile),
    ]
    return [replace(config, seed=seed) for seed in range(seeds) for config in first]


def widths(profile: Config) -> list[Config]:
    """Return the networks of other widths and depths, trained for 25 epochs."""
    short = min(25, profile.epochs)
    kept = tuple(epoch for epoch in profile.moments if epoch <= short)
    return [replace(profile, widths=_scaled(one, profile), epochs=short, moments=kept) for one in WIDTHS]


def diagnosed(profile: Config) -> list[Config]:
    """Return the diagnostics of the plain networks, and of those with L2."""
    return [replace(profile, training=training, examine=True) for training in ("plain", "l2")]


def digits(profile: Config) -> list[Config]:
    """Return runs on scikit-learn's digits, plain and with L2, for ten times the epochs, each a fiftieth as long."""
    longer = tuple(10 * epoch for epoch in profile.moments)
    plain = replace(profile, data="digits", epochs=10 * profile.epochs, moments=longer)
    return [plain, replace(plain, training="l2")]


def _scaled(widths: tuple[int, ...], profile: Config) -> tuple[int, ...]:
    """Return the widths in proportion to the profile's, whose first stands for 200 units."""
    return tuple(width * profile.widths[0] // 200 for width in widths)


def cost(config: Config) -> float:
    """Estimate the floating-point operations of the training."""
    images = config.epochs * (config.train_images or SIZES[config.data][0])
    passes = 3.0 if config.training == "adversarial" else 0.2 if config.examine else 1.0
    return operations(config.data, config.widths, images=images, passes=passes, precision=config.precision)


def run(
    config: Config, *, work: Path | None = None, progress: Callable[[float], None] = lambda share: None
) -> dict[str, Any]:
    """Train one network; measure its loss and norms after each epoch, and attack it after some.

    A float64 run also attacks its float32 counterpart: the network of the same seed, from its own work folder if it has
    run, or else trained for the purpose.

    Args:
        work: a folder for checkpoints and the weights at each moment; by default a temporary one.
        progress: called with the share that is done.

    Example:
        >>> record = run(SMOKE)
        >>> record["epochs"]["epoch"], [moment["epoch"] for moment in record["moments"]]
        ([1, 2, 3, 4], [1, 2, 4])
    """
    if work is None:
        with tempfile.TemporaryDirectory() as folder:
            return run(config, work=Path(folder) / "run", progress=progress)
    (train, test), validation = load_images(config), load(config.data, "validation")
    if config.examine:
        return _diagnosed(config, test, work)
    per_epoch = math.ceil(len(train) / config.batch_size)
    single: Path | None = None
    if config.precision == "float64":
        single = weights_folder(run, replace(config, precision="float32"), work, map(_weights, config.moments))
    model = perceptron(train, config.widths, config.seed)
    measured_at = measurement_of(config, train, test, repairs=(config.epsilon, 0.25))

    def measure(update: int) -> Mapping[str, Any]:
        epoch = update // per_epoch
        found: dict[str, Any] = {"epoch": epoch, **_every_epoch(model, validation)}
        if epoch in config.moments:
            save_weights(model, work / _weights(epoch))
            last = epoch == config.epochs
            found["moment"] = measured_at(model, thorough=last) | {"specimen": _example(model, test, config.epsilon)}
            if single is not None:
                load_weights(other := perceptron(train, config.widths, config.seed), single / _weights(epoch))
                found["moment"]["twin"] = _transfer(model, other, test, config)
        cleaned: dict[str, Any] = finite(found)
        return cleaned

    penalty = config.l2 if config.training == "l2" else 0.0
    training = trainer_of(config, per_epoch * config.epochs, penalty=penalty, precision=config.precision)
    measured, diverged = follow(training, model, train, measure, work=work, progress=progress)
    rows = [{"update": at, **values} for at, values in measured.items()]
    names = [name for name in rows[0] if name != "moment"] if rows else []
    return {
        "epochs": {name: [row[name] for row in rows] for name in names},
        "moments": [
            {"epoch": row["epoch"], "update": row["update"], **row["moment"]} for row in rows if "moment" in row
        ],
        "diverged": diverged,
        "precision": config.precision,
        "choices": dict(CHOICES),
    }


def _weights(epoch: int) -> str:
    return f"epoch-{epoch:04d}.safetensors"


def _diagnosed(config: Config, test: Dataset, work: Path) -> dict[str, Any]:
    """Diagnose the networks of the same run."""
    folder = weights_folder(run, replace(config, examine=False), work, map(_weights, config.moments))
    model = perceptron(test, config.widths, config.seed)
    kept = {epoch: folder / _weights(epoch) for epoch in config.moments}
    part = test.take(np.arange(min(config.slow_images, len(test))))
    return {"moments": diagnose(model, kept, part, epsilon=config.epsilon, position="epoch")}


def _transfer(source: nn.Module, target: nn.Module, test: Dataset, config: Config) -> dict[str, Any]:
    """Count the images that the target still classifies correctly when FGSM is run on the source."""
    attack = FGSM(max(config.epsilons), loss=cross_entropy)

    def measure(inputs: Tensor, labels: Tensor) -> Tensor:
        points = attack.sweep(source, inputs.double(), labels, epsilons=config.epsilons)
        return torch.stack([predict(target, point.float()) == labels for point in points], dim=1)

    (correct,) = Batches(size=1000)(measure, test.images, test.labels)
    return {"epsilons": list(config.epsilons), "standing": correct.sum(0).tolist()}


def _every_epoch(model: nn.Module, validation: Dataset) -> dict[str, Any]:
    """Measure validation loss and errors, saturation there, and the spectral norm of each layer's weights."""
    dtype = next(model.parameters()).dtype

    def measure(inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            logits = model(inputs.to(dtype))
        return -log_odds(logits.double(), labels), logits.argmax(1) == labels

    found = margin_summary(*Batches(size=1000)(measure, validation.images, validation.labels))
    kept = {f"validation_{name}": found[name] for name in ("loss", "errors", "images", "saturated", "vanished")}
    norms = [torch.linalg.matrix_norm(one.detach(), 2).item() for one in model.parameters() if one.ndim > 1]
    return kept | {"spectral_norms": norms}


def _example(model: nn.Module, test: Dataset, epsilon: float) -> dict[str, Any]:
    """Return the first 2 that FGSM makes into a 1, as in the paper, else the first image with another prediction."""
    part = test.sample(1000, 0)
    inputs = part.images.to(next(model.parameters()).dtype)
    changed = FGSM(epsilon=epsilon, loss=cross_entropy)(model, inputs, part.labels)
    before, after = predict(model, inputs), predict(model, changed)
    fooled = (before == part.labels) & (after != part.labels)
    rows = (
        fooled & (part.labels == 2) & (after == 1)
    ).nonzero().flatten().tolist() or fooled.nonzero().flatten().tolist()
    row = rows[0] if rows else 0
    pixels = [(255 * one[row]).round().to(torch.uint8) for one in (inputs, changed)]
    clean, adversarial = (base64.b64encode(one.numpy().tobytes()).decode() for one in pixels)
    return {
        "shape": list(inputs.shape[1:]),
        "clean": clean,
        "adversarial": adversarial,
        "label": int(part.labels[row]),
        "prediction": int(before[row]),
        "adversarial_prediction": int(after[row]),
    }
