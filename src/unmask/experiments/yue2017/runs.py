"""One run of Yue 2017: train a perceptron, and measure it at each epoch and, with attacks, at some."""

from __future__ import annotations

import base64
import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from unmask.attacks import FGSM
from unmask.attacks.trial import predict
from unmask.data import Dataset, load
from unmask.data.dataset import permutation
from unmask.experiments.moments import Moment, finite, summarise
from unmask.experiments.perceptrons import (
    SIZES,
    WeightPenalty,
    follow,
    operations,
    perceptron,
    surrogate,
    with_label_noise,
)
from unmask.losses import cross_entropy, log_odds
from unmask.numerics import Batches
from unmask.objectives import Adversarial, Normal, Objective
from unmask.sweeps import identify
from unmask.training import Trainer
from unmask.weights import load_weights, save_weights

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
    "transfer": "FGSM on another network of the same kind, trained for 2,000 updates with Adam at 0.001",
    "other data": "scikit-learn's 8 x 8 digits, 2,000 epochs of 11 updates",
    "widths": "section 7 is a conjecture: networks of other widths and depths trained for 25 epochs",
}
"""What the paper leaves open, and how it is read here."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """One run; the defaults are the paper's network, plain.

    Attributes:
        training: ``"plain"``, ``"l2"``, or ``"adversarial"``: 0.5 J(x) + 0.5 J(x_fgsm) at ``epsilon``.
        precision: of the training and of the network's own attack.
        moments: the epochs after which the network is attacked.
        train_images: how many of the training images are used; 0 for all.
        label_noise: the share of training labels that are replaced.
        probe_images: how many training images are measured; ``slow_images``: test images under PGD.
        surrogate_updates: the training of the network from which attacks are transferred; 0 for none.
    """

    data: str = "mnist"
    widths: tuple[int, ...] = (200, 300)
    optimizer: str = "adam"
    learning_rate: float = 0.001
    batch_size: int = 100
    training: Literal["plain", "l2", "adversarial"] = "plain"
    l2: float = 0.001
    precision: Literal["float32", "float64"] = "float32"
    epochs: int = 200
    moments: tuple[int, ...] = (1, 2, 5, 10, 15, 20, 25, 35, 50, 75, 100, 125, 150, 175, 200)
    epsilon: float = 0.1
    epsilons: tuple[float, ...] = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
    train_images: int = 0
    label_noise: float = 0.0
    test_images: int = 10_000
    probe_images: int = 10_000
    slow_images: int = 500
    surrogate_updates: int = 2_000
    seed: int = 0


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
    """All runs that the artefacts need, the most telling first; the widths of section 7 with one seed.

    Example:
        >>> len(grid(SMOKE, seeds=1))
        16
    """
    repeated = [
        profile,
        replace(profile, precision="float64"),
        replace(profile, training="l2"),
        replace(profile, training="adversarial"),
        replace(profile, optimizer="sgd", learning_rate=0.1),
        replace(profile, optimizer="sgd", learning_rate=0.01),
        replace(profile, batch_size=LARGER_BATCH),
        replace(profile, batch_size=LARGER_BATCH, precision="float64"),
    ]
    return [
        *repeated,
        *widths(profile),
        *digits(profile),
        *(replace(config, seed=seed) for seed in range(1, seeds) for config in repeated),
    ]


def widths(profile: Config) -> list[Config]:
    """Networks of other widths and depths, trained for 25 epochs."""
    short = min(25, profile.epochs)
    kept = tuple(epoch for epoch in profile.moments if epoch <= short)
    return [replace(profile, widths=_scaled(one, profile), epochs=short, moments=kept) for one in WIDTHS]


def digits(profile: Config) -> list[Config]:
    """Other data: scikit-learn's digits, plain and with L2, for ten times the epochs, each a fiftieth as long."""
    longer = tuple(10 * epoch for epoch in profile.moments)
    plain = replace(profile, data="digits", epochs=10 * profile.epochs, moments=longer)
    return [plain, replace(plain, training="l2")]


