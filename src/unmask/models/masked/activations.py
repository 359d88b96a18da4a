"""Activations that mask gradients, for any network that ``unmask.models.build`` makes in place of ReLU."""

from __future__ import annotations

from copy import deepcopy
from math import isfinite

import torch
from torch import Tensor, nn

__all__ = ["JumpReLU", "KWinners", "PrunedReLU", "SteppedReLU", "with_activation"]


def with_activation(model: nn.Module, activation: nn.Module) -> nn.Module:
    """Return a copy of a network with a copy of ``activation`` in the place of each ``nn.ReLU``.

    Weights keep their names, so that those of the one can be loaded into the other. Other activations stay.

    Raises:
        ValueError: the network has no ``nn.ReLU``.

    Example:
        >>> with_activation(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), KWinners(share=0.25))
        Sequential(
          (0): Linear(in_features=4, out_features=8, bias=True)
          (1): KWinners(share=0.25)
          (2): Linear(in_features=8, out_features=2, bias=True)
        )
    """
    changed = deepcopy(model)
    # One module may stand in several places, each of which has a name of its own.
    places = {name: part for name, part in changed.named_modules(remove_duplicate=False) if isinstance(part, nn.ReLU)}
    places.pop("", None)
    if not places:
        raise ValueError(f"model: expected a network with nn.ReLU in it, got {type(model).__name__} without")
    for name, part in places.items():
        changed.set_submodule(name, deepcopy(activation).train(part.training))
    return changed


class KWinners(nn.Module):
    """K-winners-take-all: the k largest values of a layer as they are, and 0 for the others (Xiao et al. 2020).

    k = floor(share n) of the example's n units, all channels and pixels together, and at least 1. Train the network
    with it.

    Masked: whenever two units change places the output jumps, so that the gradient, right at its point, says nothing
    about the next: many small regions, each with a gradient of its own.
    Truth: the network's own. A gradient estimated from many points near the image is the remedy (Tramer et al. 2020),
    or a query attack.

    Raises:
        ValueError: ``share`` is not a number above 0 and up to 1.

    Example:
        >>> KWinners(share=0.5)(torch.tensor([[0.1, -1.0, 0.3, 0.2]]))
        tensor([[0.0000, 0.0000, 0.3000, 0.2000]])
    """

    def __init__(self, share: float = 0.1) -> None:
        """``share`` of an example's units win."""
        super().__init__()
        if not 0 < share <= 1:
            raise ValueError(f"share: expected a number above 0 and up to 1, got {share}")
        self.share = share

    def forward(self, values: Tensor) -> Tensor:
        """Take (N, ...) to the same shape."""
        flat = values.flatten(1)
        winners = flat.topk(max(1, int(self.share * flat.shape[1])), dim=1)
        return torch.zeros_like(flat).scatter(1, winners.indices, winners.values).view(values.shape)

    def extra_repr(self) -> str:
        """The settings, as torch prints them."""
        return f"share={self.share}"


class JumpReLU(nn.Module):
    """ReLU with a jump: ``x + rise`` above a threshold, and 0 up to it.

    With ``rise=0`` and a threshold above 0 it is the retrofit of Erichson et al. (2020), which needs no training: the
    jump is of the threshold's size. With a rise at threshold 0 it is Goodfellow's, unpublished but for its use, with a
    rise of 5, in Google's self-study of adversarial robustness: the network has to be trained with it, while the rise
    grows from 0; ``rise`` may be assigned to.

    Masked: the jump is the larger part of the unit's change, and not part of the gradient; below the threshold there is
    none.
    Truth: the network's own. A query attack, or the gradient of a slope in place of the jump, is the remedy.

    Raises:
        ValueError: ``threshold`` or ``rise`` is not a number of at least 0.

    Example:
        >>> JumpReLU(rise=5.0)(torch.tensor([-1.0, 0.0, 0.5]))
        tensor([0.0000, 0.0000, 5.5000])
        >>> JumpReLU(threshold=0.4, rise=0.0)(torch.tensor([-1.0, 0.4, 0.5]))
        tensor([0.0000, 0.0000, 0.5000])
    """

    def __init__(self, threshold: float = 0.0, rise: float = 5.0) -> None:
        """A jump by ``threshold + rise``."""
        super().__init__()
        if not (isfinite(threshold) and isfinite(rise) and threshold >= 0 and rise >= 0):
            raise ValueError(f"threshold, rise: expected numbers of at least 0, got {threshold} and {rise}")
        self.threshold = threshold
        self.rise = rise

    def forward(self, values: Tensor) -> Tensor:
        """Take values of any shape to the same shape."""
        return torch.where(values > self.threshold, values + self.rise, 0.0)

    def extra_repr(self) -> str:
        """The settings, as torch prints them."""
        return f"threshold={self.threshold}, rise={self.rise}"


