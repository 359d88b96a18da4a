"""Attacks by name on the command line, with the settings that their classes have."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import click

from unmask.cli.loading import make
from unmask.cli.options import Named, RegistryOption, together
from unmask.cli.settings import set_option, with_settings

if TYPE_CHECKING:
    from unmask.attacks import Attack

__all__ = ["ATTACK", "attack_options", "make_attack", "names"]

SHARED = ("loss", "steps", "restarts", "queries")
"""The settings with an option of their own; the others are for ``--set``."""


def names() -> list[str]:
    """Return the names in the registry of attacks.

    Example:
        >>> names()[:2]
        ['fgsm', 'rfgsm']
    """
    from unmask.attacks import ATTACKS

    return list(ATTACKS)


def with_setting(setting: str) -> list[str]:
    """Return the names of the attacks that have a setting.

    Example:
        >>> with_setting("queries")
        ['square']
    """
    from unmask.attacks import ATTACKS

    return [name for name, kind in ATTACKS.items() if any(one.name == setting for one in fields(kind))]


def _losses() -> list[str]:
    from unmask.losses import LOSSES

    return list(LOSSES)


def _is_known(name: str) -> bool:
    from unmask.attacks import build

    try:
        build(name, 0.0)
    except ValueError:
        return False
    return True


def _every_name() -> list[str]:
    return [*names(), f"those of {', '.join(with_setting('loss'))} also with -{', -'.join(_losses())}"]


def _described() -> str:
    return (
        f"{', '.join(names())}; with another loss as in fgsm-log-odds. Or one of your own, PACKAGE.MODULE:FACTORY or "
        "FILE.py:FACTORY: the attack that FACTORY(epsilon=...) returns."
    )


ATTACK = Named("attack", _is_known, _every_name)
"""The type of an option that names an attack."""


def _shared_option(setting: str, *, kind: Any, described: Callable[[], str] = str) -> Any:
    return click.option(
        f"--{setting}",
        cls=RegistryOption,
        type=kind,
        describe=lambda: f"{described()}For {', '.join(with_setting(setting))}.",
    )


def _losses_described() -> str:
    return f"The loss to maximise: {', '.join(_losses())}; by default the one of the attack's paper. "


_LOSS = Named("loss", lambda name: name in _losses(), _losses, factories=False)

attack_options = together(
    click.option(
        "--attack", "name", cls=RegistryOption, type=ATTACK, default="pgd", show_default=True, describe=_described
    ),
    _shared_option("loss", kind=_LOSS, described=_losses_described),
    *(_shared_option(setting, kind=click.IntRange(1)) for setting in SHARED[1:]),
    set_option,
)
"""``--attack``, its settings, and ``--set`` for the less common ones."""


def make_attack(
    what: str,
    name: str,
    epsilon: float,
    *,
    seed: int,
    settings: Mapping[str, Any] | None = None,
    changed: Sequence[str] = (),
) -> Attack:
    """Return the attack of this name, or the one that the user's factory makes of an epsilon.

    Args:
        what: the option, for messages.
        settings: those of ``SHARED`` that were given; None stands for one that was not.
        changed: further settings, as text ``NAME=VALUE``.

    Raises:
        click.UsageError: a setting that the attack does not have.
        ValueError: the name is unknown, or a setting is not possible.

    Example:
        >>> make_attack("attack", "pgd", 0.1, seed=0, settings={"steps": 10, "queries": None}).steps
        10
        >>> make_attack("attack", "fgsm", 0.1, seed=0, settings={"steps": 10})
        Traceback (most recent call last):
        click.exceptions.UsageError: --steps: expected none, since fgsm has no such setting; it is for ifgsm, mi-fgsm, \
pgd, apgd, apgd-targeted, deepfool, spsa
    """
    given = {setting: value for setting, value in (settings or {}).items() if value is not None}
    if ":" in name:
        for setting in given:
            raise click.UsageError(f"--{setting}: expected none, since {name} makes an attack with settings of its own")
        return with_settings(make(what, name, epsilon=epsilon), changed)  # type: ignore[no-any-return]
    from unmask.attacks import build
    from unmask.losses import LOSSES

    attack = build(name, epsilon)
    known = {one.name for one in fields(attack)}
    for setting in given:
        if setting not in known:
            raise click.UsageError(
                f"--{setting}: expected none, since {name} has no such setting; it is for "
                f"{', '.join(with_setting(setting))}"
            )
    if "loss" in given:
        given["loss"] = LOSSES[given["loss"]]
    own: dict[str, Any] = {"seed": seed} if "seed" in known else {}
    if "norm" in known:
        own["norm"] = math.inf  # the norm that epsilon bounds here
    return with_settings(build(name, epsilon, **given, **own), changed)  # type: ignore[no-any-return]
