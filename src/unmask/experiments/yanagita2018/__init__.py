"""Yanagita & Yamamura 2018, Gradient Masking Is a Type of Overfitting: every table and figure, and beyond."""

from unmask.experiments.yanagita2018.artefacts import ARTEFACTS as _OWN
from unmask.experiments.yanagita2018.beyond import BEYOND
from unmask.experiments.yanagita2018.overfitting import OVERFITTING, variations
from unmask.experiments.yanagita2018.runs import CHOICES, PAPER, QUICK, SMOKE, Config, cost, run
from unmask.experiments.yanagita2018.runs import grid as _grid

__all__ = ["ARTEFACTS", "CHOICES", "NAME", "PAPER", "QUICK", "SMOKE", "TITLE", "Config", "cost", "grid", "run"]

NAME = "yanagita2018"
TITLE = "Yanagita & Yamamura 2018, Gradient Masking Is a Type of Overfitting"
ARTEFACTS = (*_OWN, *BEYOND, OVERFITTING)


def grid(profile: Config, *, seeds: int = 3) -> list[Config]:
    """All runs that the artefacts need, the most telling first.

    Example:
        >>> len(grid(SMOKE, seeds=1))
        31
    """
    return [*_grid(profile, seeds=seeds), *variations(profile, seeds=seeds)]