class SteppedReLU(nn.Module):
    """ReLU in steps: each piece of length ``step`` has the slope given, about the middle of ReLU's own piece.

    For x above 0, m + slope (x - m), where m = step (floor(x / step) + 1/2); else 0. It differs from ReLU by at most
    |1 - slope| step / 2, so that a trained network of ReLUs can be given it.

    Masked: the gradient is that of ReLU times ``slope`` for each such layer on the way. With slope 0, as in networks of
    quantised activations, it is zero; with a slope below 0 and an odd number of layers it points away from the
    rise. With slope 1 it is ReLU, and nothing is masked.
    Truth: the network's own, near that of the network of ReLUs by the bound above. The gradient of the ReLUs in its
    place is the remedy: BPDA (Athalye et al. 2018).

    Raises:
        ValueError: ``step`` is not a number above 0, or ``slope`` is not finite.

    Example:
        >>> SteppedReLU(step=0.5)(torch.tensor([-1.0, 0.1, 0.4, 0.6]))
        tensor([0.0000, 0.2500, 0.2500, 0.7500])
    """

    def __init__(self, step: float = 0.1, slope: float = 0.0) -> None:
        """Steps of length ``step``, in units of the values."""
        super().__init__()
        if not (isfinite(step) and step > 0 and isfinite(slope)):
            raise ValueError(f"step, slope: expected a number above 0 and a finite one, got {step} and {slope}")
        self.step = step
        self.slope = slope

    def forward(self, values: Tensor) -> Tensor:
        """Take values of any shape to the same shape."""
        middle = self.step * (torch.floor(values / self.step) + 0.5)
        return torch.where(values > 0, middle + self.slope * (values - middle), 0.0)

    def extra_repr(self) -> str:
        """The settings, as torch prints them."""
        return f"step={self.step}, slope={self.slope}"


class PrunedReLU(nn.Module):
    """Stochastic activation pruning: ReLU, of which a random part is kept and scaled up (Dhillon et al. 2018).

    Of an example's n units r = share n are drawn, with replacement, each by its part p of their sum; one that was drawn
    is divided by 1 - (1 - p)^r, the odds of that, so that the expectation is ReLU's; the others become 0. A trained
    network of ReLUs can be given it.

    Masked: a single gradient is that of one draw, from the global random state; units that were not drawn have none.
    Truth: accuracy is an expectation over the draws; the remedy is the mean of the gradient over them (Athalye et al.
    2018). The more are drawn, the nearer it is to the network of ReLUs.

    Raises:
        ValueError: ``share`` is not a number above 0.

    Example:
        >>> values = torch.tensor([[0.0, 0.5, 0.5]])
        >>> PrunedReLU(share=1 / 3)(values).sort().values  # one of two at even odds, twice as large
        tensor([[0., 0., 1.]])
    """

    def __init__(self, share: float = 1.0) -> None:
        """``share`` is the number of draws per unit; at 1, about 63 % of equal units are kept."""
        super().__init__()
        if not (isfinite(share) and share > 0):
            raise ValueError(f"share: expected a number above 0, got {share}")
        self.share = share

    def forward(self, values: Tensor) -> Tensor:
        """Take (N, ...) to the same shape."""
        active = values.flatten(1).relu()
        total = active.sum(1, keepdim=True)
        limits = torch.finfo(values.dtype)
        part = active / total.clamp_min(limits.tiny)
        draws = max(1, round(self.share * active.shape[1]))
        odds = torch.where(total > 0, part, 1.0).detach()  # where all are 0 it does not matter which are drawn
        drawn = torch.zeros_like(active, dtype=torch.bool)
        drawn.scatter_(1, torch.multinomial(odds, draws, replacement=True), True).logical_and_(active > 0)
        kept = -torch.expm1(draws * torch.log1p(-part.clamp_max(1 - limits.eps)))  # 1 - (1 - p)^r, also for small p
        return torch.where(drawn, active / torch.where(drawn, kept, 1.0), 0.0).view(values.shape)

    def extra_repr(self) -> str:
        """The settings, as torch prints them."""
        return f"share={self.share}"
