"""Approximations of torch's functions that have no gradient, or none that helps an attack, by the functions' names.

An approximation takes a call and returns a tensor of the result's shape with the wanted gradient, whatever its values:
roundings get the straight-through estimator, jumps the slope of ``slopes.step``. A condition that switches between two
tensors gets a slope only where that makes a jump: the gradient of a ReLU written as a condition is right already.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from unmask.attacks.bpda.slopes import Call, jump, step

Approximation = Callable[[Call], Any]
"""From a call to a tensor of the result's shape with the wanted gradient; None where its own gradient is right."""


def _switched(call: Call, mask: Tensor, smooth: Any, yes: Any, no: Any) -> Tensor | None:
    """Return ``where(mask, yes, no)`` with a slope where it jumps; ``smooth`` is the mask's counterpart, if any."""
    if not isinstance(smooth, Tensor) or not smooth.is_floating_point():
        return None
    note = call.note(mask, "condition")
    yes, no = (torch.as_tensor(one, dtype=call.result.dtype, device=mask.device) for one in (yes, no))
    if note is None or note.distance.shape != call.result.shape:
        height, slope = (yes - no).detach(), smooth
    else:
        height, slope = jump((yes - no).expand_as(note.distance), note.distance), step(note.distance)
    return None if height is None else torch.where(mask.bool(), yes, no) + height * slope


def _identity(call: Call) -> Any:
    """Return the input: the straight-through estimator."""
    return _tensor(call.args[0])


def _tensor(value: Any) -> Tensor | None:
    return value if isinstance(value, Tensor) and value.is_floating_point() else None


def _quotient(call: Call) -> Any:
    """Return the division without rounding; the operands of ``rfloordiv`` are swapped."""
    if call.name == "div" and call.kwargs.get("rounding_mode") is None:
        return None
    one, other = call.args[1::-1] if call.name == "rfloordiv" else call.args[:2]
    return torch.as_tensor(one / other)


def _rest(call: Call) -> Any:
    """Return a remainder without gradient: ``x - x % s`` is a rounding too."""
    return 0 * call.args[0]


def _sign(call: Call) -> Any:
    """Return a jump from -1 to 1."""
    call.record(call.result, "sign", call.args[0])
    return 2 * step(call.args[0])


def _heaviside(call: Call) -> Any:
    return step(call.args[0])


def _compared(call: Call) -> Any:
    """Return the step of ``a > b`` and its like."""
    one, other = call.args[:2]
    if call.name in ("lt", "le", "less", "less_equal"):
        one, other = other, one
    distance = one - other
    call.record(call.result, "condition", distance)
    return step(distance)


def _equal(call: Call) -> Any:
    """Return ``1 / (1 + (a - b)^2)`` for ``a == b`` of whole numbers: 1 where equal, 1/2 at the neighbours."""
    one, other = call.args[:2]
    if any(isinstance(value, Tensor) and value.is_floating_point() for value in call.given[:2]):
        return None
    near = 1 / (1 + (one - other) ** 2)
    return near if call.name == "eq" else -near


def _and(call: Call) -> Any:
    """Return the product of truth values; of a whole number and a mask of bits, the number."""
    one, other = call.args[:2]
    if call.result.dtype == torch.bool:
        return one * other
    return _tensor(one) if isinstance(one, Tensor) else _tensor(other)


def _or(call: Call) -> Any:
    one, other = call.args[:2]
    return one + other - one * other if call.result.dtype == torch.bool else one


def _xor(call: Call) -> Any:
    one, other = call.args[:2]
    return one + other - 2 * one * other if call.result.dtype == torch.bool else None


def _not(call: Call) -> Any:
    """Return the negation, a condition with the negative distance."""
    if note := call.note(call.given[0], "condition"):
        call.record(call.result, "condition", -note.distance)
    return -call.args[0]


def _shifted(call: Call) -> Any:
    places = 2.0 ** call.args[1]
    return call.args[0] * places if "lshift" in call.name or "left" in call.name else call.args[0] / places


