"""Losses per example, which attacks maximise: logits (N, K) and labels (N,) to a loss (N,), in nats or logits.

None reduces over the batch: a mean would divide each gradient by N, and with it decide which of them round to zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["LOSSES", "Loss", "RivalMargin", "cross_entropy", "dlr", "log_odds", "margin", "targeted_dlr"]

Loss = Callable[[Tensor, Tensor], Tensor]
"""A callable from logits (N, K) and labels (N,) to a loss for each example (N,)."""


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The cross entropy ``logsumexp_k z_k - z_y``, in nats: the papers' loss, which saturates in float32.

    Its gradient in the logits is ``softmax(z) - onehot(y)``. In float32, once the true class leads by 16.6 nats,
    ``softmax(z)_y - 1`` rounds to 0 and the direction is wrong; past 104 all of it is 0.

    Example:
        >>> cross_entropy(torch.zeros(1, 2), torch.tensor([0]))
        tensor([0.6931])
    """
    return functional.cross_entropy(logits, labels, reduction="none")


def log_odds(logits: Tensor, labels: Tensor) -> Tensor:
    """The log-odds against the true class, ``logsumexp_{k != y} z_k - z_y``, in nats.

    Cross entropy is ``softplus`` of it, so the gradients of both point the same way; this one does not saturate:
    its gradient in ``z_y`` is -1 at every margin.

    Raises:
        ValueError: fewer than two classes.

    Example:
        >>> log_odds(torch.tensor([[200.0, 0.0]]), torch.tensor([0]))
        tensor([-200.])
    """
    return torch.logsumexp(_without_true(logits, labels), 1) - _true(logits, labels)


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """The margin ``max_{k != y} z_k - z_y``, in logits: above 0 where misclassified (Carlini & Wagner 2017).

    Raises:
        ValueError: fewer than two classes.

    Example:
        >>> margin(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([0]))
        tensor([-1.])
    """
    return _without_true(logits, labels).amax(1) - _true(logits, labels)


@dataclass(frozen=True, kw_only=True)
class RivalMargin:
    """The margin to the r-th rival, ``z_(r) - z_y``, in logits; rank 1 is ``margin``.

    ``z_(r)`` is the r-th highest of the other classes' logits.

    One FGSM step for each rank gives the exact robust accuracy of a linear model: it moves towards each rival in turn,
    where cross entropy and log-odds move towards a mixture of them.

    Raises:
        ValueError: the rank is below 1, or not below the number of classes.

    Example:
        >>> RivalMargin(rank=2)(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([0]))
        tensor([-2.])
    """

    rank: int

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank: expected at least 1, got {self.rank}")

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss (N,)."""
        if self.rank >= logits.shape[1]:
            raise ValueError(f"rank: expected below the {logits.shape[1]} classes, got {self.rank}")
        return _without_true(logits, labels).topk(self.rank, dim=1).values[:, -1] - _true(logits, labels)


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """The difference of logits ratio ``-(z_y - max_{k != y} z_k) / (z_(1) - z_(3))`` (Croce & Hein 2020, eq. 6).

    ``z_(i)`` is the i-th highest logit. The loss does not change with the logits' scale or offset.

    Raises:
        ValueError: fewer than three classes.

    Example:
        >>> dlr(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([0]))
        tensor([-0.5000])
    """
    if logits.shape[1] < 3:
        raise ValueError(f"dlr: expected at least 3 classes, got {logits.shape[1]}; use margin or log_odds")
    top = logits.topk(3, dim=1).values
    return margin(logits, labels) / (top[:, 0] - top[:, 2]).clamp_min(torch.finfo(logits.dtype).tiny)


def targeted_dlr(logits: Tensor, labels: Tensor, *, targets: Tensor) -> Tensor:
    """The targeted ratio ``-(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2)`` (Croce & Hein 2020, eq. 7).

    ``z_(i)`` is the i-th highest logit; ``targets`` (N,) names the class t that each example is pushed towards. The
    loss does not change with the logits' scale or offset.

    Raises:
        ValueError: fewer than four classes.

    Example:
        >>> logits = torch.tensor([[3.0, 1.0, 2.0, 0.0]])
        >>> targeted_dlr(logits, torch.tensor([0]), targets=torch.tensor([2]))
        tensor([-0.4000])
    """
    if logits.shape[1] < 4:
        raise ValueError(f"targeted_dlr: expected at least 4 classes, got {logits.shape[1]}; use margin or log_odds")
    top = logits.topk(4, dim=1).values
    spread = (top[:, 0] - (top[:, 2] + top[:, 3]) / 2).clamp_min(torch.finfo(logits.dtype).tiny)
    return (_true(logits, targets) - _true(logits, labels)) / spread


LOSSES: dict[str, Loss] = {"cross-entropy": cross_entropy, "log-odds": log_odds, "margin": margin, "dlr": dlr}
"""The losses by the names that follow an attack's or an objective's, as in ``fgsm-log-odds``."""


def _true(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.gather(1, labels[:, None]).squeeze(1)


def _without_true(logits: Tensor, labels: Tensor) -> Tensor:
    if logits.shape[1] < 2:
        raise ValueError(f"logits: expected at least 2 classes, got {logits.shape[1]}")
    return logits.scatter(1, labels[:, None], -torch.inf)
