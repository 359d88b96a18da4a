"""What the attacker may do: change each pixel by at most epsilon, and stay an image.

Images are in [0, 1] everywhere in unmask; a model that wants other units normalises inside itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from unmask.numerics import random_uniform


def parse_epsilon(text: str | float) -> float:
    """Read an epsilon as people write it: ``0.3`` or ``8/255``.

    Raises:
        ValueError: not a number, or outside [0, 1].

    Example:
        >>> parse_epsilon("8/255")
        0.03137254901960784
    """
    try:
        epsilon = float(Fraction(text)) if isinstance(text, str) and "/" in text else float(text)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"epsilon: expected a number in [0, 1] such as 0.3 or 8/255, got {text!r}") from None
    if not 0 <= epsilon <= 1:
        raise ValueError(
            f"epsilon: expected a number in [0, 1], got {text}; images are in [0, 1], so write 8 grey levels as 8/255"
        )
    return epsilon


def check_batch(images: Tensor, labels: Tensor) -> None:
    """Refuse what is not a batch of images with labels.

    Raises:
        ValueError: images are not floating (N, C, H, W) in [0, 1], or labels are not int64 (N,).

    Example:
        >>> check_batch(torch.rand(2, 1, 4, 4), torch.tensor([0, 1]))
    """
    if images.ndim != 4 or not images.is_floating_point():
        raise ValueError(
            f"images: expected a floating tensor (N, C, H, W), got {images.dtype} of shape {tuple(images.shape)}"
        )
    if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
        raise ValueError(
            f"labels: expected int64 of shape ({len(images)},), got {labels.dtype} of shape {tuple(labels.shape)}"
        )
    if images.numel():
        low, high = torch.aminmax(images)
        if not (low >= 0 and high <= 1):
            raise ValueError(
                f"images: expected pixels in [0, 1], got {low:.4g} to {high:.4g}; put normalisation inside the model"
            )


@dataclass(frozen=True, kw_only=True)
class Linf:
    """The images within ``epsilon`` of an original in every pixel: ``{x' : |x' - x|_inf <= epsilon, 0 <= x' <= 1}``.

    Raises:
        ValueError: epsilon is no number in [0, 1].

    Example:
        >>> Linf(epsilon=0.25).step(torch.tensor([0.5, 0.9]), torch.tensor([-3.0, 1e-9]), size=0.25)
        tensor([0.2500, 1.0000])
    """

    epsilon: float

    def __post_init__(self) -> None:
        if isinstance(self.epsilon, str):
            raise ValueError(
                f"epsilon: expected a number such as 8/255, got text, {self.epsilon!r}; leave the quotes away"
            )
        parse_epsilon(self.epsilon)

    def project(self, images: Tensor, origin: Tensor) -> Tensor:
        """The nearest allowed images; the shape and dtype stay."""
        return images.clamp(origin - self.epsilon, origin + self.epsilon).clamp_(0, 1)

    def step(self, images: Tensor, direction: Tensor, *, size: float | Tensor, origin: Tensor | None = None) -> Tensor:
        """Move every pixel by ``size`` along the sign of ``direction``, then project around ``origin``.

        Where the direction is 0 or NaN the pixel stays. ``size`` may be one for each example, (N, 1, 1, 1).
        ``origin`` defaults to ``images``.
        """
        signs = torch.nan_to_num(direction).sign_()
        moved = images + signs * size if isinstance(size, Tensor) else torch.add(images, signs, alpha=size)
        return self.project(moved, images if origin is None else origin)

    def random_start(self, images: Tensor, *, seed: int) -> Tensor:
        """A point drawn uniformly from the cube around each image, then cut to [0, 1]."""
        return self.project(images + (2 * random_uniform(images, seed=seed) - 1) * self.epsilon, images)
