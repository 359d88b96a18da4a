"""Yue 2017, Resisting Adversarial Perturbations Against Neural Networks: every figure, and beyond."""

from unmask.experiments.yue2017.artefacts import ARTEFACTS as _OWN
from unmask.experiments.yue2017.beyond import BEYOND
from unmask.experiments.yue2017.runs import CHOICES, PAPER, QUICK, SMOKE, Config, cost, grid, run

__all__ = ["ARTEFACTS", "CHOICES", "NAME", "PAPER", "QUICK", "SMOKE", "TITLE", "Config", "cost", "grid", "run"]

NAME = "yue2017"
TITLE = "Yue 2017, Resisting Adversarial Perturbations Against Neural Networks"
ARTEFACTS = (*_OWN, *BEYOND)
