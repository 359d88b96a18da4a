"""Yanagita & Yamamura 2018, Gradient Masking Is a Type of Overfitting: every table and figure, and beyond."""

from unmask_experiments.yanagita2018.artefacts import ARTEFACTS as _OWN
from unmask_experiments.yanagita2018.beyond import BEYOND
from unmask_experiments.yanagita2018.overfitting import OVERFITTING, variations
from unmask_experiments.yanagita2018.runs import CHOICES, PAPER, QUICK, SMOKE, Config, cost, run
from unmask_experiments.yanagita2018.runs import grid as _grid

__all__ = [
    "ARTEFACTS",
    "CHOICES",
    "IN_SHORT",
    "NAME",
    "PAPER",
    "QUICK",
    "SMOKE",
    "TITLE",
    "Config",
    "cost",
    "grid",
    "run",
]

NAME = "yanagita2018"
TITLE = "Yanagita & Yamamura 2018, Gradient Masking Is a Type of Overfitting"
IN_SHORT = """\
Of a network trained with Adam at 0.01, FGSM changes the answer to {fig1b: FGS error, 0.01} % of the test images; at
0.001 to {fig1b: FGS error, 0.001} % (published: below 20 and about 90). That is masking, not robustness: with the
log-odds loss the same single step reaches {repairs: float32 log-odds, 0.01} % at 0.01. Precision is a small part of it:
cross entropy in float64 reaches {repairs: float64 cross entropy, 0.01} %. That masking is a type of overfitting holds
in part only. It goes with the gap between training and test error, but closer with the size of the logits: the same
weights, with logits multiplied by 10 in place of divided by it, mask
{overfitting: masked share, logits times 10 minus divided by 10, same weights and gap} points more images at the same
gap."""
ARTEFACTS = (*_OWN, *BEYOND, OVERFITTING)


def grid(profile: Config, *, seeds: int = 3) -> list[Config]:
    """Return all runs of the artefacts, the most telling first.

    Example:
        >>> len(grid(SMOKE, seeds=1))
        31
    """
    return [*_grid(profile, seeds=seeds), *variations(profile, seeds=seeds)]
