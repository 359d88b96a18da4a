"""The printed Adam: its standard variant is torch's, and the others do what the print says."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unmask_experiments.printed_adam import VARIANTS, PrintedAdam


def steps(optimizer, parameter, gradients):
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
        yield parameter.detach().clone()


def test_the_standard_variant_is_torchs_adam():
    gradients = list(torch.randn(40, 6, generator=torch.Generator().manual_seed(0)) * 0.01)
    ours, theirs = nn.Parameter(torch.ones(6)), nn.Parameter(torch.ones(6))
    printed = PrintedAdam([ours], lr=0.01, weight_decay=0.1)
    reference = torch.optim.Adam([theirs], lr=0.01, weight_decay=0.1)
    for one, other in zip(steps(printed, ours, gradients), steps(reference, theirs, gradients), strict=True):
        torch.testing.assert_close(one, other)


def test_the_double_corrected_variant_differs_by_the_factor_on_alpha():
    corrected, standard = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    gradient = [torch.ones(1)]
    (one,) = steps(VARIANTS["adam-double-corrected"]([corrected], lr=1.0), corrected, gradient)
    (other,) = steps(PrintedAdam([standard], lr=1.0), standard, gradient)
    assert one / other == pytest.approx((1 - 0.999) ** 0.5 / (1 - 0.9))


@pytest.mark.parametrize("size", [1e-2, 1e-1, 1.0])
def test_the_literal_variant_overflows_between_20_and_30_updates_and_freezes(size):
    parameter = nn.Parameter(torch.zeros(3))
    optimizer = VARIANTS["adam-literal"]([parameter], lr=0.1)
    overflowed, places = None, []
    for update, place in enumerate(steps(optimizer, parameter, [torch.full((3,), size)] * 60), start=1):
        places.append(place)
        if overflowed is None and optimizer.state[parameter]["v"].isinf().all():
            overflowed = update
    assert overflowed is not None
    assert 15 <= overflowed <= 30
    assert all(torch.equal(place, places[overflowed]) for place in places[overflowed:])
    assert torch.isfinite(places[-1]).all()


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValueError, match="variant: expected one of standard, double_corrected, literal, got 'other'"):
        PrintedAdam([nn.Parameter(torch.zeros(1))], variant="other")
