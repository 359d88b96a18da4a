"""Shares of examples and their differences, with 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

__all__ = ["LEVEL", "PairedGain", "Proportion", "paired_gain", "proportion", "quantile"]

LEVEL = 0.95
"""The level of every interval."""


@dataclass(frozen=True, kw_only=True)
class Proportion:
    """A share of examples with its 95 % confidence interval.

    Example:
        >>> Proportion(count=3, total=4, low=0.3, high=0.95).value
        0.75
    """

    count: int
    total: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share itself, in [0, 1]."""
        return self.count / self.total

    def __str__(self) -> str:
        """Return it in per cent: ``75.0 % (30.0 to 95.0)``."""
        return f"{100 * self.value:.1f} % ({100 * self.low:.1f} to {100 * self.high:.1f})"


def proportion(count: int, total: int) -> Proportion:
    """Return a share with its Wilson score interval at 95 %.

    Raises:
        ValueError: no examples, or a count outside them.

    Example:
        >>> str(proportion(50, 100))
        '50.0 % (40.4 to 59.6)'
    """
    if not 0 <= count <= total or total < 1:
        raise ValueError(f"proportion: expected a count from 0 to a total above 0, got {count} of {total}")
    low, high = _stats().binomtest(count, total).proportion_ci(LEVEL, method="wilson")
    return Proportion(count=count, total=total, low=max(float(low), 0.0), high=min(float(high), 1.0))


class PairedGain(NamedTuple):
    """The accuracy that a remedy takes away on the same examples: estimate, interval and exact p-value.

    Example:
        >>> PairedGain(gain=0.1, low=0.05, high=0.15, p_value=0.001, variance=0.1).gain
        0.1
    """

    gain: float
    low: float
    high: float
    p_value: float
    variance: float


def paired_gain(before: Sequence[bool], after: Sequence[bool], *, comparisons: int = 1) -> PairedGain:
    """Accuracy before minus after, on the same examples, with a simultaneous 95 % interval over ``comparisons``.

    With b examples that only the remedy fools and c that only the control fools: ``(b - c) / n``; the interval is
    Bonett and Price's (2012), ``((b - c) +- z sqrt(b + c + 2 - (b - c)^2 / (n + 2))) / (n + 2)``, at the level that
    Bonferroni's correction asks for; the p-value is McNemar's exact one-sided test, corrected likewise.

    Raises:
        ValueError: no examples, or not the same number in both.

    Example:
        >>> paired_gain([True] * 100, [False] * 40 + [True] * 60).gain
        0.4
    """
    if not before or len(before) != len(after):
        raise ValueError(f"paired gain: expected the same examples twice, got {len(before)} and {len(after)}")
    total = len(before)
    won = sum(1 for held, holds in zip(before, after, strict=True) if held and not holds)
    lost = sum(1 for held, holds in zip(before, after, strict=True) if holds and not held)
    centre = (won - lost) / (total + 2)
    variance = (won + lost + 2 - (won - lost) ** 2 / (total + 2)) / (total + 2)
    stats = _stats()
    half = quantile(comparisons) * math.sqrt(variance / (total + 2))
    p_value = stats.binomtest(won, won + lost, 0.5, alternative="greater").pvalue if won + lost else 1.0
    return PairedGain(
        gain=(won - lost) / total,
        low=max(float(centre - half), -1.0),
        high=min(float(centre + half), 1.0),
        p_value=min(1.0, float(p_value) * comparisons),
        variance=variance,
    )


def quantile(comparisons: int = 1) -> float:
    """Return half the width of a two-sided 95 % interval, in standard errors, with Bonferroni's correction.

    Example:
        >>> round(quantile(), 2)
        1.96
    """
    return float(_stats().norm.ppf(1 - (1 - LEVEL) / 2 / comparisons))


def _stats() -> Any:
    """Load scipy.stats when it is first needed: it takes 50 MB, and a process that only trains has no use for it."""
    from scipy import stats

    return stats
