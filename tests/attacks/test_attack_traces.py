"""Models, random state and the caller's images stay as they were, whatever happens in an attack."""

from __future__ import annotations

import contextlib

import pytest
import torch
from attack_cases import CASES, arranged, images_for, unbeatable
from torch import nn

from unmask.attacks import FRSM


@pytest.fixture(params=CASES)
def modal(request):
    """Return an attack, images, labels, and a model that has modes, buffers and frozen parameters."""
    return arranged(request.param, network="batch-norm")


def traces(model, *tensors):
    """Return all that an attack might change, as plain values."""
    bits = [*model.state_dict().values(), *(one.grad for one in model.parameters()), *tensors, torch.get_rng_state()]
    return {
        "modes": [part.training for part in model.modules()],
        "requires_grad": [one.requires_grad for one in (*model.parameters(), *tensors)],
        "gradients": [one.grad is not None for one in (*model.parameters(), *tensors)],
        "bits": [None if one is None else one.detach().numpy().tobytes() for one in bits],
        "recording": torch.is_grad_enabled(),
    }


def in_mid_update(model):
    """Give half the parameters a gradient, as between a backward pass and the optimizer's step."""
    for parameter in list(model.parameters())[::2]:
        parameter.grad = torch.full_like(parameter, 0.5)
    return model


def test_model_images_and_random_state_stay_as_they_were(modal):
    attack, model, images, labels = modal
    images.requires_grad_()
    before = traces(in_mid_update(model), images, labels)
    found = attack(model, images, labels)
    assert traces(model, images, labels) == before
    assert not found.requires_grad


class Failing(nn.Module):
    """A model that raises at a given forward pass, or in the backward pass that follows a given one."""

    def __init__(self, model, at, backward):
        super().__init__()
        self.model, self.at, self.backward, self.calls, self.failed = model, at, backward, 0, False

    def forward(self, images):
        logits = self.model(images)
        self.calls += images.requires_grad or not self.backward
        if self.calls == self.at:
            if not self.backward:
                self.fail()
            elif logits.requires_grad:
                logits.register_hook(self.fail)
        return logits

    def fail(self, *_):
        torch.rand(1)
        self.failed = True
        raise ArithmeticError("on purpose")


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("at", [1, 3])
def test_all_stays_as_it_was_when_the_model_raises(modal, at, backward):
    attack, model, images, labels = modal
    model = in_mid_update(Failing(model, at, backward))
    before = traces(model, images, labels)
    with contextlib.suppress(ArithmeticError):
        attack(model, images, labels)
    assert traces(model, images, labels) == before
    if at == 1 and not backward:
        assert model.failed == (not isinstance(attack, FRSM))


@pytest.mark.parametrize("attack", CASES.values(), ids=CASES)
def test_a_model_that_writes_into_its_input_does_not_reach_the_callers_images(attack):
    images, labels = images_for(6), torch.zeros(6, dtype=torch.int64)
    before = images.clone()

    def model(points):
        logits = unbeatable(0, 0)[0](points)
        points.zero_()  # raises RuntimeError where the points need a gradient
        return logits

    with contextlib.suppress(RuntimeError):
        attack(model, images, labels)
    assert torch.equal(images, before)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_works_where_gradients_are_switched_off(modal, mode):
    attack, model, images, labels = modal
    expected = attack(model, images, labels)
    with mode():
        assert torch.equal(attack(model, images, labels), expected)
        assert torch.equal(attack(model, images.clone(), labels.clone()), expected)  # made in this mode
