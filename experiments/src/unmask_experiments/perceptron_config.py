"""The configuration of a run of the two papers on perceptrons, its images, its training and its measurement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

from unmask.attacks import FGSM
from unmask.data import Dataset, load
from unmask.losses import cross_entropy
from unmask.training import Trainer
from unmask.training.objectives import Adversarial, Normal, Objective
from unmask_experiments.evaluation import shuffled
from unmask_experiments.measurement import NetworkMeasurement
from unmask_experiments.perceptrons import WeightPenalty, surrogate_network, with_label_noise
from unmask_experiments.printed_adam import VARIANTS


@dataclass(frozen=True, kw_only=True)
class PerceptronConfig:
    """The configuration of one run; each paper gives the defaults.

    Attributes:
        training: ``"adversarial"`` means 0.5 J(x) + 0.5 J(x_fgsm) at ``epsilon``, J being cross entropy.
        l2: weight of the penalty on the weight matrices.
        epsilon: the paper's own; ``epsilons``: those for the attacks as the paper did them.
        train_images: number of training images; 0 for all.
        label_noise: the share of training labels that are replaced.
        probe_images: number of training images that are measured; ``slow_images``: of test images under PGD and Square.
        surrogate_updates: the training of the network from which attacks are transferred; 0 for none.
        examine: diagnose the networks of the same run without this, instead of training one.
    """

    data: str = "mnist"
    widths: tuple[int, ...]
    optimizer: str = "adam"
    learning_rate: float = 0.001
    batch_size: int
    training: str
    l2: float
    epsilon: float
    epsilons: tuple[float, ...]
    train_images: int = 0
    label_noise: float = 0.0
    test_images: int = 10_000
    probe_images: int = 10_000
    slow_images: int
    surrogate_updates: int = 2_000
    examine: bool = False
    seed: int = 0


def load_images(config: PerceptronConfig) -> tuple[Dataset, Dataset]:
    """Return the training images, with the configuration's label noise, and the test images in random order."""
    train, test = load(config.data, "train"), load(config.data, "test")
    train = with_label_noise(train.sample(config.train_images or len(train), 0), config.label_noise, config.seed)
    return train, shuffled(test, config.test_images)


def measurement_of(
    config: PerceptronConfig,
    train: Dataset,
    test: Dataset,
    *,
    repairs: tuple[float, ...],
    scales: tuple[float, ...] = (),
) -> NetworkMeasurement:
    """Return the measurement of the network during training."""
    other: nn.Module | None = None
    if config.surrogate_updates:
        other = surrogate_network(train, config.widths, updates=config.surrogate_updates, seed=config.seed)
    return NetworkMeasurement(
        epsilon=config.epsilon,
        epsilons=config.epsilons,
        repairs=repairs,
        test=test,
        train=train.sample(config.probe_images, 1),
        slow_images=config.slow_images,
        scales=scales,
        surrogate=other,
    )


def trainer_of(
    config: PerceptronConfig, updates: int, *, penalty: float, precision: Literal["float32", "float64"] = "float32"
) -> Trainer:
    """Return the training of the network; ``penalty`` is the weight of L2 regularisation."""
    objective: Objective = Normal()
    if config.training == "adversarial":
        objective = Adversarial(attack=FGSM(epsilon=config.epsilon, loss=cross_entropy), clean_weight=0.5)
    if penalty:
        objective = WeightPenalty(objective=objective, weight=penalty)
    return Trainer(
        updates=updates,
        batch_size=config.batch_size,
        objective=objective,
        optimizer=VARIANTS.get(config.optimizer, config.optimizer),
        learning_rate=config.learning_rate,
        precision=precision,
        seed=config.seed,
    )
