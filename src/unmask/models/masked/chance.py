"""Defences that change the image at random at each call, from the global random state."""

from __future__ import annotations

from math import isfinite

import torch
from torch import Tensor, nn

from unmask.numerics import Model

__all__ = ["InputNoise", "RandomResizePad"]


class InputNoise(nn.Module):
    """Gaussian noise on the images, fresh at each call (Athalye et al. 2018: stochastic gradients).

    Masked: a single gradient, and a single outcome, is one draw. Noise comes from the global random state.
    Truth: accuracy is an expectation over the noise; the remedy is the mean of the gradient over draws, and the robust
    accuracy that of decisions taken over many. With ``sigma=0`` it is the wrapped model.

    Raises:
        ValueError: ``sigma`` is not a number of at least 0.

    Example:
        >>> model = InputNoise(nn.Flatten(), sigma=0.1)
        >>> torch.equal(model(torch.zeros(1, 2)), model(torch.zeros(1, 2)))
        False
    """

    def __init__(self, model: Model, sigma: float = 0.1) -> None:
        """Wrap ``model``; ``sigma`` is the noise's standard deviation, pixels being in [0, 1]."""
        super().__init__()
        if not (isfinite(sigma) and sigma >= 0):
            raise ValueError(f"sigma: expected a number of at least 0, got {sigma}")
        self.model = model
        self.sigma = sigma

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes)."""
        return self.model(images + self.sigma * torch.randn_like(images))


class RandomResizePad(nn.Module):
    """Images shrunk by a random number of pixels and put at a random place of a black canvas (Xie et al. 2018).

    Each example draws anew, at even odds: by how many pixels its sides shrink, from 0 to ``pixels``, then how many of
    these are added above, and how many to the left. Resizing takes the nearest pixel. The paper enlarges images of 299
    pixels, onto a canvas of 331; here the canvas has the image's own size, so that any network can be wrapped.

    Masked: a single gradient is that of one draw, and belongs to other pixels in the next.
    Truth: accuracy is an expectation over the draws; the remedy is the mean of the gradient over them (Athalye et al.
    2018). With ``pixels=0`` it is the wrapped model.

    Raises:
        ValueError: ``pixels`` is not a whole number of at least 0, or an image is not larger than that.

    Example:
        >>> RandomResizePad(nn.Flatten(), pixels=2)(torch.ones(5, 1, 8, 8)).sum(1) >= 36
        tensor([True, True, True, True, True])
    """

    def __init__(self, model: Model, pixels: int = 3) -> None:
        """Wrap ``model``."""
        super().__init__()
        if not isinstance(pixels, int) or pixels < 0:
            raise ValueError(f"pixels: expected a whole number of at least 0, got {pixels}")
        self.model = model
        self.pixels = pixels

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes)."""
        height, width = images.shape[2:]
        if self.pixels >= min(height, width):
            raise ValueError(f"pixels: expected below the images' {height}x{width}, got {self.pixels}")
        less = torch.randint(self.pixels + 1, (len(images),), device=images.device)
        rows, above = _nearest(height, less)
        columns, left = _nearest(width, less)
        example = torch.arange(len(images), device=images.device)[:, None, None]
        # The channels come last where indices stand on both sides of a slice.
        moved = images[example, :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)
        return self.model(moved * (above[:, :, None] & left[:, None, :])[:, None])


def _nearest(length: int, less: Tensor) -> tuple[Tensor, Tensor]:
    """Return for each place of a side the pixel that goes there, and True where one does; both (N, length).

    The side shrinks by ``less`` (N,) pixels, and begins after a random number of them.
    """
    begin = torch.floor(torch.rand(len(less), device=less.device) * (less + 1)).long()
    place = torch.arange(length, device=less.device) - begin[:, None]
    shrunk = length - less[:, None]
    inside = (place >= 0) & (place < shrunk)
    return torch.where(inside, place * length // shrunk, 0), inside
