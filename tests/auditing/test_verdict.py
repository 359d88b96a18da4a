"""The rule that turns findings into a verdict."""

from __future__ import annotations

import re

import pytest

from unmask.auditing.verdict import EFFECT, decide
from unmask.reports.record import Finding
from unmask.statistics import proportion

CLEAN = proportion(980, 1000)


def finding(name="a cause", *, won=0, lost=0, both=0, total=1000, kind="masking", fired=True, **given):
    """A finding whose remedy alone fools ``won`` examples, whose control alone ``lost``, and both of them ``both``."""
    held = total - won - lost - both
    return Finding(
        name=name,
        kind=kind,
        value=1.0 if fired else 0.0,
        threshold=0.5,
        fired=fired,
        symptom="",
        remedy="",
        control="",
        before=[True] * won + [False] * (lost + both) + [True] * held,
        after=[False] * won + [True] * lost + [False] * both + [True] * held,
        advice="",
        **given,
    )


def verdict(*findings, clean=CLEAN, classes=10):
    return decide(findings, clean=clean, classes=classes)


def test_symptom_and_gain_make_masking():
    result = verdict(finding("float32 saturation", won=100))
    assert result.answer == "masked"
    assert [cause.name for cause in result.causes] == ["float32 saturation"]
    assert result.causes[0].gain == 0.1
    assert EFFECT < result.causes[0].low < 0.1 < result.causes[0].high
    assert "float32 saturation takes a further 10.0 points" in result.reason


def test_gain_without_the_symptom_is_no_cause():
    result = verdict(finding(won=100, fired=False))
    assert result.answer == "not masked"
    assert not result.causes
    assert result.reason == "No symptom of masking is present."


def test_symptom_without_gain_is_no_cause():
    result = verdict(finding("BPDA's layer", won=2, total=5000))
    assert result.answer == "not masked"
    assert not result.causes
    assert "The symptom of BPDA's layer is present, but its remedy gains only 0.0 points (at most" in result.reason


def test_remedy_that_makes_it_worse_is_no_cause():
    assert verdict(finding(lost=200)).answer == "not masked"


def test_symptom_whose_gain_may_or_may_not_count_leaves_it_open():
    result = verdict(finding("non-smooth loss surface", won=3, total=100))
    assert result.answer == "inconclusive"
    assert "non-smooth loss surface" in result.reason
    needed, used = re.search(r"about ([\d,]+) images would settle it, ([\d,]+) were used", result.reason).groups()
    assert int(used) == 100
    enough = int(needed.replace(",", ""))
    assert enough > 100
    assert verdict(finding(won=round(0.03 * enough), total=enough)).answer == "masked"
    assert verdict(finding(won=round(0.03 * enough / 2), total=enough // 2)).answer == "inconclusive"


def test_confirmed_cause_outweighs_an_open_question():
    result = verdict(finding("open", won=3, total=100), finding("certain", won=300))
    assert result.answer == "masked"
    assert [cause.name for cause in result.causes] == ["certain"]


def test_weak_attack_is_no_masking_but_is_told():
    result = verdict(finding("too few steps", won=300, kind="weak attack"))
    assert result.answer == "not masked"
    assert not result.causes
    assert [(cause.name, cause.kind) for cause in result.weaknesses] == [("too few steps", "weak attack")]


def test_uncertain_weakness_leaves_the_verdict_alone():
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
def test_model_that_only_guesses_has_no_robustness_to_judge(right, answer):
    """Of 1,000 images in ten classes; at 115 the interval still holds 10 %."""
    result = verdict(finding(won=100), clean=proportion(right, 1000))
    assert result.answer == answer
    assert ("no better than guessing one of 10 classes" in result.reason) == (answer == "inconclusive")


def test_no_findings_no_masking():
    assert verdict().answer == "not masked"


# --- probes that were not run

NOT_RUN = {"saturation": "no gradients", "few steps": "no gradients"}


@pytest.mark.parametrize("robust", [None, proportion(15, 1000), proportion(0, 100)])
def test_probes_that_were_not_run_leave_the_matter_open(robust):
    """Of 1,000 images 15 may be 2.5 %, and of 100 none may be 3.7 %: above the effect that counts."""
    result = decide([], clean=CLEAN, classes=10, not_run=NOT_RUN, robust=robust)
    assert result.answer == "inconclusive"
    assert result.reason.startswith("2 checks could not be run (no gradients): what is left standing may be robust")


def test_probes_that_were_not_run_do_not_matter_where_nothing_is_robust():
    result = decide([], clean=CLEAN, classes=10, not_run=NOT_RUN, robust=proportion(1, 1000))
    assert result.answer == "not masked"
    assert result.reason == "Of all images 0.1 % (0.0 to 0.6) are left standing, too few for masking to matter."


def test_cause_and_weakness_are_found_whatever_was_not_run():
    cause, weakness = finding(won=100, both=500), finding("weak", won=100, both=500, kind="weak attack")
    found = decide([cause, weakness], clean=CLEAN, classes=10, not_run=NOT_RUN, robust=proportion(400, 1000))
    assert found.answer == "masked"
    found = decide([weakness], clean=CLEAN, classes=10, not_run=NOT_RUN, robust=proportion(400, 1000))
    assert (found.answer, [one.name for one in found.weaknesses]) == ("inconclusive", ["weak"])


# --- what a gain is compared with


def test_lesser_gain_counts_over_control_and_claim():
    """The remedy wins 100 over its control, of which the claim had 90."""
    one = finding(won=100)
    claimed = [False] * 90 + [True] * 910
    assert decide([one], clean=CLEAN, classes=10).answer == "masked"
    found = decide([one], clean=CLEAN, classes=10, claimed=claimed)
    assert (found.answer, found.causes) == ("not masked", [])
    less = decide([one], clean=CLEAN, classes=10, claimed=[False] * 40 + [True] * 960)
    assert (less.answer, less.causes[0].gain) == ("masked", 0.06)


def test_claim_counts_on_the_rows_of_the_finding():
    """Of 1,000 images the remedy was tried on the last 100, on which nothing was claimed to fall."""
    one = finding(won=30, total=100, rows=list(range(900, 1000)))
    claimed = [False] * 900 + [True] * 100
    found = decide([one], clean=CLEAN, classes=10, claimed=claimed)
    assert (found.answer, found.causes[0].gain) == ("masked", 0.3)


@pytest.mark.parametrize(("effect", "answer"), [(0.02, "masked"), (0.05, "inconclusive")])
def test_finding_says_how_much_matters(effect, answer):
    """50 of 1,000 are won."""
    assert verdict(finding(won=50, effect=effect)).answer == answer


def test_symptom_that_blinds_leaves_the_matter_open():
    result = verdict(finding("no gradient", won=0, blinding=True))
    assert result.answer == "inconclusive"
    assert "What was run in place of gradients settles nothing" in result.reason
    assert verdict(finding("no gradient", blinding=True, fired=False)).answer == "not masked"


def test_symptom_that_decides_nothing_counts_for_nothing():
    result = verdict(finding(won=100, kind="symptom"))
    assert (result.answer, result.causes, result.weaknesses) == ("not masked", [], [])
    silent = [finding(f"symptom {index}", fired=False, kind="symptom") for index in range(19)]
    assert verdict(finding("lucky", won=32), *silent).answer == "masked"
