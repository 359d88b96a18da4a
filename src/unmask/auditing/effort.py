"""The effort of an audit: how many steps, draws and queries it spends on each image."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class Effort:
    """The effort of an audit: its steps, draws, queries and samples.

    Attributes:
        steps: gradients per image of the attack with many steps, and of its control.
        draws: random sign draws per image.
        rivals: the number of other classes that targeted steps head for, one step each, highest logits first.
        glance: queries of the short search, at each of ``few`` images.
        queries: queries of the long search, at each of ``sample`` images, or of all if that leaves the matter open.
        search: steps of the search for the robust accuracy on all images that are still classified correctly, of which
            the nearest to the boundary get five times as many; 0 for none.
        shown: images that the curves over epsilon are drawn for.
        images: the number of images that are audited; None for all.

    Raises:
        ValueError: a number is no whole number above 0.

    Example:
        >>> Effort(steps=100).rivals
        9
    """

    steps: int = 40
    draws: int = 10
    rivals: int = 9
    glance: int = 300
    few: int = 100
    queries: int = 600
    sample: int = 250
    search: int = 20
    shown: int = 100
    images: int | None = None

    def __post_init__(self) -> None:
        for one in fields(self):
            value, least = getattr(self, one.name), 0 if one.name == "search" else 1
            if one.name == "images" and value is None:
                continue
            if not isinstance(value, int) or value < least:
                raise ValueError(f"{one.name}: expected a whole number from {least} up, got {value!r}")


FULL = Effort()
"""The effort of an audit by default."""

QUICK = Effort(steps=10, draws=4, rivals=3, glance=100, few=50, queries=300, sample=100, search=0, shown=25, images=400)
"""A first look: the same probes with fewer steps, on at most 400 images, and no search for the robust accuracy."""
