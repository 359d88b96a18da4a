"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import torch
    from rich.progress import Progress

    from unmask.data import Dataset
    from unmask.numerics import Model


class Epsilon(click.ParamType[float]):
    """A number in [0, 1], also written as a fraction such as ``8/255``."""

    name = "epsilon"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from unmask.threats import parse_epsilon

        try:
            return parse_epsilon(value)
        except ValueError as error:
            self.fail(str(error).removeprefix("epsilon: "), param, ctx)


class Listed(click.ParamType[tuple[Any, ...]]):
    """Several values between commas."""

    def __init__(self, one: click.ParamType[Any]) -> None:
        self.one = one
        self.name = f"{one.name}, …"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        if isinstance(value, tuple):
            return value
        return tuple(self.one.convert(part.strip(), param, ctx) for part in str(value).split(","))


class NamedOrOwn(click.Choice[str]):
    """One of several names, or a factory of the user's, which ``made`` calls."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return str(value) if ":" in str(value) else super().convert(value, param, ctx)


EPSILON = Epsilon()
FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)


def together(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Several options as one decorator, in the order of the help text."""

    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


network_options = together(
    click.option(
        "--widths",
        type=Listed(click.INT),
        help="Hidden units of the built-in mlp, e.g. 600,128; else those of its weights.",
    ),
    click.option(
        "--width",
        type=click.IntRange(1),
        help="Channels of a built-in convolutional network's first layer; else those of its weights.",
    ),
)

model_options = together(click.argument("model", metavar="MODEL"), network_options)

data_folder = click.option(
    "--data-dir", type=FOLDER, help="Where the data sets lie; else $UNMASK_DATA, the cache, a download."
)

data_options = together(
    click.option(
        "--data", required=True, help="digits, mnist, fashion-mnist, cifar10, an .npz file or an image folder."
    ),
    data_folder,
)

split_option = click.option(
    "--split",
    type=click.Choice(["train", "validation", "train+validation", "test", "all"]),
    help="Which images; by default the test images of a built-in set, all of your own.",
)

batch_option = click.option(
    "--batch-size", type=click.IntRange(1), default=128, show_default=True, help="Halved when memory runs out."
)

sample_options = together(
    split_option,
    click.option("--samples", type=click.IntRange(1), default=1000, show_default=True, help="How many, drawn by seed."),
    batch_option,
)

device_option = click.option("--device", default="cpu", show_default=True, help="Where to work, e.g. cuda.")

run_options = together(
    device_option,
    click.option("--seed", type=int, default=0, show_default=True, help="Of all random numbers."),
)


def load_data(
    name: str, data_dir: Path | None, *, split: str | None = None, samples: int | None = None, seed: int = 0
) -> Dataset:
    """The images to use: by default the test images of a built-in set, all of the user's own."""
    from unmask.data import NAMES, load

    data = load(name, split or ("test" if name in NAMES else "all"), data_dir=data_dir)  # type: ignore[arg-type]
    return data if samples is None else data.sample(samples, seed=seed)


def find_device(name: str) -> torch.device:
    """The device by this name.

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
    """A built-in model made for the data, an ONNX file, or what the user's ``package.module:factory`` returns.

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
        from unmask.models import BUILT_IN, build

        if name not in BUILT_IN:
            names = ", ".join(BUILT_IN)
            raise ValueError(f"model: expected PACKAGE.MODULE:FACTORY, FILE.onnx or one of {names}, got {name!r}")
        inputs, classes = _shape(data), len(data.classes)
        return build(name, inputs=inputs, classes=classes, widths=widths, width=width, seed=seed, **initial)  # type: ignore[arg-type]
    seed_all(seed)
    return made("model", name)  # type: ignore[no-any-return]


def _shape(data: Dataset) -> tuple[int, int, int]:
    """Channels, height and width of one of the images."""
    return tuple(data.images.shape[1:])  # type: ignore[return-value]


def made(what: str, name: str, **settings: Any) -> Any:
    """What the user's ``package.module:factory``, or ``file.py:factory``, returns: a model, an attack; it is callable.

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
    """The module in a file, whatever other modules are called."""
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
    """A model with its weights, on the device. A built-in network without weights is refused: nothing was learned.

    Unless they are given, the widths of a built-in network are those of its weights.

    Raises:
        ValueError: there is no such model, or the weights are missing or not its own.
    """
    from torch import nn

    from unmask.models import BUILT_IN, widths_of
    from unmask.models.weights import fill, read_tensors

    given: dict[str, Any] = {"widths": widths, "width": width}
    built_in = name in BUILT_IN
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


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A bar with the time left, on standard error, gone when done."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield progress


def _first_line(error: BaseException) -> str:
    """What an error says first; torch's go on for pages."""
    return (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0]
