"""The worst image of each example: misclassified before correct, then by margin, at any scale of logits."""

from __future__ import annotations

import pytest
import torch

from unmask.attacks import Outcome
from unmask.auditing.worst import Worst


def outcome(*rows):
    """Of one-pixel images: each row is pixel, whether it is still right, and its margin."""
    pixels, correct, margin = zip(*rows, strict=True)
    images = torch.tensor(pixels).view(-1, 1, 1, 1)
    return Outcome(images, 1 - torch.tensor(correct).long(), torch.tensor(correct), *2 * [torch.tensor(margin)])


def test_the_worst_is_misclassified_before_right_and_then_by_margin():
    worst = Worst(outcome((0.0, True, -9.0), (0.0, True, -9.0), (0.0, True, -9.0), (0.0, False, 0.1)))
    worst.add(outcome((0.1, True, -1.0), (0.1, False, 0.5), (0.1, False, 0.5), (0.1, False, 9.0)))
    worst.add(outcome((0.2, True, -2.0), (0.2, True, 3.0), (0.2, False, 0.7), (0.2, True, -9.0)))
    assert worst.images.flatten().tolist() == pytest.approx([0.1, 0.1, 0.2, 0.0])
    assert worst.attack.tolist() == [1, 1, 2, 0]
    assert worst.correct.tolist() == [True, False, False, False]
    assert worst.predictions.tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize("factor", [2.0**-20, 2.0**10])
def test_the_nearest_are_the_same_at_any_scale_of_logits(factor):
    logits, labels = torch.randn(40, 10, dtype=torch.float64), torch.arange(40) % 10
    nearest = []
    for scale in (1.0, factor):
        worst = Worst(Outcome.of(torch.zeros(40, 1, 1, 1, dtype=torch.float64), scale * logits, labels))
        nearest.append(worst.nearest(0.25, among=torch.ones(40, dtype=torch.bool)))
    assert len(nearest[0]) == 10
    assert torch.equal(*nearest)


def test_no_number_is_worse_than_a_right_answer_and_no_worse_than_a_wrong_one():
    nan = float("nan")
    worst = Worst(outcome((0.0, True, -9.0), (0.0, True, -9.0)))
    worst.add(outcome((0.1, False, nan), (0.1, False, 0.5)))
    worst.add(outcome((0.2, True, 3.0), (0.2, False, nan)))
    assert worst.images.flatten().tolist() == pytest.approx([0.1, 0.1])
