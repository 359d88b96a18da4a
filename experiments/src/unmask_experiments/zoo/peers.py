"""Warnings of other libraries on the same models: AutoAttack's flags, and ART's gradient check.

AutoAttack's package is on no package index, so its flags are made anew from their published description
(github.com/fra31/auto-attack, flags_doc.md; Croce & Hein 2020): four of five, each with the published threshold. The
fifth asks whether a model runs an optimisation when it is used, which none here does. Its white-box attacks are ours
(Auto-PGD on cross entropy, targeted Auto-PGD on DLR) without FAB. ART's check is its own (``art.metrics``).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unmask.attacks import APGD, Square, TargetedAPGD
from unmask.data import Dataset
from unmask.gradients import input_gradient
from unmask.losses import cross_entropy, dlr
from unmask.numerics import derive_seed, random_state_kept, undisturbed
from unmask.threats import Linf
from unmask_experiments.evaluation import Attack
from unmask_experiments.zoo.cases import Case
from unmask_experiments.zoo.networks import audited_images, batches, trained_network
from unmask_experiments.zoo.worst_case import correct_under_all

IMAGES = 200
"""Number of images; AutoAttack's search takes long where its other attacks fail."""

RUNS, VARIES, SUMS, SQUARE = 5, 1e-4, 1e-5, 0.002
"""AutoAttack's: passes that must agree, and by how much, in L2 of normalised logits; how near to a distribution outputs
must be; and the share of the images that a search must win to be mentioned."""

QUERIES = 5_000

FLAGS = ("randomised", "probabilities", "zero gradient", "Square better", "ART: gradient zero, NaN or infinite")
"""The first four are AutoAttack's."""


def ask_peers(case: Case, *, work: Path, progress: Callable[[float], None] = lambda share: None) -> dict[str, Any]:
    """Return the flags that the other libraries raise on a pair's model; None where the library is not installed."""
    data, model = audited_images(case.data, min(IMAGES, case.images)), case.published(trained_network(case, work))
    found = {
        "randomised": randomised(model, data.images.to(batches().device)),
        "probabilities": probabilities(model, data.images.to(batches().device)),
        "zero gradient": zero_gradient(model, data, case.epsilon, case.seed),
        "Square better": search_wins(case, model, data),
        "ART: gradient zero, NaN or infinite": bad_gradients(model, data),
    }
    return {"images": len(data), "flags": {name: found[name] for name in FLAGS}}


def randomised(model: nn.Module, images: Tensor) -> bool:
    """Return True if logits, divided by their length, differ between passes by more than 1e-4.

    Example:
        >>> randomised(nn.Flatten(), torch.rand(3, 1, 2, 2)), randomised(nn.Dropout(), torch.rand(3, 9))
        (False, True)
    """
    with torch.no_grad(), random_state_kept():
        runs = torch.stack([nn.functional.normalize(model(images), dim=1) for _ in range(RUNS)])
    return any(bool((one - other).norm(dim=1).max() > VARIES) for one in runs for other in runs)


def probabilities(model: nn.Module, images: Tensor) -> bool:
    """Return True if all outputs are in [0, 1] and each row's sum is 1, give or take 1e-5.

    Example:
        >>> probabilities(nn.Flatten(), torch.rand(3, 1, 2, 2)), probabilities(nn.Softmax(1), torch.rand(3, 9))
        (False, True)
    """
    with torch.no_grad():
        outputs = model(images)
    inside = bool((outputs > -SUMS).all() and (outputs < 1 + SUMS).all())
    return inside and bool(((outputs.sum(1) - 1).abs() < SUMS).all())


def zero_gradient(model: nn.Module, data: Dataset, epsilon: float, seed: int) -> bool:
    """Return True if the gradient of DLR at a random point of the ball is all zero for any image that is correct.

    AutoAttack does not attack the others; where the true class is third, DLR is 1 for every image.
    """

    def look(images: Tensor, labels: Tensor) -> Tensor:
        start = Linf(epsilon=epsilon).random_start(images, seed=seed)
        with undisturbed(model, seed=seed):
            at = input_gradient(model, start, labels, loss=dlr)
        return (at.gradient == 0).flatten(1).all(1) & (at.logits.argmax(1) == labels)

    (zero,) = batches()(look, data.images, data.labels)
    return bool(zero.any())


def search_wins(case: Case, model: nn.Module, data: Dataset) -> bool:
    """Return True if Square takes more than 0.2 points from the accuracy under the white-box attacks."""
    epsilon, seed = case.epsilon, derive_seed(case.seed, "peers")
    white: list[Attack] = [
        APGD(epsilon=epsilon, loss=cross_entropy, seed=seed),
        TargetedAPGD(epsilon=epsilon, seed=seed),
    ]
    left = correct_under_all(model, white, data)
    after = correct_under_all(model, [*white, Square(epsilon=epsilon, queries=QUERIES, seed=seed)], data)
    return float(left.double().mean() - after.double().mean()) > SQUARE


def bad_gradients(model: nn.Module, data: Dataset) -> bool | None:
    """Return True if ART finds a gradient of cross entropy that is all zero, NaN or infinite for any image."""
    if find_spec("art") is None:
        return None
    library, metrics = import_module("art.estimators.classification"), import_module("art.metrics")
    shape, count = tuple(data.images.shape[1:]), len(data.classes)
    classifier = library.PyTorchClassifier(model, loss=nn.CrossEntropyLoss(), input_shape=shape, nb_classes=count)
    # Labels by their number, which its documentation allows, fail in its batches of one.
    labels = nn.functional.one_hot(data.labels, count).numpy()
    return bool(metrics.loss_gradient_check(classifier, data.images.numpy(), labels, verbose=False).any())