def _cast(call: Call) -> Any:
    """Return the input of a cast to whole numbers and back, or from truth values, which stay conditions."""
    if call.result.dtype == torch.bool or (call.given[0].is_floating_point() and call.result.is_floating_point()):
        return None
    if note := call.note(call.given[0], "condition"):
        call.record(call.result, "condition", note.distance)
    return _identity(call)


def _where(call: Call) -> Any:
    return _switched(call, call.given[0], *call.args) if len(call.args) == 3 else None


def _filled(call: Call) -> Any:
    """Return the condition of ``masked_fill``."""
    return _switched(call, call.given[1], call.args[1], call.argument(2, "value"), call.args[0])


def _assigned(call: Call) -> Any:
    """Return the condition of ``x[condition] = number``."""
    mask, value = call.given[1:3]
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool or (isinstance(value, Tensor) and value.ndim):
        return None
    return _switched(call, mask, call.args[1], call.args[2], call.args[0])


def _product(call: Call) -> Any:
    """Return ``x * (x > t)`` as a condition like ``where``, if the other factor has a gradient too."""
    for mask, other in ((1, 0), (0, 1)):
        factor = call.args[other]
        note = call.note(call.given[mask], "condition")
        if note and isinstance(factor, Tensor) and factor.requires_grad and id(call.given[other]) not in call.notes:
            switched = _switched(call, call.given[mask], call.args[mask], factor, 0.0)
            if switched is None:
                call.name = ""
                return factor * call.given[mask]
            return switched
    return None


def _threshold(call: Call) -> Any:
    """Return the condition of ``x`` where it is above ``t``, else a number."""
    x, bound, other = call.args[:3]
    mask = call.given[0] > bound
    call.record(mask, "condition", x - bound)
    return _switched(call, mask, x, x, other)


def _clamped(call: Call) -> Any:
    """Return the identity between two bounds; beyond, its slope fades with 1 / (1 + d)^2, d in units of the range.

    One bound alone stays as it is, since that is a ReLU; but after ``sign`` it gives another step.
    """
    x, low, high = call.args[0], call.argument(1, "min"), call.argument(2, "max")
    if call.note(call.given[0], "sign"):
        ends = [call.func(torch.full_like(x, end), *call.given[1:], **call.given_by_name) for end in (-1.0, 1.0)]
        return (ends[1] - ends[0]) / 2 * x
    if call.name not in ("clamp", "clip") or low is None or high is None:
        return None
    beyond = ((x - high).clamp_min(0) + (low - x).clamp_min(0)).detach() / (high - low)
    return x / (1 + beyond) ** 2 if bool((beyond > 0).any()) else None


def _winners(call: Call) -> None:
    """Record the indices that ``topk`` returns as winners, with their leads; its values have a gradient."""
    x, count = call.args[0], call.argument(1, "k")
    place = call.argument(2, "dim")
    place = -1 if place is None else place
    largest = call.argument(3, "largest") is not False
    if count < x.shape[place]:
        border = x.topk(count + 1, place, largest).values.narrow(place, count - 1, 2).mean(place, keepdim=True)
        call.record(call.result[1], "winners", x - border if largest else border - x, x)


def _scattered(call: Call) -> Any:
    """Return values, or a number, scattered to the indices of winners."""
    base, place, source = call.args[0], call.argument(1, "dim"), call.argument(3, "src", "value")
    index = call.given[2] if len(call.given) > 2 else call.given_by_name.get("index")
    note = call.note(index, "winners")
    if index is None or note is None or note.distance.shape != call.result.shape:
        return None
    mask = torch.zeros_like(call.result, dtype=torch.bool).scatter(place, index, True)
    slope = step(note.distance)
    if isinstance(source, Tensor):
        found = jump(note.source - base, note.distance) if note.source is not None else None
        scattered = base.scatter(place, index, source)
        return scattered if found is None else scattered + found * slope
    call.record(call.result, "condition", note.distance)
    base = base.to(slope.dtype)
    return torch.where(mask, float(source), base) + (float(source) - base) * slope


