"""The rule that turns findings into a verdict, and its statistics."""

from __future__ import annotations

import re
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from unmask.auditing.verdict import EFFECT, decide
from unmask.reports.record import Finding
from unmask.statistics import paired_gain, proportion

CLEAN = proportion(980, 1000)


def finding(name="a cause", *, won=0, lost=0, both=0, total=1000, kind="masking", fired=True):
    """A finding whose remedy alone fools ``won`` examples, whose control alone ``lost``, and both of them ``both``."""
    held = total - won - lost - both
    return Finding(
        name=name,
        kind=kind,
        value=1.0 if fired else 0.0,
        threshold=0.5,
        fired=fired,
        symptom="",
        intervention="",
        control="",
        before=[True] * won + [False] * (lost + both) + [True] * held,
        after=[False] * won + [True] * lost + [False] * both + [True] * held,
        advice="",
    )


def verdict(*findings, clean=CLEAN, classes=10):
    return decide(findings, clean=clean, classes=classes)


# --- proportion


@settings(max_examples=100)
@given(st.integers(1, 10**5).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_the_interval_is_wilsons(counts):
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
def test_a_share_of_nothing_is_refused(count, total):
    with pytest.raises(ValueError, match=f"^proportion: expected a count .*, got {count} of {total}"):
        proportion(count, total)


# --- paired_gain


def test_gain_interval_and_p_value_by_hand():
    pair = finding(won=40, lost=10, both=25, total=200)
    result = paired_gain(pair.before, pair.after)
    assert result.gain == 30 / 200
    half = 1.959964 * (50 + 2 - 30**2 / 202) ** 0.5 / 202
    assert (result.low, result.high) == (pytest.approx(30 / 202 - half), pytest.approx(30 / 202 + half))
    assert result.p_value == pytest.approx(sum(comb(50, k) for k in range(40, 51)) / 2**50)


def test_more_comparisons_ask_for_more():
    pair = finding(won=40, lost=10)
    once, often = (paired_gain(pair.before, pair.after, comparisons=count) for count in (1, 8))
    assert often.low < once.low < once.high < often.high
    assert often.p_value == pytest.approx(8 * once.p_value)


@settings(max_examples=50)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30), st.integers(1, 8))
def test_a_gain_lies_within_its_interval(won, lost, both, comparisons):
    pair = finding(won=won, lost=lost, both=both, total=won + lost + both + 1)
    result = paired_gain(pair.before, pair.after, comparisons=comparisons)
    assert -1 <= result.low <= result.gain <= result.high <= 1
    assert 0 <= result.p_value <= 1
    mirrored = paired_gain(pair.after, pair.before, comparisons=comparisons)
    assert mirrored[:3] == pytest.approx((-result.gain, -result.high, -result.low))


def test_equal_outcomes_gain_nothing():
    result = paired_gain([True, False], [True, False])
    assert (result.gain, result.p_value) == (0, 1)


@pytest.mark.parametrize(("won", "lost", "comparisons"), [(0.05, 0.01, 1), (0.3, 0.3, 1), (0.05, 0.01, 6)])
def test_the_interval_covers_the_truth(won, lost, comparisons):
    """Over 600 audits of 200 images, coverage is at most three standard errors short of the level asked for."""
    generator = np.random.RandomState(0)
    counts = generator.multinomial(200, [won, lost, 1 - won - lost], size=600)
    covered = 0
    for one in counts:
        pair = finding(won=one[0], lost=one[1], total=200)
        result = paired_gain(pair.before, pair.after, comparisons=comparisons)
        covered += result.low <= won - lost <= result.high
    level = 1 - 0.05 / comparisons
    assert covered / 600 > level - 3 * (level * (1 - level) / 600) ** 0.5


@pytest.mark.parametrize(("before", "after"), [([], []), ([True], [True, False])])
def test_a_pair_that_is_none_is_refused(before, after):
    with pytest.raises(ValueError, match=f"^paired gain: .*, got {len(before)} and {len(after)}"):
        paired_gain(before, after)


# --- decide


def test_symptom_and_gain_make_masking():
    result = verdict(finding("float32 saturation", won=100))
    assert result.answer == "masked"
    assert [cause.name for cause in result.causes] == ["float32 saturation"]
    assert result.causes[0].gain == 0.1
    assert EFFECT < result.causes[0].low < 0.1 < result.causes[0].high
    assert "float32 saturation takes a further 10.0 points" in result.reason


def test_a_gain_without_the_symptom_is_no_cause():
    result = verdict(finding(won=100, fired=False))
    assert result.answer == "not masked"
    assert not result.causes
    assert result.reason == "No symptom of masking is present."


