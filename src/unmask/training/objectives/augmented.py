"""An objective on images that are cropped and flipped at random first."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from unmask.numerics import Model, derive_seed, random_below, random_keys, random_words
from unmask.training.objectives.objective import Objective, check_objective


@dataclass(frozen=True, kw_only=True)
class Augmented:
    """Another objective on images that are moved by up to ``padding`` pixels, and mirrored at even odds.

    Pixels that come in at the edges are black. As all noise in training, both are drawn anew in each update, from the
    image's own content: so a resumed run, or one over several processes, has the same images. Attacks get the moved
    images. Cost: that of the objective.

    Attributes:
        padding: 0 moves nothing; ``flip`` mirrors half of the images.

    Raises:
        ValueError: ``padding`` below 0, or what it is given is no objective.

    Example:
        >>> from unmask.training.objectives import Normal
        >>> objective = Augmented(objective=Normal(), padding=1)
        >>> objective(lambda x: x.flatten(1), torch.ones(1, 1, 1, 2), torch.tensor([0])) >= 0.3132
        tensor(True)
    """

    objective: Objective
    padding: int = 4
    flip: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        check_objective(self.objective)
        if self.padding < 0:
            raise ValueError(f"padding: expected a whole number of pixels from 0 up, got {self.padding}")

    def __call__(self, model: Model, images: Tensor, labels: Tensor, *, step: int = 0) -> Tensor:
        """Return the loss of one update."""
        return self.objective(model, self.augment(images, step=step), labels, step=step)

    def augment(self, images: Tensor, *, step: int = 0) -> Tensor:
        """Return the images (N, C, H, W) as this update has them; their memory format stays."""
        (count, _, height, width), pad = images.shape, self.padding
        words = random_words(random_keys(images, seed=derive_seed(self.seed, "augment", step)), 3)
        down, across = (random_below(words[:, column, None], 2 * pad + 1) for column in (0, 1))
        rows = down + torch.arange(height, device=images.device)
        columns = across + torch.arange(width, device=images.device)
        if self.flip:
            columns = torch.where(words[:, 2, None] < 0, columns.flip(1), columns)
        padded = functional.pad(images.detach(), (pad, pad, pad, pad))
        each = torch.arange(count, device=images.device)[:, None, None]
        moved = padded[each, :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)
        return torch.empty_like(images).copy_(moved)