def _scaled(widths: tuple[int, ...], profile: Config) -> tuple[int, ...]:
    """The widths in proportion to the profile's, whose first stands for 200 units."""
    return tuple(width * profile.widths[0] // 200 for width in widths)


def cost(config: Config) -> float:
    """Floating-point operations of the training, about."""
    images = config.epochs * (config.train_images or SIZES[config.data][0])
    passes = 3.0 if config.training == "adversarial" else 1.0
    return operations(config.data, config.widths, images=images, passes=passes, precision=config.precision)


def run(
    config: Config, *, work: Path | None = None, progress: Callable[[float], None] = lambda share: None
) -> dict[str, Any]:
    """Train one network; measure its loss and norms after each epoch, and attack it after some.

    A float64 run also attacks its float32 twin: the network of the same seed, from its own work folder if it has run,
    or else trained for the purpose.

    Args:
        work: a folder to which checkpoints and the weights at each moment go; by default nothing is kept.
        progress: called with the share that is done.

    Example:
        >>> record = run(SMOKE)
        >>> record["epochs"]["epoch"], [moment["epoch"] for moment in record["moments"]]
        ([1, 2, 3, 4], [1, 2, 4])
    """
    if work is None:
        with tempfile.TemporaryDirectory() as folder:
            return run(config, work=Path(folder) / "run", progress=progress)
    train, validation, test = (load(config.data, split) for split in ("train", "validation", "test"))
    train = with_label_noise(train.sample(config.train_images or len(train), 0), config.label_noise, config.seed)
    test = test.take(permutation(len(test), 0)[: config.test_images])
    per_epoch = math.ceil(len(train) / config.batch_size)
    twin = _twin(config, work) if config.precision == "float64" else None
    model = perceptron(train, config.widths, config.seed)
    moment = _moment(config, train, test)

    def measure(update: int) -> Mapping[str, Any]:
        epoch = update // per_epoch
        found: dict[str, Any] = {"epoch": epoch, **_every_epoch(model, validation)}
        if epoch in config.moments:
            save_weights(model, work / _weights(epoch))
            last = epoch == config.epochs
            found["moment"] = moment(model, thorough=last) | {"specimen": _specimen(model, test, config.epsilon)}
            if twin is not None:
                load_weights(other := perceptron(train, config.widths, config.seed), twin / _weights(epoch))
                found["moment"]["twin"] = _transfer(model, other, test, config)
        cleaned: dict[str, Any] = finite(found)
        return cleaned

    trainer = _trainer(config, per_epoch * config.epochs)
    measured, diverged = follow(trainer, model, train, measure, work=work, progress=progress)
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


def _twin(config: Config, work: Path) -> Path:
    """The folder with the weights of the float32 network of the same seed."""
    single = replace(config, precision="float32")
    folder = work.parent / identify(single)
    if not all((folder / _weights(epoch)).is_file() for epoch in config.moments):
        folder = work / "twin"
        run(single, work=folder)
    return folder


def _transfer(source: nn.Module, target: nn.Module, test: Dataset, config: Config) -> dict[str, Any]:
    """How many images the target still classifies correctly when FGSM is run on the source."""

    def measure(images: Tensor, labels: Tensor) -> Tensor:
        points = FGSM.sweep(source, images.double(), labels, epsilons=config.epsilons, loss=cross_entropy)
        return torch.stack([predict(target, point.float()) == labels for point in points], dim=1)

    (standing,) = Batches(size=1000)(measure, test.images, test.labels)
    return {"epsilons": list(config.epsilons), "standing": standing.sum(0).tolist()}


def _every_epoch(model: nn.Module, validation: Dataset) -> dict[str, Any]:
    """Validation loss and errors, saturation there, and the spectral norm of each layer's weights."""
    dtype = next(model.parameters()).dtype

    def measure(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            logits = model(images.to(dtype))
        return -log_odds(logits.double(), labels), logits.argmax(1) == labels

    found = summarise(*Batches(size=1000)(measure, validation.images, validation.labels))
    kept = {f"validation_{name}": found[name] for name in ("loss", "errors", "images", "saturated", "vanished")}
    norms = [torch.linalg.matrix_norm(one.detach(), 2).item() for one in model.parameters() if one.ndim > 1]
    return kept | {"spectral_norms": norms}


def _specimen(model: nn.Module, test: Dataset, epsilon: float) -> dict[str, Any]:
    """The first 2 that FGSM makes into a 1, as the paper shows; else the first image that it makes into another."""
    part = test.sample(1000, 0)
    images = part.images.to(next(model.parameters()).dtype)
    changed = FGSM(epsilon=epsilon, loss=cross_entropy)(model, images, part.labels)
    before, after = predict(model, images), predict(model, changed)
    fooled = (before == part.labels) & (after != part.labels)
    rows = (
        fooled & (part.labels == 2) & (after == 1)
    ).nonzero().flatten().tolist() or fooled.nonzero().flatten().tolist()
    row = rows[0] if rows else 0
    pixels = [(255 * one[row]).round().to(torch.uint8) for one in (images, changed)]
    clean, adversarial = (base64.b64encode(one.numpy().tobytes()).decode() for one in pixels)
    return {
        "shape": list(images.shape[1:]),
        "clean": clean,
        "adversarial": adversarial,
        "label": int(part.labels[row]),
        "prediction": int(before[row]),
        "adversarial_prediction": int(after[row]),
    }


def _moment(config: Config, train: Dataset, test: Dataset) -> Moment:
    other: nn.Module | None = None
    if config.surrogate_updates:
        other = surrogate(train, config.widths, updates=config.surrogate_updates, seed=config.seed)
    return Moment(
        epsilon=config.epsilon,
        epsilons=config.epsilons,
        repairs=(config.epsilon, 0.25),
        test=test,
        train=train.sample(config.probe_images, 1),
        slow_images=config.slow_images,
        surrogate=other,
    )


def _trainer(config: Config, updates: int) -> Trainer:
    objective: Objective = Normal()
    if config.training == "adversarial":
        objective = Adversarial(attack=FGSM(epsilon=config.epsilon, loss=cross_entropy), clean_weight=0.5)
    if config.training == "l2":
        objective = WeightPenalty(objective=objective, weight=config.l2)
    return Trainer(
        updates=updates,
        batch_size=config.batch_size,
        objective=objective,
        optimizer=config.optimizer,
        learning_rate=config.learning_rate,
        precision=config.precision,
        seed=config.seed,
    )
