"""``--set NAME=VALUE``: settings of an attack or an objective, read as the setting's type."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, is_dataclass, replace
from fractions import Fraction
from typing import Any

import click

__all__ = ["set_option", "settings_of", "with_settings"]

set_option = click.option(
    "--set",
    "changed",
    multiple=True,
    metavar="NAME=VALUE",
    help="Another value for a setting, such as weight=5 or step_size=1/255; may be repeated.",
)


def with_settings(part: Any, changed: Iterable[str]) -> Any:
    """Return a dataclass with other settings, each its own or its attack's.

    Raises:
        click.UsageError: a setting is unknown, or its value is of another type.
        ValueError: the value is not possible.

    Example:
        >>> from unmask.attacks import PGD
        >>> with_settings(PGD("8/255"), ["steps=10", "step_size=2/255"]).steps
        10
        >>> with_settings(PGD("8/255"), ["step=10"])
        Traceback (most recent call last):
        click.exceptions.UsageError: --set: expected NAME=VALUE with one of steps, step_size, restarts, start, keep, \
got step=10
    """
    for setting in changed:
        name, _, text = setting.partition("=")
        own = settings_of(part)
        known = settings_of(getattr(part, "attack", None)) | own
        if name not in known:
            wanted = f"NAME=VALUE with one of {', '.join(known)}" if known else "none, since there are no settings"
            raise click.UsageError(f"--set: expected {wanted}, got {setting}")
        value = _read(name, text, known[name])
        if name in own:
            part = replace(part, **{name: value})
        else:
            part = replace(part, attack=replace(part.attack, **{name: value}))
    return part


def settings_of(part: Any) -> dict[str, Any]:
    """Return the settings that can be given as text: numbers and words, without those that have their own option.

    Example:
        >>> from unmask.attacks import APGD
        >>> settings_of(APGD("8/255"))
        {'steps': 100, 'restarts': 1}
    """
    found = {one.name: getattr(part, one.name) for one in fields(part)} if is_dataclass(part) else {}
    return {
        name: value
        for name, value in found.items()
        if name not in ("epsilon", "seed") and (value is None or isinstance(value, int | float | str))
    }


def _read(name: str, text: str, was: Any) -> str | int | float:
    """Return the value that the text says, of the type that the setting has."""
    if isinstance(was, str):
        return text
    try:
        return int(text) if isinstance(was, int) else float(Fraction(text) if "/" in text else text)
    except (ValueError, ZeroDivisionError):
        kind = "a whole number" if isinstance(was, int) else "a number"
        raise click.UsageError(f"--set {name}: expected {kind}, got {text!r}") from None
