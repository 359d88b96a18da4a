"""Options that several commands share, and the types of their values."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

__all__ = [
    "EPSILON",
    "FILE",
    "FOLDER",
    "Listed",
    "Named",
    "RegistryOption",
    "batch_option",
    "data_folder",
    "data_options",
    "device_option",
    "model_options",
    "network_options",
    "run_options",
    "sample_options",
    "split_option",
    "together",
    "weights_option",
]


class _EpsilonType(click.ParamType[float]):
    """A number in [0, 1], also written as a fraction such as ``8/255``."""

    name = "epsilon"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from unmask.threats import parse_epsilon

        try:
            return parse_epsilon(value)
        except ValueError as error:
            self.fail(str(error).removeprefix("epsilon: "), param, ctx)


class Listed(click.ParamType[tuple[Any, ...]]):
    """Several values between commas.

    Example:
        >>> Listed(click.INT).convert("600, 128", None, None)
        (600, 128)
    """

    def __init__(self, one: click.ParamType[Any]) -> None:
        """Take values of the type ``one``."""
        self.one = one
        self.name = f"{one.name}, …"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        """Return the values."""
        if isinstance(value, tuple):
            return value
        return tuple(self.one.convert(part.strip(), param, ctx) for part in str(value).split(","))


class Named(click.ParamType[str]):
    """A name in a registry, or the place of a factory of the user's, ``FILE.py:FACTORY``, which ``make`` calls.

    The registry is asked when a value is read, so that making the option loads nothing.

    Example:
        >>> Named("colour", lambda name: name in {"red", "green"}, lambda: ["red", "green"]).convert("red", None, None)
        'red'
    """

    def __init__(
        self,
        name: str,
        known: Callable[[str], bool],
        names: Callable[[], Iterable[str]],
        *,
        factories: bool = True,
    ) -> None:
        """Take what is ``known``, and with ``factories`` also their places; list ``names`` in a refusal."""
        self.name = name
        self.known = known
        self.names = names
        self.factories = factories

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name if it is known, or the place."""
        if not (self.factories and ":" in str(value)) and not self.known(str(value)):
            place = ", or FILE.py:FACTORY" if self.factories else ""
            self.fail(f"expected one of {', '.join(self.names())}{place}, got {value!r}", param, ctx)
        return str(value)


class RegistryOption(click.Option):
    """An option whose help is read off a registry when it is shown, so that making the option loads nothing."""

    def __init__(self, *declarations: Any, describe: Callable[[], str], **settings: Any) -> None:
        """Make an option; ``describe`` returns its help."""
        super().__init__(*declarations, **settings)
        self.describe = describe

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the option and its help, as click shows them."""
        self.help = self.describe()
        return super().get_help_record(ctx)


EPSILON = _EpsilonType()
FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)


def together(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return several options as one decorator, in the order of the help text.

    Example:
        >>> @click.command()
        ... @together(click.option("--first"), click.option("--second"))
        ... def command(first, second): ...
        >>> [option.name for option in command.params]
        ['first', 'second']
    """

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

weights_option = click.option("--weights", type=FILE, help="Safetensors, or .pt holding nothing but tensors.")

data_folder = click.option(
    "--data-dir", type=FOLDER, help="Folder of the data sets; else $UNMASK_DATA, the cache, a download."
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
    help="Part of the data; by default the test images of a built-in set, all of your own.",
)

batch_option = click.option(
    "--batch-size", type=click.IntRange(1), default=128, show_default=True, help="Halved when memory runs out."
)

sample_options = together(
    split_option,
    click.option("--samples", type=click.IntRange(1), default=1000, show_default=True, help="Images, drawn by seed."),
    batch_option,
)

device_option = click.option("--device", default="cpu", show_default=True, help="Device to work on, e.g. cuda.")

run_options = together(
    device_option,
    click.option("--seed", type=int, default=0, show_default=True, help="Of all random numbers."),
)
