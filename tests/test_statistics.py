"""Shares of examples and their differences: the intervals by hand, and their coverage."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from unmask.statistics import paired_gain, proportion


def outcomes(*, won=0, lost=0, both=0, total=1000):
    """Outcomes of a control, which alone fools ``lost`` examples, and a remedy, which alone fools ``won``."""
    held = total - won - lost - both
    before = [True] * won + [False] * (lost + both) + [True] * held
    return before, [False] * won + [True] * lost + [False] * both + [True] * held


@settings(max_examples=100)
@given(st.integers(1, 10**5).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_interval_is_wilsons(counts):
    count, total = counts
    share = proportion(count, total)
    z = stats.norm.ppf(0.975)
    centre = (count + z**2 / 2) / (total + z**2)
    half = z / (total + z**2) * (count * (total - count) / total + z**2 / 4) ** 0.5
    assert (share.count, share.total, share.value) == (count, total, count / total)
    assert share.low == pytest.approx(centre - half, abs=1e-9)
    assert share.high == pytest.approx(centre + half, abs=1e-9)
    assert 0 <= share.low <= share.value <= share.high <= 1


@pytest.mark.parametrize(("count", "total"), [(0, 0), (-1, 3), (4, 3)])
def test_share_of_nothing_is_refused(count, total):
    with pytest.raises(ValueError, match=f"^proportion: expected a count .*, got {count} of {total}"):
        proportion(count, total)


# --- paired_gain


def test_gain_interval_and_p_value_by_hand():
    before, after = outcomes(won=40, lost=10, both=25, total=200)
    result = paired_gain(before, after)
    assert result.gain == 30 / 200
    half = 1.959964 * (50 + 2 - 30**2 / 202) ** 0.5 / 202
    assert (result.low, result.high) == (pytest.approx(30 / 202 - half), pytest.approx(30 / 202 + half))
    assert result.p_value == pytest.approx(sum(comb(50, k) for k in range(40, 51)) / 2**50)


def test_more_comparisons_ask_for_more():
    before, after = outcomes(won=40, lost=10)
    once, often = (paired_gain(before, after, comparisons=count) for count in (1, 8))
    assert often.low < once.low < once.high < often.high
    assert often.p_value == pytest.approx(8 * once.p_value)


@settings(max_examples=50)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30), st.integers(1, 8))
def test_gain_lies_within_its_interval(won, lost, both, comparisons):
    before, after = outcomes(won=won, lost=lost, both=both, total=won + lost + both + 1)
    result = paired_gain(before, after, comparisons=comparisons)
    assert -1 <= result.low <= result.gain <= result.high <= 1
    assert 0 <= result.p_value <= 1
    mirrored = paired_gain(after, before, comparisons=comparisons)
    assert mirrored[:3] == pytest.approx((-result.gain, -result.high, -result.low))


def test_equal_outcomes_gain_nothing():
    result = paired_gain([True, False], [True, False])
    assert (result.gain, result.p_value) == (0, 1)


@pytest.mark.parametrize(("won", "lost", "comparisons"), [(0.05, 0.01, 1), (0.3, 0.3, 1), (0.05, 0.01, 6)])
def test_interval_covers_the_truth(won, lost, comparisons):
    """Over 600 audits of 200 images, coverage is at most three standard errors short of the level asked for."""
    generator = np.random.RandomState(0)
    counts = generator.multinomial(200, [won, lost, 1 - won - lost], size=600)
    covered = 0
    for one in counts:
        before, after = outcomes(won=one[0], lost=one[1], total=200)
        result = paired_gain(before, after, comparisons=comparisons)
        covered += result.low <= won - lost <= result.high
    level = 1 - 0.05 / comparisons
    assert covered / 600 > level - 3 * (level * (1 - level) / 600) ** 0.5


@pytest.mark.parametrize(("before", "after"), [([], []), ([True], [True, False])])
def test_pair_that_is_none_is_refused(before, after):
    with pytest.raises(ValueError, match=f"^paired gain: .*, got {len(before)} and {len(after)}"):
        paired_gain(before, after)
