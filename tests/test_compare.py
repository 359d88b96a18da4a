"""Two audits compared: what each image gained or lost, and what is not comparable."""

from __future__ import annotations

from dataclasses import replace

import pytest

from records import first, masked, share
from unmask.reports.comparison import MEASURES, cautions, compare
from unmask.statistics import paired_gain


def record(**right):
    """An audit of 1,000 images; for each measure how many are right, or the list itself."""
    lists = {name: first(900) for name in MEASURES}
    for name, held in right.items():
        lists[name] = first(held) if isinstance(held, int) else held
    old = masked()
    return replace(old, correct=lists, images_digest="abc", decision=replace(old.decision, answer="not masked"))


def test_a_gain_is_counted_example_by_example():
    before, after = (
        record(robust=300),
        record(robust=[True] * 250 + [False] * 50 + [True] * 150 + 550 * [False]),
    )
    clean, claimed, robust = compare(before, after)
    assert (clean.change, clean.gained, clean.lost, clean.p_value) == (0, 0, 0, 1)
    assert claimed.change == 0
    assert (robust.change, robust.gained, robust.lost) == (0.1, 150, 50)
    assert (robust.before, robust.after) == (share(300), share(400))
    assert robust.low < 0.1 < robust.high
    assert str(robust) == (
        "robust accuracy rose from 30.0 % to 40.0 % (95 % interval "
        f"{100 * robust.low:+.1f} to {100 * robust.high:+.1f} points, p < 0.001; 150 of 1000 images gained, 50 lost)."
    )


def test_the_way_back_is_the_mirror():
    one, other = record(robust=300), record(robust=[False] * 600 + [True] * 400)
    there, back = compare(one, other)[2], compare(other, one)[2]
    assert (there.change, there.low, there.high) == (-back.change, -back.high, -back.low)
    assert (there.gained, there.lost, there.p_value) == (back.lost, back.gained, back.p_value)
    assert "robust accuracy fell from 40.0 % to 30.0 %" in str(back)


def test_three_measures_share_one_level():
    before, after = first(300), first(320)
    robust = compare(record(robust=before), record(robust=after))[2]
    alone = paired_gain(after, before)
    assert robust.low < alone.low < alone.high < robust.high
    assert robust.p_value == pytest.approx(3 * 2 * alone.p_value)


def test_what_may_be_chance_is_not_called_a_change():
    robust = compare(record(robust=300), record(robust=[True] * 301 + [False] * 699))[2]
    assert robust.low < 0 < robust.high
    assert str(robust).startswith("robust accuracy was 30.0 % and is 30.1 %, no clear change (95 % interval -")
    assert "p = 1.000; 1 of 1000 images gained, 0 lost" in str(robust)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"images_digest": "abd"},
            "images: expected two audits of the same images, got 1000 of MNIST and 1000 of MNIST",
        ),
        ({"epsilon": 0.3}, "epsilon: expected the same in both audits, got 0.25 and 0.3"),
        ({"images_digest": ""}, "the report holds no outcomes per image; audit it again"),
        ({"correct": {"clean": [True]}}, "the report holds no outcomes per image; audit it again"),
    ],
)
def test_what_is_not_comparable_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        compare(record(), replace(record(), **changes))


def test_what_else_may_be_the_reason_is_said():
    one = record()
    assert cautions(one, one) == []
    decision = replace(one.decision, answer="inconclusive")
    other = replace(one, reference="PGD", attacks=one.attacks[:2], decision=decision)
    assert cautions(one, other) == [
        "The claims are of different reference attacks: FGSM with cross entropy, float32, and PGD.",
        "The robust accuracies are under different attacks.",
        "The audit after the change is inconclusive: its robust accuracy may be far above the truth.",
    ]
    assert cautions(other, one)[2].startswith("The audit before the change")
