"""Models whose truth is known, by what they do, and a callable and a network to wrap."""

from __future__ import annotations

import torch

from unmask.gradients import input_gradient
from unmask.losses import log_odds
from unmask.models import build
from unmask.models.masked import (
    DCTQuantised,
    InputNoise,
    JumpReLU,
    KWinners,
    Normalised,
    PrunedReLU,
    Quantised,
    RandomResizePad,
    RandomSignBackward,
    ScaledLogits,
    ShiftedLogits,
    Slowed,
    SoftmaxOutput,
    SquashedLogits,
    SteppedReLU,
    Thermometer,
    ZeroBackward,
)

EXACT = {
    "logits times 300": ScaledLogits,
    "logits times 0.3": lambda model: ScaledLogits(model, 0.3),
    "logits times 0.001": lambda model: ScaledLogits(model, 0.001),
    "squashed": SquashedLogits,
    "squashed, little": lambda model: SquashedLogits(model, 0.1),
    "softmax": SoftmaxOutput,
    "zero gradient": ZeroBackward,
    "random signs": RandomSignBackward,
    "slow": lambda model: Slowed(model, 3),
    "no noise": lambda model: InputNoise(model, 0.0),
    "no resizing": lambda model: RandomResizePad(model, 0),
    "not normalised": lambda model: Normalised(model, [0.0], [1.0]),
}
CHANGED = {
    "logits plus 1e6": ShiftedLogits,
    "16 levels": Quantised,
    "8 bits": lambda model: Quantised(model, 256),
    "dct": DCTQuantised,
    "thermometer": Thermometer,
    "normalised": lambda model: Normalised(model, [0.5], [0.25]),
}
RANDOM = {"noise": InputNoise, "resized and padded": RandomResizePad}
DRAWING = (*RANDOM, "no noise", "no resizing")
"""Those that draw from the global random state, whatever they make of it."""
WRAPPERS = EXACT | CHANGED | RANDOM
ACTIVATIONS = {
    "k winners": KWinners(),
    "jump": JumpReLU(),
    "jump, retrofit": JumpReLU(threshold=0.1, rise=0.0),
    "steps": SteppedReLU(),
    "steps, turned round": SteppedReLU(slope=-1.0),
    "pruned": PrunedReLU(),
}
BLIND = [Quantised, DCTQuantised, Thermometer, ZeroBackward]
"""Those whose gradient is zero everywhere."""


def readout(images):
    """A callable that is no module: any images to five logits, a linear map."""
    flat = images.flatten(1)
    weights = torch.sin(torch.arange(5 * flat.shape[1], dtype=torch.float64) ** 2).view(-1, 5)
    return flat @ weights.to(images)


def images_for(count=16, shape=(1, 8, 8), seed=0, dtype=torch.float32):
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def gradient(model, images, loss=log_odds):
    labels = torch.arange(len(images)) % 2
    return input_gradient(model, images, labels, loss=loss).gradient


def a_network():
    return build("mlp", inputs=(1, 8, 8), classes=5, widths=(32, 16), initialisation="xavier", seed=0).eval()
