"""Negative controls: unusual models that are not masked, on which an audit must not fire."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import torch
from torch import Tensor, nn

from unmask.numerics import Model

__all__ = ["Normalised", "Slowed"]


class Normalised(nn.Module):
    """Images normalised inside the model: (x - mean) / std, channel by channel.

    Not masked: the gradient is the wrapped model's divided by ``std``, which changes no sign.
    Truth: the decision is the wrapped model's on the normalised image, at epsilon / std.

    Raises:
        ValueError: ``mean`` and ``std`` are not finite, above 0 for ``std``, and as many as each other; or, when it is
            called, they are neither one nor as many as the channels.

    Example:
        >>> Normalised(nn.Flatten(), mean=[0.5], std=[0.25])(torch.tensor([[[[0.25, 0.5]]]]))
        tensor([[-1.,  0.]])
    """

    def __init__(self, model: Model, mean: Sequence[float], std: Sequence[float]) -> None:
        """Wrap ``model``; one mean and one standard deviation for each channel, or one for all."""
        super().__init__()
        finite = all(isfinite(value) for value in (*mean, *std))
        if not finite or len(mean) != len(std) or not std or min(std) <= 0:
            raise ValueError(f"mean, std: expected as many numbers, std above 0, got {list(mean)} and {list(std)}")
        self.model = model
        self.mean = tuple(mean)
        self.std = tuple(std)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes)."""
        if len(self.mean) not in (1, images.shape[1]):
            raise ValueError(f"mean, std: expected one or {images.shape[1]}, as the channels, got {len(self.mean)}")
        mean, std = (images.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        return self.model((images - mean) / std)

    def extra_repr(self) -> str:
        """The settings, as torch prints them."""
        return f"mean={list(self.mean)}, std={list(self.std)}"


class Slowed(nn.Module):
    """The wrapped model, called several times for one result.

    Not masked: outputs and gradients are those of the last pass.
    Truth: the wrapped model's; only the time differs.

    Raises:
        ValueError: ``passes`` is not a whole number of at least 1.

    Example:
        >>> Slowed(nn.Flatten(), passes=3)(torch.tensor([[0.25, 0.5]]))
        tensor([[0.2500, 0.5000]])
    """

    def __init__(self, model: Model, passes: int = 10) -> None:
        """Wrap ``model``."""
        super().__init__()
        if not isinstance(passes, int) or passes < 1:
            raise ValueError(f"passes: expected a whole number of at least 1, got {passes}")
        self.model = model
        self.passes = passes

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes)."""
        with torch.no_grad():
            for _ in range(self.passes - 1):
                self.model(images)
        return self.model(images)
