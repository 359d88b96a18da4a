"""Slopes for operations that have none: a call of torch, and the differentiable approximation of a jump.

A jump of height 1 at distance d from its threshold is approximated by ``softsign(d / w) / 2``, whose derivative ``1 /
(2 w (1 + |d| / w)^2)`` is that of Zenke and Ganguli's SuperSpike (2018); w is the example's mean ``|d|``. Roundings are
approximated by the identity, the straight-through estimator (Bengio et al. 2013).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

NOTICED = 0.1
"""A jump counts from this share of the output that a condition switches on and off."""


class Note(NamedTuple):
    """The kind of a tensor: a ``"condition"`` of zeros and ones, a ``"sign"``, or the indices of ``"winners"``.

    ``distance`` is the distance of each entry from its threshold; for ``"winners"``, that of the values ``source`` from
    the smallest value that wins.
    """

    of: Tensor
    kind: str
    distance: Tensor
    source: Tensor | None = None


@dataclass
class Call:
    """A call of one of torch's functions, with its result.

    ``args`` and ``kwargs`` hold the differentiable counterparts of tensors wherever such are known, also of whole
    numbers and truth values; ``given`` and ``given_by_name`` are the arguments of the call itself. ``notes`` are kept
    by the tensors' ``id``. An approximation that only repeats the function's own gradient empties ``name``.
    """

    name: str
    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    given: tuple[Any, ...]
    given_by_name: dict[str, Any]
    result: Any
    notes: dict[int, Note]

    def argument(self, place: int, *names: str) -> Any:
        """Return an argument by its place or by one of its names."""
        if len(self.args) > place:
            return self.args[place]
        return next((self.kwargs[name] for name in names if name in self.kwargs), None)

    def note(self, tensor: Any, kind: str) -> Note | None:
        """Return the note on a tensor, if it is of that kind."""
        found = self.notes.get(id(tensor))
        return found if found and found.kind == kind else None

    def record(self, tensor: Tensor, kind: str, distance: Tensor, source: Tensor | None = None) -> None:
        """Record a note on a tensor."""
        self.notes[id(tensor)] = Note(tensor, kind, distance, source)


class _WithGradientOf(torch.autograd.Function):
    """Values with the gradient of another tensor."""

    @staticmethod
    def forward(ctx: Any, smooth: Tensor, values: Tensor, name: str) -> Tensor:
        ctx.replaced = name
        return values.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient, None, None


def with_gradient_of(values: Tensor, smooth: Tensor, name: str = "") -> Tensor:
    """Return ``values`` with the gradient of ``smooth``; whole numbers are cast to its precision.

    Example:
        >>> x = torch.tensor([0.3, 0.8], requires_grad=True)
        >>> with_gradient_of(x.round(), 3 * x).sum().backward()
        >>> x.grad
        tensor([3., 3.])
    """
    values = values.detach() if values.is_floating_point() else values.detach().to(smooth.dtype)
    result: Tensor = _WithGradientOf.apply(smooth.to(values.dtype).expand_as(values), values, name)  # type: ignore[no-untyped-call]
    return result


def step(distance: Tensor) -> Tensor:
    """Return ``softsign(distance / w) / 2``, the approximation of a jump by 1 at distance 0.

    Example:
        >>> step(torch.tensor([[-3.0, -1.0, 1.0, 3.0]]))
        tensor([[-0.3000, -0.1667,  0.1667,  0.3000]])
    """
    size = distance.detach().abs()
    width = size.flatten(1).mean(1).view(-1, *[1] * (size.ndim - 1)) if size.ndim > 1 else size.mean()
    return functional.softsign(distance / torch.where(width > 0, width, 1.0)) / 2


def jump(gap: Tensor, distance: Tensor) -> Tensor | None:
    """Return the part of ``gap`` that is a jump, of the same shape; None if it is below ``NOTICED``.

    ``gap`` is the change of the output when the condition changes. Where it grows from 0 with the distance, as in a
    ReLU written as a condition, nothing jumps: the part that a cubic without a constant explains, for each example, is
    subtracted.

    Example:
        >>> x = torch.tensor([[-1.0, -0.5, 0.5, 1.0, 2.0]])
        >>> jump(x, x) is None, jump(x + 3, x)
        (True, tensor([[3., 3., 3., 3., 3.]]))
    """
    rows = (1, -1) if distance.ndim < 2 else (len(distance), -1)
    d, y = (one.detach().double().reshape(rows) for one in (distance, gap.expand_as(distance)))
    powers = [d**exponent for exponent in range(4)]
    products = torch.stack([(one * other).mean(1) for one in powers for other in (*powers, y)], dim=1).view(-1, 4, 5)
    fit = torch.linalg.pinv(products[:, :, :4], hermitian=True) @ products[:, :, 4:]
    rest = y - sum(fit[:, exponent] * powers[exponent] for exponent in (1, 2, 3))
    worth = rest.square().mean(1, keepdim=True) > NOTICED**2 * y.square().mean(1, keepdim=True)
    return (rest * worth).view_as(distance).to(gap.dtype) if bool(worth.any()) else None


def replaced_by(node: object) -> str | None:
    """Return the name that ``with_gradient_of`` gave to a node of the graph; None for any other node.

    Example:
        >>> x = torch.tensor([0.3], requires_grad=True)
        >>> replaced_by(with_gradient_of(x.round(), x, "round").grad_fn), replaced_by(x.round().grad_fn)
        ('round', None)
    """
    return node.replaced if isinstance(node, _WithGradientOf._backward_cls) else None  # type: ignore[attr-defined]
