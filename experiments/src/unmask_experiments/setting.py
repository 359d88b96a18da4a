"""What a run of the two papers on perceptrons is made of: a setting, its images, its training, what is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

from unmask.attacks import FGSM
from unmask.data import Dataset, load
from unmask.data.dataset import permutation
from unmask.losses import cross_entropy
from unmask.training import Trainer
from unmask.training.objectives import Adversarial, Normal, Objective
from unmask_experiments.moments import Moment
from unmask_experiments.perceptrons import WeightPenalty, surrogate, with_label_noise


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One run, whatever its length; each paper gives the defaults.

    Attributes:
        training: ``"adversarial"`` means 0.5 J(x) + 0.5 J(x_fgsm) at ``epsilon``, J being cross entropy.
        l2: weight of the penalty on the weight matrices.
        epsilon: the paper's own; ``epsilons``: those for the attacks as the paper did them.
        train_images: how many of the training images are used; 0 for all.
        label_noise: the share of training labels that are replaced.
        probe_images: how many training images are measured; ``slow_images``: test images under PGD and Square.
        surrogate_updates: the training of the network from which attacks are transferred; 0 for none.
        examine: run slow attacks on the networks that the same run without this keeps, instead of training one.
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


def images(setting: Setting) -> tuple[Dataset, Dataset]:
    """The training images, some of their labels perhaps replaced, and the test images in random order."""
    train, test = load(setting.data, "train"), load(setting.data, "test")
    train = with_label_noise(train.sample(setting.train_images or len(train), 0), setting.label_noise, setting.seed)
    return train, test.take(permutation(len(test), 0)[: setting.test_images])


def moment(
    setting: Setting, train: Dataset, test: Dataset, *, repairs: tuple[float, ...], scales: tuple[float, ...] = ()
) -> Moment:
    """What is measured of the network on the way."""
    other: nn.Module | None = None
    if setting.surrogate_updates:
        other = surrogate(train, setting.widths, updates=setting.surrogate_updates, seed=setting.seed)
    return Moment(
        epsilon=setting.epsilon,
        epsilons=setting.epsilons,
        repairs=repairs,
        test=test,
        train=train.sample(setting.probe_images, 1),
        slow_images=setting.slow_images,
        scales=scales,
        surrogate=other,
    )


def trainer(
    setting: Setting, updates: int, *, penalty: float, precision: Literal["float32", "float64"] = "float32"
) -> Trainer:
    """The training of the network; ``penalty`` is the weight of L2 regularisation."""
    objective: Objective = Normal()
    if setting.training == "adversarial":
        objective = Adversarial(attack=FGSM(epsilon=setting.epsilon, loss=cross_entropy), clean_weight=0.5)
    if penalty:
        objective = WeightPenalty(objective=objective, weight=penalty)
    return Trainer(
        updates=updates,
        batch_size=setting.batch_size,
        objective=objective,
        optimizer=setting.optimizer,
        learning_rate=setting.learning_rate,
        precision=precision,
        seed=setting.seed,
    )
