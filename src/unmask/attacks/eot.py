"""EOT: a randomised model as its mean over draws, to which any attack can be applied (Athalye et al. 2018)."""

from __future__ import annotations

from math import log

import torch
from torch import Tensor, nn

from unmask.numerics import Model


class EOT(nn.Module):
    """``log mean_i softmax(z_i / T)``: log probabilities of a randomised model, from ``draws`` passes.

    An attack on it follows the expectation over the model's randomness (expectation over transformation, Athalye et al.
    2018); on the model itself it would follow one draw. Each pass draws anew from the global random state, which every
    attack in ``unmask.attacks`` seeds and restores. Gradients flow through all passes, at ``draws`` times the time and
    memory. A model that draws nothing keeps its decisions, up to rounding.

    The mean is over probabilities, since a randomised model's accuracy is about their mean; the mean of the logits
    gives a draw that can no longer be fooled as much weight as one that can. But where the logits of one class are many
    nats apart, one draw alone decides that mean: T, for each image, is a quarter of their standard deviation over the
    draws, or 1 if that is less.

    Raises:
        ValueError: ``draws`` is not a whole number above 0.

    Example:
        >>> from itertools import cycle
        >>> draws = cycle([torch.tensor([[9.0, 0.0]]), torch.tensor([[0.0, 9.0]])])
        >>> EOT(lambda x: next(draws), draws=16)(torch.zeros(1, 1, 1, 1)).exp()
        tensor([[0.5000, 0.5000]])
    """

    def __init__(self, model: Model, *, draws: int = 16) -> None:
        """Wrap ``model``."""
        super().__init__()
        if not isinstance(draws, int) or draws < 1:
            raise ValueError(f"draws: expected a whole number above 0, got {draws}")
        self.model = model
        self.draws = draws

    def forward(self, images: Tensor) -> Tensor:
        """Return log probabilities (N, classes)."""
        draws = torch.stack([self.model(images) for _ in range(self.draws)])
        spread = (draws - draws.mean(0)).detach().square().mean((0, 2)).sqrt()[:, None]
        return torch.log_softmax(draws / (spread / 4).clamp_min(1), dim=-1).logsumexp(0) - log(self.draws)
