"""Images rounded before the network sees them: the derivative is zero wherever there is one."""

from __future__ import annotations

from math import pi, sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmask.numerics import Model

__all__ = ["DCTQuantised", "Quantised", "Thermometer"]

LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
"""The steps to which JPEG rounds an 8x8 block's coefficients at quality 50 (ITU-T T.81, Table K.1)."""


class Quantised(nn.Module):
    """Images rounded to equally spaced levels: round(x (levels - 1)) / (levels - 1), whose derivative is zero.

    With 2^b levels it is the reduction to b bits of Xu et al. (2018, feature squeezing) and Guo et al. (2018); with
    256, the rounding of images to 1/255.

    Masked: the gradient is zero everywhere, though the outputs do change with the images.
    Truth: the decision is the wrapped model's on the rounded image, which lies within half a step, h = 1 / (2 (levels -
    1)). What the wrapped model gets right throughout epsilon + h is robust here at epsilon. The other bound needs a
    model whose strongest perturbation lies in a corner of the ball, as a linear one's does: what is robust here at an
    epsilon of h or more, it gets right throughout epsilon - h. Any other may err between the levels alone, and is then
    truly more robust when rounded. BPDA, which passes the gradient through the rounding, is the remedy (Athalye et al.
    2018).

    Raises:
        ValueError: ``levels`` is not a whole number of at least 2.

    Example:
        >>> Quantised(nn.Flatten(), levels=3)(torch.tensor([[0.2, 0.3, 0.9]]))
        tensor([[0.0000, 0.5000, 1.0000]])
    """

    def __init__(self, model: Model, levels: int = 16) -> None:
        """Wrap ``model``."""
        super().__init__()
        self.model = model
        self.levels = _at_least_two(levels)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes)."""
        steps = self.levels - 1
        return self.model(torch.round(images * steps) / steps)


class DCTQuantised(nn.Module):
    """Images rounded as JPEG rounds them: blocks of 8x8 in the cosine basis, to multiples of a table's steps.

    A block X of pixels from 0 to 255 becomes D^T (T round(D (X - 128) D^T / T)) D + 128, cut to [0, 255]: D is the
    orthonormal discrete cosine transform, T the table for luminance at a quality from 1 to 100 (ITU-T T.81, Table K.1,
    scaled as the Independent JPEG Group does it). Sides that eight does not divide are filled with their last
    pixel and cut again. It approximates JPEG: each channel is treated as a grey image, and pixels stay real numbers.

    Masked: the gradient is zero everywhere, though the outputs do change with the images.
    Truth: the decision is the wrapped model's on the rounded image. Unlike ``Quantised``, it can move a pixel far, so
    that no bound by the wrapped model's own robustness holds. The remedy is BPDA.
    Source: Guo et al. (2018) at quality 75; broken by Athalye et al. (2018).

    Raises:
        ValueError: ``quality`` is not a whole number from 1 to 100.

    Example:
        >>> images = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> (DCTQuantised(nn.Identity())(images) - images).abs().max() < 0.2
        tensor(True)
    """

    def __init__(self, model: Model, quality: int = 75) -> None:
        """Wrap ``model``."""
        super().__init__()
        if not isinstance(quality, int) or not 1 <= quality <= 100:
            raise ValueError(f"quality: expected a whole number from 1 to 100, got {quality}")
        self.model = model
        self.quality = quality

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes)."""
        height, width = images.shape[2:]
        filled = functional.pad(images, (0, -width % 8, 0, -height % 8), mode="replicate")
        # (N, C, H, W) to blocks (N, C, H / 8, W / 8, 8, 8) and back
        blocks = filled.reshape(*filled.shape[:2], -1, 8, filled.shape[3] // 8, 8).transpose(3, 4)
        rounded = self._rounded(blocks).transpose(3, 4).flatten(4, 5).flatten(2, 3)
        return self.model(rounded[:, :, :height, :width])

    def _rounded(self, blocks: Tensor) -> Tensor:
        cosines, steps = _cosines().to(blocks), _steps(self.quality).to(blocks)
        coefficients = cosines @ (255 * blocks - 128) @ cosines.T
        pixels = cosines.T @ (steps * torch.round(coefficients / steps)) @ cosines
        return ((pixels + 128) / 255).clamp(0, 1)


class Thermometer(nn.Module):
    """Each channel as ``levels`` channels of zeros and ones: the k-th, of k = 1 ... levels, is 1 where x > k / levels.

    The thermometer encoding of Buckman et al. (2018), in the form of Athalye et al. (2018). The network is to be built
    and trained with it: ``Thermometer(build(name, inputs=(channels * levels, H, W), ...), levels)``. The channels of
    one colour stand together.

    Masked: the gradient is zero everywhere, though the outputs do change with the images.
    Truth: the network's own, on images whose pixels matter only by the level they exceed; there is no wrapped
    model of images to compare with. The remedy is the gradient of a sloped step in its place (Athalye et al. 2018).

    Raises:
        ValueError: ``levels`` is not a whole number of at least 2.

    Example:
        >>> Thermometer(nn.Flatten(), levels=10)(torch.full((1, 1, 1, 1), 0.66))
        tensor([[1., 1., 1., 1., 1., 1., 0., 0., 0., 0.]])
    """

    def __init__(self, model: Model, levels: int = 16) -> None:
        """Wrap ``model``, which takes images (N, C * levels, H, W)."""
        super().__init__()
        self.model = model
        self.levels = _at_least_two(levels)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes)."""
        bounds = torch.arange(1, self.levels + 1).to(images) / self.levels
        # A comparison would leave no way back to the images at all; the sign has one, of derivative zero.
        exceeded = torch.sign(images[:, :, None] - bounds[:, None, None]).clamp_min(0)
        return self.model(exceeded.flatten(1, 2))


def _at_least_two(levels: int) -> int:
    if not isinstance(levels, int) or levels < 2:
        raise ValueError(f"levels: expected a whole number of at least 2, got {levels}")
    return levels


def _cosines() -> Tensor:
    """Return the orthonormal discrete cosine transform of length 8, float64 (8, 8): a row for each frequency."""
    frequency, place = torch.arange(8, dtype=torch.float64)[:, None], torch.arange(8, dtype=torch.float64)
    waves = torch.cos(pi / 8 * (place + 0.5) * frequency) / 2
    waves[0] /= sqrt(2)
    return waves


def _steps(quality: int) -> Tensor:
    """Return the table's steps at a quality, float64 (8, 8)."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return ((torch.tensor(LUMINANCE) * percent + 50) // 100).clamp(1, 255).double()