def _best_index(call: Call) -> Any:
    """Return ``argmax`` or ``argmin`` as the mean index under a softmax whose width is the values' spread."""
    x, place = call.args[0], call.argument(1, "dim")
    if place is None:
        return None
    from_mean = x - x.mean(place, keepdim=True)
    spread = from_mean.detach().square().mean(place, keepdim=True).sqrt()
    weights = from_mean / spread.clamp_min(torch.finfo(x.dtype).tiny)
    odds = torch.softmax(weights if call.name == "argmax" else -weights, dim=place).movedim(place, -1)
    mean = odds @ torch.arange(odds.shape[-1], dtype=x.dtype, device=x.device)
    return mean.view_as(call.result)


def _bucket(call: Call) -> Any:
    """Return the number of a bucket as a line through the bounds; with one bound, a step."""
    x, bounds = call.args[1::-1] if call.name == "searchsorted" else call.args[:2]
    if bounds.ndim != 1 or not len(bounds):
        return None
    return step(x - bounds) if len(bounds) == 1 else x * (len(bounds) - 1) / (bounds[-1] - bounds[0])


def _one_hot(call: Call) -> Any:
    """Return a softmax of the squared distance to each index."""
    places = torch.arange(call.result.shape[-1], device=call.result.device)
    return torch.softmax(-((call.args[0][..., None] - places) ** 2) / 2, dim=-1)


def _looked_up(call: Call) -> Any:
    """Return the slope of ``table[number]`` and ``embedding`` between the two neighbours."""
    table, number = call.given[::-1][:2] if call.name == "embedding" else call.given[:2]
    smooth = call.args[0] if call.name == "embedding" else call.args[1]
    if not isinstance(smooth, Tensor) or not smooth.is_floating_point() or number.dtype == torch.bool:
        return None
    above, below = (number + 1).clamp_max(len(table) - 1), (number - 1).clamp_min(0)
    span = (above - below).clamp_min(1).view(*number.shape, *[1] * (table.ndim - 1))
    slope = (table[above] - table[below]) / span
    return slope.detach() * smooth.view(*number.shape, *[1] * (table.ndim - 1))


ROUNDING = ("round", "floor", "ceil", "trunc", "fix", "hardshrink", "detach")
CASTS = ("float", "double", "half", "bfloat16", "to", "type", "type_as", "long", "int", "short", "char", "byte")
COMPARING = ("gt", "ge", "lt", "le", "greater", "greater_equal", "less", "less_equal")

APPROXIMATIONS: dict[str, Approximation] = {
    **dict.fromkeys(ROUNDING, _identity),
    **dict.fromkeys(("floor_divide", "floordiv", "rfloordiv", "ifloordiv", "div", "divide"), _quotient),
    **dict.fromkeys(("remainder", "fmod", "mod", "imod", "frac"), _rest),
    **dict.fromkeys(("sign", "sgn"), _sign),
    "heaviside": _heaviside,
    **dict.fromkeys(COMPARING, _compared),
    **dict.fromkeys(("eq", "ne"), _equal),
    **dict.fromkeys(("and", "iand", "bitwise_and", "logical_and"), _and),
    **dict.fromkeys(("or", "ior", "bitwise_or", "logical_or"), _or),
    **dict.fromkeys(("xor", "ixor", "bitwise_xor", "logical_xor"), _xor),
    **dict.fromkeys(("invert", "bitwise_not", "logical_not"), _not),
    **dict.fromkeys(("lshift", "rshift", "bitwise_left_shift", "bitwise_right_shift"), _shifted),
    **dict.fromkeys(CASTS, _cast),
    "where": _where,
    "masked_fill": _filled,
    "setitem": _assigned,
    **dict.fromkeys(("mul", "multiply"), _product),
    "threshold": _threshold,
    **dict.fromkeys(("clamp", "clip", "clamp_min", "clamp_max", "relu", "hardtanh"), _clamped),
    "topk": _winners,
    "scatter": _scattered,
    **dict.fromkeys(("argmax", "argmin"), _best_index),
    **dict.fromkeys(("bucketize", "searchsorted"), _bucket),
    "one_hot": _one_hot,
    **dict.fromkeys(("getitem", "embedding"), _looked_up),
}
"""The approximation of each function; all others are differentiated as they are."""
