"""Yue 2017, Resisting Adversarial Perturbations Against Neural Networks: every figure, and beyond."""

from unmask_experiments.yue2017.artefacts import ARTEFACTS as _OWN
from unmask_experiments.yue2017.beyond import BEYOND
from unmask_experiments.yue2017.runs import CHOICES, PAPER, QUICK, SMOKE, Config, cost, grid, run

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

NAME = "yue2017"
TITLE = "Yue 2017, Resisting Adversarial Perturbations Against Neural Networks"
IN_SHORT = """\
Late in training accuracy under FGSM at epsilon 0.1 rises again, as published, by {fig6: late rise, epsilon 0.1} points.
With the log-odds loss {late-rise: late rise, log-odds} are left, so it is partly a useless gradient; but it does not
go away in float64 ({float64: late rise, float64} points), and it comes from images whose gradient has a wrong direction
({late-rise: late rise among images of the regime: wrong direction} points) rather than from those whose gradient is 0
({late-rise: late rise among images of the regime: all zero}). L2 and adversarial training do resist: under FGSM at 0.1
with the log-odds loss {fig10: L2, log-odds, epsilon 0.1} % and
{fig10: adversarial training, log-odds, epsilon 0.1} % stand, of a plain network
{fig10: plain, log-odds, epsilon 0.1} %."""
ARTEFACTS = (*_OWN, *BEYOND)
