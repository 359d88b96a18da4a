"""Traces a model's calls of torch, and keeps a differentiable counterpart of each tensor that lost its gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.overrides import TorchFunctionMode

from unmask.attacks.bpda.functions import APPROXIMATIONS
from unmask.attacks.bpda.slopes import Call, Note, replaced_by, with_gradient_of

SQUASHING = {"softmax", "sigmoid", "tanh"}
"""Increasing functions (softmax: among an image's classes): at the end of a model they flatten its logits."""

DRAWING = {
    *("dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout", "dropout1d", "dropout2d", "dropout3d"),
    *("bernoulli", "multinomial", "normal", "uniform", "exponential", "random", "poisson", "rrelu", "gumbel_softmax"),
    *("rand_like", "randn_like", "randint_like", "scaled_dot_product_attention"),
}
"""Functions that draw random numbers: a second call for the gradient has to draw the same."""


WRITING = {
    *("__setitem__", "__iadd__", "__isub__", "__imul__", "__itruediv__", "__ifloordiv__", "__imod__", "__ipow__"),
    *("__iand__", "__ior__", "__ixor__", "__ilshift__", "__irshift__"),
}
"""Operators that write into their first operand."""


class Squashed(NamedTuple):
    """A call of a function of ``SQUASHING``: its name, its outputs and its inputs."""

    name: str
    values: Tensor
    inputs: Tensor


class _Counterpart(NamedTuple):
    """A differentiable tensor ``smooth`` with the values that ``of`` had at its ``version``."""

    of: Tensor
    version: int
    smooth: Tensor


class Tracing(TorchFunctionMode):
    """Runs a model as it is, and keeps a differentiable counterpart of each tensor that lost its gradient.

    Attributes:
        wanted: True if the images need a gradient; otherwise only ``squashed`` is traced.
        rows: the number of images.
        counterparts, notes: by the tensors' ``id``.
        squashed: the calls of ``SQUASHING`` whose outputs may be the model's.
        switched_off: True after the model switched gradients off by itself.
    """

    def __init__(self, *, wanted: bool, rows: int) -> None:
        super().__init__()
        self.wanted, self.rows = wanted, rows
        self.counterparts: dict[int, _Counterpart] = {}
        self.notes: dict[int, Note] = {}
        self.squashed: list[Squashed] = []
        self.switched_off = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call ``func``, and give its result a gradient where it lost one."""
        kwargs = kwargs or {}
        name, in_place = _named(func)
        if name == "set_grad_enabled":
            self.switched_off = not args[0]
        if not self._concerned(name, args, kwargs):
            result = func(*args, **kwargs)
            self._remember(name, args, kwargs, result)
            return result
        smooth_args, smooth_named = _each(self.counterpart, args), _each(self.counterpart, kwargs)
        if in_place:
            smooth_args = (_writable(smooth_args[0]), *smooth_args[1:])
        before = _random_states() if name in DRAWING else None
        result = func(*args, **kwargs)
        if not in_place and not any(True for _ in _tensors(result)):
            return result
        self._remember(name, smooth_args, smooth_named, result)
        output = args[0] if in_place else result
        call = Call(name, func, smooth_args, smooth_named, args, kwargs, output, self.notes)
        with _drawing_again(before):
            smooth, label = self._smooth(call, in_place=in_place)
        return self._settled(call, result, smooth, label, in_place=in_place)

    def counterpart(self, tensor: Tensor) -> Tensor:
        """Return the differentiable counterpart of a tensor, or the tensor itself if it has none."""
        known = self.counterparts.get(id(tensor))
        if known is not None:
            return known.smooth if known.version == tensor._version else tensor
        if self._is_returned(tensor):
            return with_gradient_of(tensor, self.counterpart(tensor._base), "custom backward")  # type: ignore[arg-type]
        return tensor

    def _is_returned(self, tensor: Tensor) -> bool:
        """Return True if an autograd function returned its input, so that no call of torch was traced inside."""
        node, base = tensor.grad_fn, tensor._base
        return (
            isinstance(node, BackwardCFunction)
            and replaced_by(node) is None
            and base is not None
            and (base.shape, base.stride(), base.data_ptr()) == (tensor.shape, tensor.stride(), tensor.data_ptr())
        )

    def _concerned(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Return True if a call may change the gradient."""
        if not self.wanted or "out" in kwargs:
            return False
        given = [*_tensors(args), *_tensors(kwargs)]
        if any(id(one) in self.counterparts or id(one) in self.notes or self._is_returned(one) for one in given):
            return True
        return any(one.requires_grad for one in given) and (name in APPROXIMATIONS or not torch.is_grad_enabled())

    def _smooth(self, call: Call, *, in_place: bool) -> tuple[Any, str]:
        """Return a tensor with the wanted gradient, None where the call's own is right, and the name of the change."""
        recording, approximation = torch.is_grad_enabled(), APPROXIMATIONS.get(call.name)
        changed = [*_tensors(call.args[in_place:]), *_tensors(call.kwargs)]
        given = [*_tensors(call.given[in_place:]), *_tensors(call.given_by_name)]
        traced = any(one is not other for one, other in zip(changed, given, strict=True))
        traced |= in_place and id(call.given[0]) in self.counterparts
        with torch.enable_grad():
            smooth = _tried(approximation, call) if approximation else None
            if smooth is not None:
                return smooth, call.name
            if not traced and recording:
                return None, ""
            smooth = _tried(_again, call, call.args, call.kwargs)
            if smooth is None:  # perhaps for want of whole numbers, as in an index
                args = tuple(map(_floating, call.args, call.given))
                smooth = _tried(_again, call, args, call.given_by_name)
        return smooth, "" if traced else "no_grad" if self.switched_off else "custom backward"

    def _settled(self, call: Call, result: Any, smooth: Any, label: str, *, in_place: bool) -> Any:
        """Return what the model gets: the call's result, or the same values with another gradient."""
        if isinstance(call.result, Tensor):
            kept = self._kept(call.result, smooth, label, in_place=in_place)
            return result if kept is call.result else kept
        if isinstance(smooth, tuple | list):
            for one, other in zip(call.result, smooth, strict=True):
                self._kept(one, other, label, in_place=True)
        return result

    def _kept(self, tensor: Tensor, smooth: Any, label: str, *, in_place: bool) -> Tensor:
        """Return the tensor after its counterpart was kept, or the counterpart where the model can take it."""
        if not isinstance(smooth, Tensor) or not smooth.requires_grad or tensor.is_inference():
            return tensor
        with torch.enable_grad():
            found: Tensor | None = _tried(with_gradient_of, tensor, smooth, label)
        if found is None:
            return tensor
        if in_place or not (tensor.is_floating_point() and tensor.requires_grad and torch.is_grad_enabled()):
            self.counterparts[id(tensor)] = _Counterpart(tensor, tensor._version, found)
            return tensor
        if note := self.notes.get(id(tensor)):
            self.notes[id(found)] = note._replace(of=found)
        return found

    def _remember(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Record a squashing whose outputs may be the model's."""
        if name in SQUASHING and isinstance(result, Tensor) and result.ndim == 2 and len(result) == self.rows:
            place = (*args[1:2], kwargs.get("dim", 1))[0] if name == "softmax" else 1
            if place in (1, -1):
                self.squashed.append(Squashed(name, result.detach(), args[0]))


def _named(func: Callable[..., Any]) -> tuple[str, bool]:
    """Return torch's name for a function, without underscores, and True if it writes into its first argument."""
    if func == Tensor.data.__get__:  # type: ignore[attr-defined]
        return "detach", False
    name = getattr(func, "__name__", "")
    in_place = name in WRITING or (name.endswith("_") and not name.endswith("__"))
    return name.strip("_"), in_place


def _tensors(value: Any) -> Iterator[Tensor]:
    """Yield all tensors in nested tuples, lists and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _tensors(one)


def _each(change: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Return the same nested tuples, lists and dictionaries, with each tensor changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {name: _each(change, one) for name, one in value.items()}
    if type(value) in (tuple, list):
        return type(value)(_each(change, one) for one in value)
    return value


def _floating(smooth: Any, given: Any) -> Any:
    """Return the counterpart, unless it is one of whole numbers or truth values."""
    return given if isinstance(given, Tensor) and not given.is_floating_point() else smooth


def _writable(tensor: Tensor) -> Tensor:
    """Return a copy that a function may write into and that can hold a gradient."""
    with torch.enable_grad():
        return tensor.clone() if tensor.is_floating_point() else tensor.to(torch.get_default_dtype())


def _again(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call the function on the counterparts; where it writes into the first, return that."""
    result = call.func(*args, **kwargs)
    return args[0] if result is None else result


def _tried(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function; return None if it fails on counterparts where it works on the model's own tensors."""
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
    """Start the random numbers from these states inside, and restore them afterwards."""
    if states is None:
        yield
        return
    with torch.random.fork_rng(devices=range(len(states) - 1)):
        torch.set_rng_state(states[0])
        if states[1:]:
            torch.cuda.set_rng_state_all(states[1:])
        yield
