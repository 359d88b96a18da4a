"""The strength of attacks made in bfloat16 beside those made in float32, on a trained network."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unmask.attacks import FGSM, predict
from unmask.data import Dataset
from unmask.losses import cross_entropy
from unmask.numerics import Batches
from unmask_experiments.vivek2019.config import COMPARED, Config, trained
from unmask_experiments.vivek2019.evaluate import BATCH, pgd_ends
from unmask_experiments.vivek2019.train import device, first, images_of, precision_of, trained_network

ATTACKS = ("fgsm", "pgd", "longer pgd")

MULTIPLYING = (nn.Conv2d, nn.Linear)
"""Layers that autocast runs in bfloat16."""

DRAWS = 3
"""Copies of a network whose weights are moved at random."""


class InBfloat16(nn.Module):
    """A network whose passes are under bfloat16's autocast, as in training with ``"bf16-mixed"``; logits in float32."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K)."""
        with torch.autocast(images.device.type, torch.bfloat16):
            logits: Tensor = self.model(images)
        return logits.float()


def rounded_to_bfloat16(model: nn.Module) -> nn.Module:
    """Return a copy whose layers with weights take and return numbers rounded to bfloat16, and sum up in float32.

    The units for bfloat16 do the same in another order, in the backward pass too. A processor without them is twenty
    times as fast at this as at torch's own emulation.
    """

    def rounded(values: Tensor) -> Tensor:
        return values.bfloat16().to(values.dtype)

    copied = rounded_weights(model)
    for layer in copied.modules():
        if isinstance(layer, MULTIPLYING):
            layer.register_forward_pre_hook(lambda layer, taken: rounded(taken[0]))
            layer.register_forward_hook(lambda layer, taken, returned: rounded(returned))
    return copied


def rounded_weights(model: nn.Module) -> nn.Module:
    """Return a copy whose weights are rounded to bfloat16; it computes in float32.

    Example:
        >>> layer = nn.Linear(1, 1)
        >>> torch.allclose(rounded_weights(layer).weight, layer.weight, rtol=2**-8)
        True
    """
    return _with_weights(model, lambda values: values.bfloat16().to(values.dtype))


def moved_weights(model: nn.Module, seed: int) -> nn.Module:
    """Return a copy whose weights are each moved as far as rounding to bfloat16 moves it, up or down at random.

    Example:
        >>> layer = nn.Linear(4, 1)
        >>> rounded, moved = (one.weight - layer.weight for one in (rounded_weights(layer), moved_weights(layer, 0)))
        >>> torch.allclose(moved.abs(), rounded.abs(), atol=1e-7)
        True
    """
    generator = torch.Generator().manual_seed(seed)

    def moved(values: Tensor) -> Tensor:
        signs = 2 * torch.randint(2, values.shape, generator=generator) - 1
        return values + signs.to(values) * (values.bfloat16() - values)

    return _with_weights(model, moved)


def _with_weights(model: nn.Module, change: Callable[[Tensor], Tensor]) -> nn.Module:
    """Change the weights that bfloat16's units multiply: other layers' stay in float32 under autocast."""
    copied = deepcopy(model)
    for layer in copied.modules():
        if isinstance(layer, MULTIPLYING):
            for weights in layer.parameters():
                weights.data = change(weights.data)
    return copied


def precision(config: Config, *, work: Path) -> dict[str, Any]:
    """Compare attacks made in bfloat16 with those made in float32; all are evaluated in float32.

    FGSM on all test images, PGD on the first of them. Beside them, attacks in float32 on copies with other weights:
    rounded to bfloat16, and moved as far at random. Were only the first weaker, the network would have learned to
    withstand that rounding, and not any error of its size.
    """
    test = images_of(config).test
    model = trained_network(trained(config), test, work)
    units = precision_of(config) == "bf16-mixed"
    copies = (
        model,
        InBfloat16(model) if units else rounded_to_bfloat16(model),
        rounded_weights(model),
        *(moved_weights(model, draw) for draw in range(DRAWS)),
    )
    fgsm = FGSM(epsilon=config.epsilon, loss=cross_entropy)
    pgd = partial(pgd_ends, epsilon=config.epsilon, steps=config.steps[1:], size=config.step_size, seed=config.seed)
    exact, coarse, rounded, *moved = (
        (*_correct(model, one, lambda *at: [fgsm(*at)], test), *_correct(model, one, pgd, first(test, COMPARED)))
        for one in copies
    )
    return {
        "data": config.shown_data,
        "bfloat16": "units" if units else "rounded",
        "attacks": {name: _beside(float32=exact[at], bfloat16=coarse[at]) for at, name in enumerate(ATTACKS)},
        "weights": {
            name: [_beside(moved=one[at], rounded=rounded[at]) for one in moved] for at, name in enumerate(ATTACKS)
        },
    }


def _correct(
    model: nn.Module, made_on: nn.Module, attack: Callable[..., list[Tensor]], data: Dataset
) -> tuple[Tensor, ...]:
    """Return the correct images, at each point of an attack that is made on a copy of the network."""

    def measure(images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        return tuple(predict(model, x) == labels for x in attack(made_on, images, labels))

    return Batches(size=BATCH, device=device())(measure, data.images, data.labels)


def _beside(**correct: Tensor) -> dict[str, int]:
    """Count the correct images under each of two attacks, and under either alone."""
    (one, first), (other, second) = correct.items()
    return {
        "images": len(first),
        one: int(first.sum()),
        other: int(second.sum()),
        f"{one} only": int((first & ~second).sum()),
        f"{other} only": int((second & ~first).sum()),
    }
