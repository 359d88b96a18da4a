"""Slow diagnostics of trained networks: dead hidden units, PGD that ends without a gradient, and a query attack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unmask.attacks import PGD, Square, predict
from unmask.data import Dataset
from unmask.gradients import input_gradient
from unmask.losses import log_odds
from unmask.models import load_weights

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
"""Square's queries for each image."""


def diagnose(
    model: nn.Module, weights: Mapping[int, Path], test: Dataset, *, epsilon: float, position: str
) -> list[dict[str, Any]]:
    """Return active units, PGD's ends and Square's result for each file of weights, with its key as ``position``."""
    found = []
    for at, file in weights.items():
        load_weights(model, file)
        model.eval()
        predictions = predict(model, Square(epsilon=epsilon, queries=QUERIES)(model, test.images, test.labels))
        square = {"images": len(test), "queries": QUERIES, "standing": int((predictions == test.labels).sum())}
        found.append(
            {position: at, **_active(model, test.images), "pgd": _ends(model, test, epsilon), "square": square}
        )
    return found


def _active(model: nn.Module, images: Tensor) -> dict[str, Any]:
    """Count for each hidden layer: units active per image (median), images with none, and units active on no image."""
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
    """Count for each kind of PGD (log-odds, last point) the correct images, and those of them without a gradient."""
    images, labels = test.images, test.labels
    rows: dict[str, Any] = {"images": len(test)}
    for name, (steps, size) in STEPS.items():
        end = PGD(epsilon=epsilon, steps=steps, step_size=size * epsilon, keep="last", loss=log_odds)(
            model, images, labels
        )
        correct = predict(model, end) == labels
        stuck = (input_gradient(model, end, labels, loss=log_odds).gradient == 0).flatten(1).all(1)
        rows[name] = {"standing": int(correct.sum()), "without gradient": int((correct & stuck).sum())}
    return rows
