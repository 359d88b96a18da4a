"""Slow looks at the weights that runs kept: dead hidden units, where they stop PGD, and what a query attack finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unmask.attacks import PGD, Square
from unmask.attacks.trial import predict
from unmask.data import Dataset
from unmask.gradients import input_gradient
from unmask.models.weights import load_weights

Rows = list[dict[str, Any]]

STEPS = {
    "1 full step": (1, 1.0),
    "4 full steps": (4, 1.0),
    "10 steps of a tenth": (10, 0.1),
    "40 steps of a sixteenth": (40, 1 / 16),
    "40 full steps": (40, 1.0),
    "100 steps of a hundredth": (100, 0.01),
}
"""PGD's numbers of steps and their sizes, in units of epsilon."""


QUERIES = 1_000
"""How often Square may ask the network about each image."""


def examine(
    model: nn.Module, kept: Mapping[int, Path], test: Dataset, *, epsilon: float, position: str
) -> list[dict[str, Any]]:
    """Active units, what stops PGD, and Square, with the weights of each file; ``position`` names the keys."""
    found = []
    for at, file in kept.items():
        load_weights(model, file)
        model.eval()
        standing = predict(model, Square(epsilon=epsilon, queries=QUERIES)(model, test.images, test.labels))
        square = {"images": len(test), "queries": QUERIES, "standing": int((standing == test.labels).sum())}
        found.append(
            {position: at, **_active(model, test.images), "pgd": _ends(model, test, epsilon), "square": square}
        )
    return found


def _active(model: nn.Module, images: Tensor) -> dict[str, Any]:
    """For each hidden layer: units active per image (median), images with none, and units active on no image."""
    rows = []
    with torch.no_grad():
        for layer in model.children():
            images = layer(images)
            if isinstance(layer, nn.ReLU):
                on = images > 0
                counts = on.sum(1)
                rows.append(
                    {
                        "units": on.shape[1],
                        "active": float(counts.double().median()),
                        "images_without": int((counts == 0).sum()),
                        "dead": int((~on.any(0)).sum()),
                    }
                )
    return {"layers": rows}


def _ends(model: Callable[[Tensor], Tensor], test: Dataset, epsilon: float) -> dict[str, Any]:
    """For each kind of PGD (log-odds, last point): images that stand, and of those how many end without a gradient."""
    images, labels = test.images, test.labels
    rows: dict[str, Any] = {"images": len(test)}
    for name, (steps, size) in STEPS.items():
        end = PGD(epsilon=epsilon, steps=steps, step_size=size * epsilon, keep="last")(model, images, labels)
        standing = predict(model, end) == labels
        stuck = (input_gradient(model, end, labels).gradient == 0).flatten(1).all(1)
        rows[name] = {"standing": int(standing.sum()), "without gradient": int((standing & stuck).sum())}
    return rows
