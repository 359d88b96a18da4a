"""Data, models, devices and the user's own factories, by the names that are given on the command line."""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from unmask.data import Dataset
    from unmask.numerics import Model

__all__ = ["find_device", "find_model", "load_data", "load_model", "make"]


def load_data(
    name: str, data_dir: Path | None, *, split: str | None = None, samples: int | None = None, seed: int = 0
) -> Dataset:
    """Return the images to use: by default the test images of a built-in set, all of the user's own."""
    from unmask.data import NAMES, load

    data = load(name, split or ("test" if name in NAMES else "all"), data_dir=data_dir)  # type: ignore[arg-type]
    return data if samples is None else data.sample(samples, seed=seed)


def find_device(name: str) -> torch.device:
    """Return the device of this name.

    Raises:
        ValueError: torch does not know it or cannot reach it.
    """
    import torch

    try:
        device = torch.device(name)
        torch.zeros(1, dtype=torch.float64, device=device).cpu()
    except (RuntimeError, AssertionError, TypeError) as error:  # TypeError: a device without float64
        raise ValueError(
            f"device: expected one that torch can use here, such as cpu, got {name!r}: {_first_line(error)}"
        ) from error
    return device


def find_model(
    name: str, data: Dataset, *, widths: tuple[int, ...] | None, width: int | None, seed: int = 0, **initial: str
) -> Model:
    """Return a built-in model made for the data, an ONNX file's, or that of the user's ``package.module:factory``.

    Raises:
        ValueError: there is no such model, its factory raised, or widths are given for one that is not built in.
    """
    from unmask.numerics import seed_all

    if (name.endswith(".onnx") or ":" in name) and (widths is not None or width is not None):
        raise ValueError(f"width and widths: are for built-in networks; expected none for {name}")
    if name.endswith(".onnx"):
        from unmask.adapters import onnx

        return onnx(name)
    if ":" not in name:
        from unmask.models import MODELS, build

        if name not in MODELS:
            names = ", ".join(MODELS)
            raise ValueError(f"model: expected PACKAGE.MODULE:FACTORY, FILE.onnx or one of {names}, got {name!r}")
        inputs, classes = _shape(data), len(data.classes)
        return build(name, inputs=inputs, classes=classes, widths=widths, width=width, seed=seed, **initial)  # type: ignore[arg-type]
    seed_all(seed)
    return make("model", name)  # type: ignore[no-any-return]


def _shape(data: Dataset) -> tuple[int, int, int]:
    """Return channels, height and width of the images."""
    return tuple(data.images.shape[1:])  # type: ignore[return-value]


def make(what: str, name: str, **settings: Any) -> Any:
    """Call the user's ``package.module:factory``, or ``file.py:factory``, and return what it makes, a callable.

    Args:
        what: the word for it in messages, such as ``"model"``.
        settings: what the factory is called with.

    Raises:
        ValueError: there is no such factory, it raised, or what it returned cannot be called.
    """
    module_name, _, factory_name = name.rpartition(":")
    file = Path(module_name).resolve() if module_name.endswith(".py") else None
    place = str(file.parent if file else Path().resolve())
    if place not in sys.path:
        sys.path.insert(0, place)
    try:
        factory = getattr(_module_in(file) if file else importlib.import_module(module_name), factory_name)
    except Exception as error:  # the user's module may raise anything
        raise ValueError(
            f"{what}: expected a factory at {name}, got {type(error).__name__}: {_first_line(error)}"
        ) from error
    try:
        thing = factory(**settings)
    except Exception as error:
        raise ValueError(f"{what}: {name} raised {type(error).__name__}: {_first_line(error)}") from error
    if not callable(thing):
        raise ValueError(f"{what}: expected {name} to return a callable, got {type(thing).__name__}")
    return thing


def _module_in(file: Path) -> ModuleType:
    """Return the module in a file, whatever other modules are called."""
    loader = SourceFileLoader(str(file), str(file))
    module = module_from_spec(ModuleSpec(loader.name, loader, origin=loader.path))
    sys.modules[loader.name] = module
    loader.exec_module(module)
    return module


def load_model(
    name: str,
    weights: Path | None,
    data: Dataset,
    device: torch.device,
    *,
    widths: tuple[int, ...] | None,
    width: int | None,
) -> Model:
    """Return a model with its weights, on the device. A built-in network without weights is refused: it is untrained.

    Unless they are given, the widths of a built-in network are those of its weights.

    Raises:
        ValueError: there is no such model, or the weights are missing or not its own.
    """
    from torch import nn

    from unmask.models import MODELS, widths_of
    from unmask.models.weights import fill, read_tensors

    given: dict[str, Any] = {"widths": widths, "width": width}
    built_in = name in MODELS
    tensors = {} if weights is None else read_tensors(weights)
    if built_in and tensors and widths is None and width is None:
        given |= widths_of(name, tensors, inputs=_shape(data), classes=len(data.classes))
    model = find_model(name, data, **given)
    if built_in and weights is None:
        raise ValueError(f"weights: expected a file for the built-in {name}, got none; pass --weights FILE")
    if built_in and isinstance(model, nn.Module):
        model.eval()
    if isinstance(model, nn.Module):
        if weights is not None:
            fill(model, tensors, weights)
        model.to(device)
    elif weights is not None:
        raise ValueError(f"weights: expected none, since {name} returned a {type(model).__name__}, not a torch module")
    return model


def _first_line(error: BaseException) -> str:
    """Return the first sentence of an error; torch's go on for pages."""
    return (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0]
