"""Objectives of ``unmask train`` by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unmask.cli.loading import load_model, make
from unmask.cli.options import Named, RegistryOption

if TYPE_CHECKING:
    import torch

    from unmask.data import Dataset
    from unmask.training.objectives import Objective

__all__ = ["make_objective", "names", "objective_option", "refuse_meaningless"]


def names() -> list[str]:
    """Return the names of the objectives that need nothing but an epsilon and finished models.

    Example:
        >>> names()[:2]
        ['normal', 'fgsm']
    """
    from unmask.training.objectives import OBJECTIVES, needs

    return [name for name in OBJECTIVES if set(needs(name)) <= {"epsilon", "sources"}]


def _is_known(name: str) -> bool:
    from unmask.training.objectives import needs

    try:
        return set(needs(name)) <= {"epsilon", "sources"}
    except ValueError:
        return False


objective_option = click.option(
    "--objective",
    cls=RegistryOption,
    type=Named("objective", _is_known, names),
    default="normal",
    show_default=True,
    describe=lambda: (
        f"The objective: {', '.join(names())}; with another loss of its attacks as in fgsm-log-odds. "
        "help(unmask.objectives) explains them. Or one of your own, FILE.py:FACTORY: what FACTORY() or, with "
        "--epsilon, FACTORY(epsilon=...) returns."
    ),
)


def refuse_meaningless(name: str, epsilon: float | None, sources: tuple[tuple[str, Path], ...]) -> None:
    """Refuse options that the objective does not have, or lacks.

    Raises:
        click.UsageError: an option is missing or means nothing.

    Example:
        >>> refuse_meaningless("fgsm", None, ())
        Traceback (most recent call last):
        click.exceptions.UsageError: --epsilon: expected the bound that --objective fgsm trains against, got none
    """
    from unmask.training.objectives import needs

    needed = () if ":" in name else needs(name)
    if "epsilon" in needed and epsilon is None:
        raise click.UsageError(f"--epsilon: expected the bound that --objective {name} trains against, got none")
    if ":" not in name and "epsilon" not in needed and epsilon is not None:
        raise click.UsageError(f"--epsilon: expected none, since --objective {name} trains without an attack")
    if "sources" in needed and not sources:
        raise click.UsageError(f"--source: expected the finished models of --objective {name}, got none")
    if "sources" not in needed and sources:
        raise click.UsageError(f"--source: expected none, since it means nothing to --objective {name}")


def make_objective(
    name: str,
    epsilon: float | None,
    sources: tuple[tuple[str, Path], ...],
    data: Dataset,
    device: torch.device,
    precision: str,
    seed: int,
) -> Objective:
    """Return the objective of this name with the run's seed, or what the user's factory returns.

    The factory gets epsilon if there is one, and sees to random numbers of its own. Sources are loaded as for
    ``unmask attack``.
    """
    from unmask.training.objectives import build, needs
    from unmask.training.objectives.objective import changed

    if ":" in name:
        return make("objective", name, **({} if epsilon is None else {"epsilon": epsilon}))  # type: ignore[no-any-return]
    needed: dict[str, Any] = {"epsilon": epsilon}
    if "sources" in needs(name):
        needed["sources"] = _sources(sources, data, device, precision)
    objective = build(name, **{one: needed[one] for one in needs(name)})
    return changed(objective, "seed", lambda _: seed)


def _sources(
    sources: tuple[tuple[str, Path], ...], data: Dataset, device: torch.device, precision: str
) -> tuple[Any, ...]:
    """Return the finished models, checked on two images, in the precision of the run."""
    import torch
    from torch import nn

    from unmask.auditing.preflight import preflight
    from unmask.numerics import Batches

    dtype = torch.float64 if precision == "float64" else torch.float32
    batches, models = Batches(device=device), []
    for name, weights in sources:
        source = load_model(name, weights, data, device, widths=None, width=None)
        tried = preflight(source, data.images[:2], data.labels[:2], batches=batches, classes=len(data.classes))
        models.append(tried.model.to(dtype) if isinstance(tried.model, nn.Module) else tried.model)
    return tuple(models)
