"""What ``unmask train`` minimises: an objective by its name, with settings of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, is_dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unmask.cli.options import load_model, made

if TYPE_CHECKING:
    import torch

    from unmask.data import Dataset
    from unmask.training.objectives import Objective

OBJECTIVES = (
    *("normal", "fgsm", "fgsm+clean", "rfgsm", "rfgsm+clean", "rfgsm+fgsm", "pgd", "logit-distance", "lambda0"),
    *("step-distance", "rs-fgsm", "n-fgsm", "gradalign", "gat", "ensemble"),
)


def make_objective(
    objective: str,
    epsilon: float | None,
    sources: tuple[tuple[str, Path], ...],
    data: Dataset,
    device: torch.device,
    precision: str,
    seed: int,
) -> Objective:
    """The objective by this name, or what the user's factory returns, which gets epsilon if there is one.

    The factory sees to random numbers of its own. An ensemble's sources are loaded as for ``unmask attack``.
    """
    import torch
    from torch import nn

    from unmask.attacks import FGSM
    from unmask.auditing.preflight import preflight
    from unmask.numerics import Batches
    from unmask.training.objectives import PRESETS, Ensemble

    if ":" in objective:
        return made("objective", objective, **({} if epsilon is None else {"epsilon": epsilon}))  # type: ignore[no-any-return]
    bound = epsilon or 0.0
    if objective != "ensemble":
        return seeded(PRESETS[objective](bound), seed)  # type: ignore[no-any-return]
    dtype = torch.float64 if precision == "float64" else torch.float32
    batches, models = Batches(device=device), []
    for name, weights in sources:
        source = load_model(name, weights, data, device, widths=None, width=None)
        tried = preflight(source, data.images[:2], data.labels[:2], batches=batches, classes=len(data.classes))
        models.append(tried.model.to(dtype) if isinstance(tried.model, nn.Module) else tried.model)
    return seeded(Ensemble(attack=FGSM(epsilon=bound), sources=tuple(models)), seed)  # type: ignore[no-any-return]


def seeded(part: Any, seed: int) -> Any:
    """An objective of ours with the run's seed, and so the attacks within it."""
    changed: dict[str, Any] = {}
    for name, value in {one.name: getattr(part, one.name) for one in fields(part)}.items():
        if name == "seed":
            changed[name] = seed
        elif name == "attack":
            changed[name] = seeded(value, seed)
        elif name == "attacks":
            changed[name] = tuple(seeded(one, seed) for one in value)
    return replace(part, **changed)


def changed_by(objective: Any, settings: Iterable[str]) -> Any:
    """The objective with other settings, each its own or its attack's; numbers are read as the setting has them."""
    for setting in settings:
        name, _, text = setting.partition("=")
        own = _settings(objective)
        known = _settings(getattr(objective, "attack", None)) | own
        if name not in known:
            wanted = f"NAME=VALUE with one of {', '.join(known)}" if known else "none: this objective has no settings"
            raise click.UsageError(f"--set: expected {wanted}, got {setting}")
        was = known[name]
        try:
            value = text if isinstance(was, str) else int(text) if isinstance(was, int) else float(Fraction(text))
        except (ValueError, ZeroDivisionError):
            kind = "a whole number" if isinstance(was, int) else "a number"
            raise click.UsageError(f"--set {name}: expected {kind}, got {text!r}") from None
        if name in own:
            objective = replace(objective, **{name: value})
        else:
            objective = replace(objective, attack=replace(objective.attack, **{name: value}))
    return objective


def _settings(part: Any) -> dict[str, Any]:
    """What can be set: numbers and words, without those that have an option of their own."""
    found = {one.name: getattr(part, one.name) for one in fields(part)} if is_dataclass(part) else {}
    return {
        name: value
        for name, value in found.items()
        if name not in ("epsilon", "seed") and (value is None or isinstance(value, int | float | str))
    }
