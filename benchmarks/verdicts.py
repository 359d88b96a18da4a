"""Verdicts on MNIST classifiers whose truth is known, three seeds each, beside the figures that the truth rests on.

    UNMASK_DATA=... python -m benchmarks.verdicts [FOLDER]

Four kinds: a perceptron trained long at a high Adam rate (masked, by float32's rounding: float64 and the log-odds loss
fool it on the same weights); the same trained briefly; the same trained with PGD; and a linear model, whose robust
accuracy has a closed form. Writes FOLDER/verdicts.json, by default in results/.
"""

from __future__ import annotations

import copy
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unmask.attacks import FGSM, PGD, Trial
from unmask.audit import audit
from unmask.data import Dataset, load
from unmask.losses import cross_entropy
from unmask.models import build
from unmask.objectives import Adversarial, Normal
from unmask.record import write_atomically
from unmask.training import Trainer

SEEDS = (0, 1, 2)
KINDS = {
    "long, lr 0.01": ("mlp", 0.25, Trainer(updates=10_000, learning_rate=0.01)),
    "brief, lr 0.001": ("mlp", 0.25, Trainer(updates=400, learning_rate=0.001)),
    "PGD, epsilon 0.1": (
        "mlp",
        0.1,
        Trainer(
            updates=4_000, learning_rate=0.001, objective=Adversarial(attack=PGD(epsilon=0.1, steps=10, keep="last"))
        ),
    ),
    "linear": ("linear", 0.02, Trainer(updates=4_000, learning_rate=0.001, objective=Normal())),
}


def error(model: nn.Module, images: Tensor, labels: Tensor, attack: Any) -> float:
    """Error under an attack, in per cent."""
    return 100 - 100 * Trial(attacks=[attack])(model, images, labels).correct.double().mean().item()


def linear_robust_accuracy(model: nn.Module, images: Tensor, labels: Tensor, epsilon: float) -> float:
    """The exact robust accuracy of a linear model, in per cent: each pixel goes to whichever end of its range hurts."""
    (layer,) = (part for part in model.modules() if isinstance(part, nn.Linear))
    weight, bias, x = layer.weight.detach().double(), layer.bias.detach().double(), images.flatten(1).double()
    low, high = (x - epsilon).clamp(0, 1), (x + epsilon).clamp(0, 1)
    robust = torch.ones(len(x), dtype=torch.bool)
    for rival in range(len(weight)):
        gap = weight[rival] - weight[labels]
        worst = (torch.where(gap > 0, high, low) * gap).sum(1) + bias[rival] - bias[labels]
        robust &= (worst < 0) | (labels == rival)
    return 100 * robust.double().mean().item()


def measure(kind: str, seed: int, training: Dataset, test: Dataset) -> dict[str, Any]:
    """Train one model of a kind, audit it on 1,000 test images, and measure what its truth rests on, on all."""
    name, epsilon, trainer = KINDS[kind]
    started = time.perf_counter()
    model = build(name, inputs=(1, 28, 28), classes=10, initialisation="xavier", seed=seed)
    for _ in replace(trainer, seed=seed)(model, training):
        pass
    model.eval()
    trained = time.perf_counter() - started
    few = test.sample(1000, seed=seed)
    report = audit(model, few.images, few.labels, epsilon=epsilon, seed=seed)
    blunt = FGSM(epsilon=epsilon, loss=cross_entropy)
    figures = {
        "natural error": error(model, test.images, test.labels, lambda m, x, y: x),
        "FGSM error, cross entropy, float32": error(model, test.images, test.labels, blunt),
        "FGSM error, cross entropy, float64": error(
            copy.deepcopy(model).double(), test.images.double(), test.labels, blunt
        ),
        "FGSM error, log-odds, float32": error(model, test.images, test.labels, FGSM(epsilon=epsilon)),
    }
    if name == "linear":
        whole = audit(model, test.images, test.labels, epsilon=epsilon, seed=seed)
        figures["robust accuracy, audit"] = 100 * whole.robust_accuracy
        figures["robust accuracy, closed form"] = linear_robust_accuracy(model, test.images, test.labels, epsilon)
    return {
        "kind": kind,
        "seed": seed,
        "epsilon": epsilon,
        "verdict": report.verdict,
        "causes": report.causes,
        "claimed": str(report.claimed),
        "robust": str(report.robust),
        "figures": figures,
        "training seconds": trained,
        "audit seconds": report.seconds,
    }


def measure_all() -> Iterator[dict[str, Any]]:
    """Every kind and seed."""
    training, test = load("mnist", "train"), load("mnist", "test")
    for kind in KINDS:
        for seed in SEEDS:
            yield measure(kind, seed, training, test)


def main(folder: Path) -> None:
    """Measure all and write the record after each."""
    rows = []
    for row in measure_all():
        rows.append(row)
        shown = ", ".join(f"{name} {value:.1f}" for name, value in row["figures"].items())
        print(f"{row['kind']}, seed {row['seed']}: {row['verdict']} {row['causes']}; {shown}", flush=True)
        content = {"command": "python -m benchmarks.verdicts", "torch": torch.__version__, "rows": rows}
        write_atomically(folder / "verdicts.json", json.dumps(content, indent=1).encode() + b"\n")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "results"))