def test_a_symptom_without_gain_is_no_cause():
    result = verdict(finding("BPDA's layer", won=2, total=5000))
    assert result.answer == "not masked"
    assert not result.causes
    assert "The symptom of BPDA's layer is present, but its remedy gains only 0.0 points (at most" in result.reason


def test_a_remedy_that_makes_it_worse_is_no_cause():
    assert verdict(finding(lost=200)).answer == "not masked"


def test_a_symptom_whose_gain_may_or_may_not_count_leaves_it_open():
    result = verdict(finding("non-smooth loss surface", won=3, total=100))
    assert result.answer == "inconclusive"
    assert "non-smooth loss surface" in result.reason
    needed, used = re.search(r"about ([\d,]+) images would settle it, ([\d,]+) were used", result.reason).groups()
    assert int(used) == 100
    enough = int(needed.replace(",", ""))
    assert enough > 100
    assert verdict(finding(won=round(0.03 * enough), total=enough)).answer == "masked"
    assert verdict(finding(won=round(0.03 * enough / 2), total=enough // 2)).answer == "inconclusive"


def test_a_confirmed_cause_outweighs_an_open_question():
    result = verdict(finding("open", won=3, total=100), finding("certain", won=300))
    assert result.answer == "masked"
    assert [cause.name for cause in result.causes] == ["certain"]


def test_a_weak_attack_is_no_masking_but_is_told():
    result = verdict(finding("too few steps", won=300, kind="weak attack"))
    assert result.answer == "not masked"
    assert not result.causes
    assert [(cause.name, cause.kind) for cause in result.weaknesses] == [("too few steps", "weak attack")]


def test_an_uncertain_weakness_leaves_the_verdict_alone():
    assert verdict(finding(won=3, total=100, kind="weak attack")).answer == "not masked"


def test_causes_come_strongest_first():
    result = verdict(
        finding("second", won=200), finding("third", won=100), finding("first", won=300),
        finding("small weakness", won=150, kind="weak attack"), finding("big weakness", won=400, kind="weak attack"),
    )  # fmt: skip
    assert [cause.name for cause in result.causes] == ["first", "second", "third"]
    assert [cause.name for cause in result.weaknesses] == ["big weakness", "small weakness"]


def test_many_probes_raise_the_bar_for_each():
    """A gain that convinces alone does not when it is the best of twenty."""
    one = finding("lucky", won=32)
    assert verdict(one).answer == "masked"
    assert verdict(one, *(finding(f"silent {index}", fired=False) for index in range(19))).answer == "inconclusive"


@pytest.mark.parametrize(("right", "answer"), [(90, "inconclusive"), (115, "inconclusive"), (150, "masked")])
def test_a_model_that_only_guesses_has_no_robustness_to_judge(right, answer):
    """Of 1,000 images in ten classes; at 115 the interval still holds 10 %."""
    result = verdict(finding(won=100), clean=proportion(right, 1000))
    assert result.answer == answer
    assert ("no better than guessing one of 10 classes" in result.reason) == (answer == "inconclusive")


def test_no_findings_no_masking():
    assert verdict().answer == "not masked"


# --- what could not be run

NOT_RUN = {"saturation": "no gradients", "few steps": "no gradients"}


@pytest.mark.parametrize("left", [None, proportion(15, 1000), proportion(0, 100)])
def test_what_could_not_be_run_leaves_the_matter_open(left):
    """Of 1,000 images 15 may be 2.5 %, and of 100 none may be 3.7 %: above the effect that counts."""
    result = decide([], clean=CLEAN, classes=10, not_run=NOT_RUN, left=left)
    assert result.answer == "inconclusive"
    assert result.reason.startswith("2 checks could not be run (no gradients): what is left standing may be robust")


def test_what_could_not_be_run_does_not_matter_where_nothing_is_left():
    result = decide([], clean=CLEAN, classes=10, not_run=NOT_RUN, left=proportion(1, 1000))
    assert result.answer == "not masked"
    assert result.reason == "Of all images 0.1 % (0.0 to 0.6) are left standing, too few for masking to matter."


def test_a_cause_and_a_weakness_are_found_whatever_could_not_be_run():
    cause, weakness = finding(won=100, both=500), finding("weak", won=100, both=500, kind="weak attack")
    found = decide([cause, weakness], clean=CLEAN, classes=10, not_run=NOT_RUN, left=proportion(400, 1000))
    assert found.answer == "masked"
    found = decide([weakness], clean=CLEAN, classes=10, not_run=NOT_RUN, left=proportion(400, 1000))
    assert (found.answer, [one.name for one in found.weaknesses]) == ("inconclusive", ["weak"])
