"""A network of the zoo: building and training. Its weights are saved, and identified by their digest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unmask.attacks import FGSM, PGD, predict
from unmask.data import Dataset, load
from unmask.losses import log_odds
from unmask.models import build, digest, load_weights, save_weights
from unmask.models.masked import InputNoise, JumpReLU, KWinners, Thermometer, with_activation
from unmask.numerics import Batches, derive_seed
from unmask.training import Steps, Trainer
from unmask.training.objectives import Adversarial, Distilled, LogitDistance, Normal, Objective, Tempered
from unmask_experiments.evaluation import shuffled
from unmask_experiments.follow import weights_folder
from unmask_experiments.perceptrons import WeightPenalty

WEIGHTS = "weights.safetensors"
TRIES = 3
"""Tries of a run that is stuck at chance, each with other weights and a longer warm-up."""

STEPS = 7
"""Of PGD in training."""

LEVELS, WINNERS, RISE, SIGMA = 10, 0.2, 1.0, 0.2
"""Of the defences that networks are trained with: levels of the thermometer, share of winners, the jump, the noise."""

SHAPES: Mapping[str, tuple[int, int, int]] = {"digits": (1, 8, 8), "mnist": (1, 28, 28)}


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network of the zoo and its training; the seed gives weights, order and noise.

    Attributes:
        network: ``"linear"``, ``"mlp"``, or ``"cnn"``, which is LeNet+.
        size: channels of LeNet+'s first layer, or units of the perceptron's first; its second has half as many.
        method: a key of ``METHODS``; ``strength``: its epsilon, penalty or temperature.
        within: the defence that the network is trained with, a key of ``WITHIN``.
        warmup: updates over which the learning rate rises.
    """

    data: str = "mnist"
    network: str = "cnn"
    size: int = 8
    method: str = "normal"
    strength: float = 0.0
    within: str = ""
    updates: int = 2_000
    learning_rate: float = 0.001
    batch_size: int = 64
    warmup: int = 0
    seed: int = 0


Made = Callable[[float, nn.Module | None], Objective]

METHODS: Mapping[str, Made] = {
    "normal": lambda strength, teacher: Normal(),
    "high rate": lambda strength, teacher: Normal(),
    "l2": lambda strength, teacher: WeightPenalty(objective=Normal(), weight=strength),
    "fgsm": lambda strength, teacher: Adversarial(attack=FGSM(epsilon=strength, loss=log_odds)),
    "pgd": lambda strength, teacher: Adversarial(attack=PGD(epsilon=strength, steps=STEPS, keep="last", loss=log_odds)),
    "logit distance": lambda strength, teacher: LogitDistance(epsilon=strength, loss=log_odds),
    "tempered": lambda strength, teacher: Tempered(temperature=strength),
    "distilled": lambda strength, teacher: _distilled(strength, teacher),
}
"""The objective of each method, from its strength and, for distillation, the teacher."""

PASSES = {"fgsm": 5, "pgd": 3 + 2 * STEPS, "logit distance": 10, "distilled": 4}
"""Passes over a batch in an update, where there are not 3."""

WITHIN: Mapping[str, Callable[[nn.Module], nn.Module]] = {
    "": lambda model: model,
    "thermometer": lambda model: Thermometer(model, LEVELS),
    "k winners": lambda model: with_activation(model, KWinners(share=WINNERS)),
    "jump": lambda model: with_activation(model, JumpReLU(rise=RISE)),
    "noise": lambda model: InputNoise(model, SIGMA),
}
"""The defences that are part of a network while it is trained."""


def untrained(config: Network, seed: int) -> nn.Module:
    """Build the network with the weights of a seed.

    Example:
        >>> len(untrained(Network(data="digits", network="mlp", size=8), seed=0))
        6
    """
    channels, height, width = SHAPES[config.data]
    channels *= LEVELS if config.within == "thermometer" else 1
    options: dict[str, Any] = {"cnn": {"width": config.size}, "mlp": {"widths": (config.size, config.size // 2)}}
    name = {"cnn": "lenet+"}.get(config.network, config.network)
    made = build(
        name, inputs=(channels, height, width), classes=10, initialisation="xavier", seed=seed,
        **options.get(config.network, {}),
    )  # fmt: skip
    return WITHIN[config.within](made)


def train(config: Network, *, work: Path, progress: Callable[[float], None] = lambda share: None) -> dict[str, Any]:
    """Train one network and save its weights in ``work``; return their digest and their accuracy on clean images."""
    data, teacher = load(config.data, "train"), None
    if config.method == "distilled":
        teacher = trained_network(replace(config, method="tempered"), work)
    stuck: list[int] = []
    for attempt in range(TRIES):
        seed = config.seed if not attempt else derive_seed(config.seed, "again", attempt) % 2**31
        model = placed(untrained(config, seed))
        trainer = Trainer(
            updates=config.updates,
            batch_size=config.batch_size,
            objective=METHODS[config.method](config.strength, teacher),
            learning_rate=config.learning_rate,
            schedule=Steps(at=(), factors=(), warmup=config.warmup + attempt * config.updates // 5),
            seed=seed,
        )
        last = None
        for last in trainer(model, data, checkpoint=work / "checkpoint" / f"{attempt}", resume=True):
            progress(last.update / config.updates)
        if last is None or not last.stuck:
            break
        stuck.append(seed)
    save_weights(model, work / WEIGHTS)
    test = audited_images(config.data, 1_000)
    (right,) = batches()(lambda x, y: predict(model, x) == y, test.images, test.labels)
    return {"weights": digest(model), "stuck": stuck, "right": int(right.sum()), "images": len(test)}


def trained_network(config: Network, work: Path) -> nn.Module:
    """Return the network of a training, which is run now if need be; in evaluation mode."""
    config = network_of(config)
    beside = work.parent.parent / "networks" / work.name  # the same for every stage
    folder = weights_folder(train, config, beside, [WEIGHTS])
    model = untrained(config, seed=0)
    load_weights(model, folder / WEIGHTS)
    return placed(model).eval()


def network_of(config: Network) -> Network:
    """Return the network of a pair: the same settings and no others.

    Example:
        >>> network_of(Network(seed=3)) == Network(seed=3)
        True
    """
    return Network(**{one.name: getattr(config, one.name) for one in fields(Network)})


def operations(config: Network) -> float:
    """Return the relative length of a training: passes over all weights, as often as they are used."""
    per_image = {"linear": 0.01, "mlp": config.size / 1_000, "cnn": (config.size / 8) ** 2}[config.network]
    area = SHAPES[config.data][1] ** 2 / 784
    return per_image * area * config.updates * config.batch_size * PASSES.get(config.method, 3)


def audited_images(data: str, count: int) -> Dataset:
    """Return test images in a random order that is always the same: a fair sample."""
    return shuffled(load(data, "test"), count)


def placed(model: nn.Module) -> nn.Module:
    """Return the network on a GPU where there is one."""
    return model.to(device())


def device() -> torch.device:
    """Return a GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def batches() -> Batches:
    """Return the batches for test images: on a GPU all at once."""
    where = device()
    return Batches(size=128 if where.type == "cpu" else 1_000, device=where)


def _distilled(temperature: float, teacher: nn.Module | None) -> Objective:
    assert teacher is not None, "distillation needs a teacher"
    return Distilled(teacher=teacher, temperature=temperature)
