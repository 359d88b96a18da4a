"""Work in batches: every example once and in order, also when memory runs out and when calls are nested."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unmask.numerics import Batches


def out_of_memory():
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def out_of_main_memory():
    """The error that torch raises on a CPU."""
    try:
        torch.empty(2**58, dtype=torch.uint8)
    except RuntimeError as error:
        return error
    raise AssertionError("such a machine is not known")


class Hungry:
    """Doubles what it is given, but cannot hold more than ``most`` examples."""

    def __init__(self, most, error=out_of_memory):
        self.most, self.error, self.sizes = most, error, []

    def __call__(self, images, labels):
        self.sizes.append(len(images))
        if len(images) > self.most:
            raise self.error()
        return 2 * images, labels + 1


@settings(max_examples=40, deadline=None)
@given(count=st.integers(0, 20), size=st.integers(1, 8), most=st.integers(1, 8))
def test_every_example_is_done_once_and_in_order(count, size, most):
    finished = []
    images, labels = torch.arange(count).float(), torch.arange(count)
    doubled, raised = Batches(size=size)(Hungry(most), images, labels, progress=finished.append)
    assert torch.equal(doubled, 2 * images)
    assert torch.equal(raised, labels + 1)
    assert sum(finished) == count


@pytest.mark.parametrize("error", [out_of_memory, out_of_main_memory])
def test_the_batch_is_halved_when_memory_runs_out_for_the_rest_of_the_call(error):
    batches, hungry = Batches(size=8), Hungry(most=3, error=error)
    batches(hungry, torch.zeros(5), torch.zeros(5))
    assert hungry.sizes == [5, 4, 2, 2, 1]
    assert batches == Batches(size=8)


def test_a_nested_call_that_runs_out_of_memory_leaves_the_outer_one_its_rows():
    batches, raised, sizes, finished = Batches(size=4), [], [], []

    def inner(images, labels):
        sizes.append(len(images))
        if not raised:
            raised.append(True)
            raise out_of_memory()
        return images

    def outer(images, labels):
        return batches(inner, images, labels)[0], labels

    images = torch.arange(8).float()
    found, _ = batches(outer, images, torch.arange(8), progress=finished.append)
    assert torch.equal(found, images)
    assert sizes == [4, 2, 2, 4]
    assert finished == [4, 4]


def test_a_single_example_that_does_not_fit_is_an_error():
    hungry = Hungry(most=0)
    with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
        Batches(size=4)(hungry, torch.zeros(4), torch.zeros(4))
    assert hungry.sizes == [4, 2, 1]


@pytest.mark.parametrize("error", [RuntimeError("shapes cannot be multiplied"), ValueError("labels"), KeyError("x")])
def test_other_errors_pass_through_at_once(error):
    hungry = Hungry(most=1, error=lambda: error)
    with pytest.raises(type(error)) as caught:
        Batches(size=4)(hungry, torch.zeros(4), torch.zeros(4))
    assert caught.value is error
    assert hungry.sizes == [4]


def test_a_function_of_one_result_gives_one_tensor_without_history():
    weight = torch.ones(1, requires_grad=True)
    (result,) = Batches(size=2)(lambda images, labels: images * weight, torch.ones(3), torch.zeros(3))
    assert torch.equal(result, torch.ones(3))
    assert not result.requires_grad


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_without_examples_is_refused(size):
    with pytest.raises(ValueError, match=f"^batch size: expected a whole number above 0, got {size}"):
        Batches(size=size)
