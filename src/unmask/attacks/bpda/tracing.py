"""Watches a model run, and keeps a differentiable tensor beside each one that lost its way back to the images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.overrides import TorchFunctionMode

from unmask.attacks.bpda.functions import RULES
from unmask.attacks.bpda.slopes import Call, Note, pinned

SQUASHING = {"softmax", "sigmoid", "tanh"}
"""Increasing functions (softmax: among an image's classes): at the end of a model they flatten its logits."""

DRAWING = {
    *("dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout", "dropout1d", "dropout2d", "dropout3d"),
    *("bernoulli", "multinomial", "normal", "uniform", "exponential", "random", "poisson", "rrelu", "gumbel_softmax"),
    *("rand_like", "randn_like", "randint_like", "scaled_dot_product_attention"),
}
"""Functions that draw random numbers: what follows the model's own call has to draw the same."""


WRITING = {
    *("__setitem__", "__iadd__", "__isub__", "__imul__", "__itruediv__", "__ifloordiv__", "__imod__", "__ipow__"),
    *("__iand__", "__ior__", "__ixor__", "__ilshift__", "__irshift__"),
}
"""Operators that write into their first operand."""


class Squashed(NamedTuple):
    """What a function of ``SQUASHING`` was given and gave."""

    name: str
    values: Tensor
    inputs: Tensor


class _Shadow(NamedTuple):
    """A differentiable tensor ``soft`` of the same numbers as ``of`` had at its ``version``."""

    of: Tensor
    version: int
    soft: Tensor


class Shadows(TorchFunctionMode):
    """Runs a model as it is, and beside each tensor that lost its way back to the images keeps one that has it."""

    def __init__(self, *, wanted: bool, rows: int) -> None:
        super().__init__()
        self.wanted, self.rows = wanted, rows
        self.shadows: dict[int, _Shadow] = {}
        self.notes: dict[int, Note] = {}
        self.squashed: list[Squashed] = []
        self.switched_off = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call ``func``, and see what becomes of the gradient."""
        kwargs = kwargs or {}
        name, in_place = _named(func)
        if name == "set_grad_enabled":
            self.switched_off = not args[0]
        if not self._concerned(name, args, kwargs):
            result = func(*args, **kwargs)
            self._remember(name, args, kwargs, result)
            return result
        soft, soft_named = _each(self.soft, args), _each(self.soft, kwargs)
        if in_place:
            soft = (_writable(soft[0]), *soft[1:])
        before = _random_states() if name in DRAWING else None
        result = func(*args, **kwargs)
        if not in_place and not any(True for _ in _tensors(result)):
            return result
        self._remember(name, soft, soft_named, result)
        call = Call(name, func, soft, soft_named, args, kwargs, args[0] if in_place else result, self.notes)
        with _drawing_again(before):
            smooth, label = self._smooth(call, in_place=in_place)
        return self._settled(call, result, smooth, label, in_place=in_place)

    def soft(self, tensor: Tensor) -> Tensor:
        """The differentiable tensor of the same numbers, if there is another than ``tensor`` itself."""
        shadow = self.shadows.get(id(tensor))
        if shadow is not None:
            return shadow.soft if shadow.version == tensor._version else tensor
        if self._is_returned(tensor):
            return pinned(tensor, self.soft(tensor._base), "custom backward")  # type: ignore[arg-type]
        return tensor

    def _is_returned(self, tensor: Tensor) -> bool:
        """Whether an autograd function gave back what it was given, so that no call of torch was seen inside."""
        node, base = tensor.grad_fn, tensor._base
        return (
            isinstance(node, BackwardCFunction)
            and not hasattr(node, "replaced")
            and base is not None
            and (base.shape, base.stride(), base.data_ptr()) == (tensor.shape, tensor.stride(), tensor.data_ptr())
        )

    def _concerned(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether a call may change what becomes of the gradient."""
        if not self.wanted or "out" in kwargs:
            return False
        given = [*_tensors(args), *_tensors(kwargs)]
        if any(id(one) in self.shadows or id(one) in self.notes or self._is_returned(one) for one in given):
            return True
        return any(one.requires_grad for one in given) and (name in RULES or not torch.is_grad_enabled())

    def _smooth(self, call: Call, *, in_place: bool) -> tuple[Any, str]:
        """What has the wanted gradient, if another is wanted than the call's own, and what to call the change."""
        recording, rule = torch.is_grad_enabled(), RULES.get(call.name)
        changed = [*_tensors(call.args[in_place:]), *_tensors(call.kwargs)]
        given = [*_tensors(call.given[in_place:]), *_tensors(call.given_by_name)]
        shadowed = any(one is not other for one, other in zip(changed, given, strict=True))
        shadowed |= in_place and id(call.given[0]) in self.shadows
        with torch.enable_grad():
            smooth = _tried(rule, call) if rule else None
            if smooth is not None:
                return smooth, call.name
            if not shadowed and recording:
                return None, ""
            smooth = _tried(_again, call, call.args, call.kwargs)
            if smooth is None:  # perhaps for want of whole numbers, as in an index
                args = tuple(map(_floating, call.args, call.given))
                smooth = _tried(_again, call, args, call.given_by_name)
        return smooth, "" if shadowed else "no_grad" if self.switched_off else "custom backward"

    def _settled(self, call: Call, result: Any, smooth: Any, label: str, *, in_place: bool) -> Any:
        """What the model gets: the call's result, or the same numbers with another gradient."""
        if isinstance(call.result, Tensor):
            kept = self._kept(call.result, smooth, label, in_place=in_place)
            return result if kept is call.result else kept
        if isinstance(smooth, tuple | list):
            for one, other in zip(call.result, smooth, strict=True):
                self._kept(one, other, label, in_place=True)
        return result

    def _kept(self, tensor: Tensor, smooth: Any, label: str, *, in_place: bool) -> Tensor:
        if not isinstance(smooth, Tensor) or not smooth.requires_grad or tensor.is_inference():
            return tensor
        with torch.enable_grad():
            soft: Tensor | None = _tried(pinned, tensor, smooth, label)
        if soft is None:
            return tensor
        if in_place or not (tensor.is_floating_point() and tensor.requires_grad and torch.is_grad_enabled()):
            self.shadows[id(tensor)] = _Shadow(tensor, tensor._version, soft)
            return tensor
        if note := self.notes.get(id(tensor)):
            self.notes[id(soft)] = note._replace(of=soft)
        return soft

    def _remember(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Note what was squashed, if it may be the outputs."""
        if name in SQUASHING and isinstance(result, Tensor) and result.ndim == 2 and len(result) == self.rows:
            place = (*args[1:2], kwargs.get("dim", 1))[0] if name == "softmax" else 1
            if place in (1, -1):
                self.squashed.append(Squashed(name, result.detach(), args[0]))


def _named(func: Callable[..., Any]) -> tuple[str, bool]:
    """Torch's name for a function, without underscores, and whether it writes into its first argument."""
    if func == Tensor.data.__get__:  # type: ignore[attr-defined]
        return "detach", False
    name = getattr(func, "__name__", "")
    in_place = name in WRITING or (name.endswith("_") and not name.endswith("__"))
    return name.strip("_"), in_place


def _tensors(value: Any) -> Iterator[Tensor]:
    """All tensors in nested tuples, lists and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _tensors(one)


def _each(change: Callable[[Tensor], Tensor], value: Any) -> Any:
    """The same nested tuples, lists and dictionaries, with each tensor changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {name: _each(change, one) for name, one in value.items()}
    if type(value) in (tuple, list):
        return type(value)(_each(change, one) for one in value)
    return value


def _floating(soft: Any, given: Any) -> Any:
    """The differentiable one, unless it stands for whole numbers or truth values."""
    return given if isinstance(given, Tensor) and not given.is_floating_point() else soft


def _writable(tensor: Tensor) -> Tensor:
    """A copy that a function may write into and that can hold a gradient."""
    with torch.enable_grad():
        return tensor.clone() if tensor.is_floating_point() else tensor.to(torch.get_default_dtype())


def _again(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The function on the differentiable tensors; where it wrote into the first, that."""
    result = call.func(*args, **kwargs)
    return args[0] if result is None else result


def _tried(function: Callable[..., Any], *args: Any) -> Any:
    """What comes back; None if what works on a model's own tensors does not work on differentiable ones."""
    try:
        return function(*args)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError, KeyError):
        return None


def _random_states() -> list[Tensor]:
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [])]


@contextmanager
def _drawing_again(states: list[Tensor] | None) -> Iterator[None]:
    """Start the random numbers from these states, and afterwards go on as if nothing had been drawn."""
    if states is None:
        yield
        return
    with torch.random.fork_rng(devices=range(len(states) - 1)):
        torch.set_rng_state(states[0])
        if states[1:]:
            torch.cuda.set_rng_state_all(states[1:])
        yield
