"""The worst case of a linear model in closed form."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def worst_margin(model: nn.Module, images: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """``max_k max_x' (z_k - z_y)(x')`` over the ball and [0, 1], for W x + b, in float64 (N,); below 0 it is robust.

    For each rival k every pixel goes to whichever end of its range raises ``(W_k - W_y) x``.

    Raises:
        ValueError: the model is not one linear layer.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
        >>> _ = nn.init.eye_(model[1].weight)
        >>> worst_margin(model, torch.tensor([0.9, 0.1]).view(1, 1, 1, 2), torch.tensor([0]), 0.25)
        tensor([-0.3000], dtype=torch.float64)
    """
    layers = [part for part in model.modules() if not list(part.children()) and not isinstance(part, nn.Flatten)]
    if len(layers) != 1 or not isinstance(layers[0], nn.Linear):
        raise ValueError(f"model: expected one linear layer, got {', '.join(type(one).__name__ for one in layers)}")
    weight = layers[0].weight.detach().cpu().double()
    bias = torch.zeros(len(weight)) if layers[0].bias is None else layers[0].bias.detach().cpu().double()
    pixels = images.flatten(1).double()
    low, high = (pixels - epsilon).clamp(0, 1), (pixels + epsilon).clamp(0, 1)
    margins = torch.full((len(pixels), len(weight)), -torch.inf, dtype=torch.float64)
    for rival in range(len(weight)):
        gap = weight[rival] - weight[labels]
        worst = (torch.where(gap > 0, high, low) * gap).sum(1) + bias[rival] - bias[labels]
        margins[:, rival] = torch.where(labels == rival, -torch.inf, worst)
    return margins.amax(1)
