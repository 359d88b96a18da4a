"""Square: random search that changes squares of pixels. It takes the model's logits, never a gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from unmask.attacks.attack import FORWARD, BoundedAttack, check_counts
from unmask.attacks.best import Best, as_images, misclassified
from unmask.losses import margin
from unmask.numerics import (
    Model,
    derive_seed,
    fastest_layout,
    laid_out,
    random_below,
    random_keys,
    random_words,
    undisturbed,
)
from unmask.threats import Threat, check_batch

HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Of 10,000 queries, those after which the squares' area is halved; of other numbers, those in the same proportion."""


@dataclass(frozen=True, kw_only=True)
class Square(BoundedAttack):
    """Random search over squares of pixels at the bounds of the ball (Andriushchenko et al. 2020, algorithms 1 and 2).

    It begins with vertical stripes: in each column, each channel is at ``x - epsilon`` or at ``x + epsilon``, cut to
    [0, 1]. Each further query puts a square at a random place, each channel of it at one of its two bounds, and keeps
    it if the margin ``max_{k != y} z_k - z_y`` does not fall. The squares cover ``p_init`` of the image at first, and
    half as much after each point of the paper's schedule. An example leaves as soon as it is misclassified; one that is
    so from the outset comes back as it is.

    Two things differ from the paper: a square that would change nothing is turned over, rather than waste a query
    (of the small ones, on images of one channel, half would); and a point of equal margin is taken too, so that flat
    or rounded scores can be crossed.

    Attributes:
        queries: forward passes per example and restart, the stripes included; one more is at the image itself.
        restarts: searches, each with random numbers of its own, for the examples that are still classified correctly.
        p_init: the share of the image that the first squares cover.

    Raises:
        ValueError: a setting is out of range; on the call, images or labels of the wrong kind.

    Example:
        >>> model = lambda x: torch.stack([x.sum((1, 2, 3)), torch.full((len(x),), 0.6)], dim=1)
        >>> attack = Square(0.25, queries=20)
        >>> attack(model, torch.full((1, 1, 1, 2), 0.5), torch.tensor([0])).flatten()
        tensor([0.2500, 0.2500])
    """

    queries: int = 1000
    restarts: int = 1
    p_init: float = 0.8
    seed: int = 0

    needs_gradients: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_counts(queries=self.queries, restarts=self.restarts)
        if not 0 < self.p_init <= 1:
            raise ValueError(f"p_init: expected a number above 0 and up to 1, got {self.p_init}")

    @property
    def cost(self) -> float:
        """At most one forward pass for each query of each restart."""
        return FORWARD * self.queries * self.restarts

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Tensor:
        """Return adversarial images, shaped as ``images``."""
        check_batch(images, labels)
        best = Best(images.detach())
        with undisturbed(model, seed=self.seed), torch.no_grad():
            layout = fastest_layout(model, images)

            def ask(points: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
                logits, true = model(laid_out(points, layout)), labels[rows]
                return misclassified(logits, true), margin(logits, true)

            everyone = best.remaining()
            best.offer(images.detach(), *ask(images, everyone), everyone)
            for restart in range(self.restarts):
                self._search(ask, best, images.detach(), seed=derive_seed(self.seed, "restart", restart))
        return best.images

    def _search(
        self, ask: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], best: Best, images: Tensor, *, seed: int
    ) -> None:
        """Run one restart and offer what it finds to ``best``."""
        state = _begin(self.threat, images, best.remaining(), seed=seed)
        for query in range(self.queries):
            if not len(state.rows):
                return
            up = self._proposal(state, query) if query else state.up
            points = torch.where(up, state.high, state.low)
            fooled, margins = ask(points, state.rows)
            better = margins >= state.margin
            state = state._replace(
                up=torch.where(as_images(better), up, state.up),
                margin=torch.where(better, margins, state.margin),
            )
            if fooled.any():
                best.offer(points, fooled, margins, state.rows)
                state = _State(*(one[~fooled] for one in state))
        last = torch.where(state.up, state.high, state.low)
        best.offer(last, torch.zeros_like(state.rows, dtype=torch.bool), state.margin, state.rows)

    def _proposal(self, state: _State, query: int) -> Tensor:
        """Return the corners with one square changed in each, as ``state.up``."""
        _, channels, height, width = state.up.shape
        tall, wide = self._sides(query, height, width)
        words = random_words(state.keys, 2 + channels, after=channels * width + (query - 1) * (2 + channels))
        down = torch.arange(height, device=words.device) - random_below(words[:, :1], height - tall + 1)
        across = torch.arange(width, device=words.device) - random_below(words[:, 1:2], width - wide + 1)
        inside = _within(down, tall)[:, None, :, None] & _within(across, wide)[:, None, None, :]
        change = inside & (state.up ^ (words[:, 2:, None, None] < 0))
        idle = ~change.flatten(1).any(1)
        return state.up ^ (change | (inside & as_images(idle)))

    def _sides(self, query: int, height: int, width: int) -> tuple[int, int]:
        """Return height and width of the square that a query changes; a side longer than the image is cut to it."""
        halvings = sum(query * 10_000 > mark * self.queries for mark in HALVED_AFTER)
        side = max(round(sqrt(self.p_init / 2**halvings * height * width)), 1)
        return min(side, height), min(side, width)


class _State(NamedTuple):
    """The state of a search; one row per example that is still classified correctly."""

    rows: Tensor
    keys: Tensor
    low: Tensor
    high: Tensor
    up: Tensor
    margin: Tensor


def _begin(threat: Threat, images: Tensor, rows: Tensor, *, seed: int) -> _State:
    """Return the stripes: the pixels of ``up`` are at the upper bound, ``high``, the others at ``low``."""
    images = images[rows]
    low, high = (threat.project(images + offset, images) for offset in (-threat.epsilon, threat.epsilon))
    keys = random_keys(images, seed=seed)
    channels, width = images.shape[1], images.shape[3]
    stripes = (random_words(keys, channels * width) < 0).view(-1, channels, 1, width)
    unknown = torch.full((len(rows),), -torch.inf, dtype=images.dtype, device=images.device)
    return _State(rows, keys, low, high, stripes.expand_as(images), unknown)


def _within(offsets: Tensor, length: int) -> Tensor:
    """Return True for the offsets from 0 to below ``length``."""
    return (offsets >= 0) & (offsets < length)
