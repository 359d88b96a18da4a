"""Threat models: what the attacker may do to an image.

Images are in [0, 1] everywhere in unmask; a model that wants other units normalises inside itself. A norm is one class
here that has the methods of `Threat`; nothing else in the package names a norm.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Protocol, Self, overload

import torch
from torch import Tensor

from unmask.numerics import random_uniform

__all__ = [
    "NORMS",
    "Epsilon",
    "Linf",
    "Threat",
    "check_adversarial",
    "check_batch",
    "parse_epsilon",
    "rounding",
    "threat_model",
]


def parse_epsilon(value: str | float | None) -> float:
    """Return the number that an epsilon stands for: ``0.3`` or text such as ``"0.3"`` and ``"8/255"``.

    Numbers of numpy, torch and ``fractions`` are accepted too.

    Raises:
        ValueError: it is no number, or outside [0, 1].

    Example:
        >>> parse_epsilon("8/255")
        0.03137254901960784
    """
    try:
        epsilon = float(Fraction(value.replace(" ", ""))) if isinstance(value, str) and "/" in value else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        raise ValueError(f"epsilon: expected a number in [0, 1] such as 0.3 or 8/255, got {value!r}") from None
    if not 0 <= epsilon <= 1:
        raise ValueError(
            f"epsilon: expected a number in [0, 1], got {value}; images are in [0, 1], so write 8 grey levels as 8/255"
        )
    return epsilon


class Epsilon:
    """A field of a dataclass that is set with a number or with text such as ``"8/255"``, and read as a number.

    ``epsilon: Epsilon = Epsilon()`` declares a field without a default, ``epsilon: Epsilon = Epsilon(1.0)`` one with.

    Raises:
        ValueError: when set, as ``parse_epsilon``.

    Example:
        >>> @dataclass(frozen=True)
        ... class Bounded:
        ...     epsilon: Epsilon = Epsilon()
        >>> Bounded("1/4").epsilon
        0.25
    """

    def __init__(self, *default: float) -> None:
        """Make a field that must be given, or one with a default."""
        self._default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Any: ...

    @overload
    def __get__(self, instance: object, owner: type) -> float: ...

    def __get__(self, instance: object | None, owner: type) -> Any:
        if instance is not None:
            return instance.__dict__[self._name]
        if not self._default:  # so that dataclasses take it for a field without a default
            raise AttributeError(self._name)
        return self._default[0]

    def __set__(self, instance: object, value: str | float) -> None:
        instance.__dict__[self._name] = parse_epsilon(value)


class Threat(Protocol):
    """A threat model: a norm, the bound epsilon on it, and images in [0, 1].

    Example:
        >>> threat: Threat = Linf(0.25)
        >>> threat.epsilon
        0.25
    """

    @property
    def epsilon(self) -> float:
        """The largest allowed size of a perturbation."""

    def size(self, perturbation: Tensor) -> Tensor:
        """Return the norm of each perturbation (N, C, H, W), as (N,)."""

    def project(self, images: Tensor, origin: Tensor) -> Tensor:
        """Return the nearest images within epsilon of ``origin`` and in [0, 1]; shape and dtype stay."""

    def step(self, images: Tensor, direction: Tensor, *, size: float | Tensor, origin: Tensor | None = None) -> Tensor:
        """Move images by a step of norm ``size`` along the steepest ascent for ``direction``, and project them."""

    def random_start(self, images: Tensor, *, seed: int) -> Tensor:
        """Return a random point within epsilon of each image and in [0, 1]."""

    def scaled(self, epsilon: float) -> Self:
        """Return the same threat model with another epsilon."""


@dataclass(frozen=True)
class Linf:
    """The images within ``epsilon`` of an original in every pixel: ``{x' : |x' - x|_inf <= epsilon, 0 <= x' <= 1}``.

    Raises:
        ValueError: epsilon is no number in [0, 1].

    Example:
        >>> Linf(0.25).step(torch.tensor([0.5, 0.9]), torch.tensor([-3.0, 1e-9]), size=0.25)
        tensor([0.2500, 1.0000])
    """

    epsilon: Epsilon = Epsilon()

    def size(self, perturbation: Tensor) -> Tensor:
        """Return the largest absolute change of a pixel, (N,)."""
        return perturbation.abs().flatten(1).amax(1)

    def project(self, images: Tensor, origin: Tensor) -> Tensor:
        """Return the nearest allowed images; the shape and dtype stay."""
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
        """Draw a point uniformly from the cube around each image, then cut it to [0, 1]."""
        return self.project(images + (2 * random_uniform(images, seed=seed) - 1) * self.epsilon, images)

    def scaled(self, epsilon: float) -> Self:
        """Return the same with another epsilon."""
        return replace(self, epsilon=epsilon)


NORMS: dict[str, type[Linf]] = {"Linf": Linf}
"""The class of each norm, by name."""


def threat_model(epsilon: str | float | None, norm: str = "Linf") -> Threat:
    """Return the threat model of an epsilon in a norm; all that needs one gets it here.

    Raises:
        ValueError: epsilon is no number in [0, 1], or the norm is unknown.

    Example:
        >>> threat_model("8/255").epsilon
        0.03137254901960784
        >>> threat_model(0.5, "L0")
        Traceback (most recent call last):
            ...
        ValueError: norm: expected one of Linf, got 'L0'
    """
    if norm not in NORMS:
        raise ValueError(f"norm: expected one of {', '.join(NORMS)}, got {norm!r}")
    return NORMS[norm](parse_epsilon(epsilon))


def rounding(dtype: torch.dtype) -> float:
    """Return what a perturbation may exceed epsilon by: 1e-6, or twice the spacing at 1 in coarser dtypes.

    Example:
        >>> rounding(torch.float64)
        1e-06
    """
    return max(1e-6, 2 * torch.finfo(dtype).eps)


def check_batch(images: Tensor, labels: Tensor) -> None:
    """Check that ``images`` and ``labels`` are a batch.

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


def check_adversarial(name: str, adversarial: Tensor, images: Tensor, threat: Threat) -> None:
    """Check that adversarial images obey the threat model.

    Raises:
        ValueError: a perturbation is larger than epsilon by more than ``rounding``, or a pixel is outside [0, 1].

    Example:
        >>> check_adversarial("an attack", torch.full((1, 1, 1, 1), 0.75), torch.full((1, 1, 1, 1), 0.5), Linf(0.25))
    """
    if not len(images):
        return
    moved, (low, high) = float(threat.size(adversarial - images).max()), adversarial.aminmax()
    if not (moved <= threat.epsilon + rounding(images.dtype) and low >= 0 and high <= 1):
        raise ValueError(
            f"{name}: expected images in [0, 1] within epsilon {threat.epsilon:.6g}, got pixels moved by {moved:.6g} "
            f"and in [{low:.4g}, {high:.4g}]; give the attack this epsilon"
        )
