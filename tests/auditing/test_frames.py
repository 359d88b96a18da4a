"""The way from an audit to the model: frames of this package on the stack at each call of the model."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import unmask
from unmask.auditing import FULL, audit

PACKAGE = str(Path(unmask.__file__).parent) + "/"

MOST = 9
"""The frames from ``audit`` to a plain model, both included."""


class Recording(nn.Module):
    """The wrapped model; it records the names of this package's functions that are on the stack at each call."""

    def __init__(self, model, before=lambda images: images, after=lambda logits: logits):
        super().__init__()
        self.model, self.before, self.after = model, before, after
        self.stacks = set()

    def __deepcopy__(self, memo):
        """Record the calls of a copy here as well."""
        copied = Recording(copy.deepcopy(self.model, memo), self.before, self.after)
        copied.stacks = self.stacks
        return copied

    def forward(self, images):
        stack, frame = [], sys._getframe(1)
        while frame is not None:
            if frame.f_code.co_filename.startswith(PACKAGE):
                stack.append(frame.f_code.co_qualname)
            frame = frame.f_back
        self.stacks.add(tuple(reversed(stack)))
        return self.after(self.model(self.before(images)))


def deepest(model, task, effort):
    """Return the longest way to the model in an audit of it."""
    audit(model, task[0][:40], task[1][:40], epsilon=0.1, effort=effort)
    assert {stack[0] for stack in model.stacks} == {"audit"}
    return max(model.stacks, key=len)


def test_plain_model_is_nine_frames_away_at_most(perceptron, task):
    """At full effort, with every image in one batch."""
    way = deepest(Recording(perceptron), task, FULL)
    assert len(way) <= MOST, " > ".join(way)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after", "most"),
    [
        (lambda images: images, lambda logits: logits.softmax(1), 10),
        (lambda images: images + 0.1 * torch.randn_like(images), lambda logits: logits, 11),
        (lambda images: (8 * images).round() / 8, lambda logits: logits, 10),
    ],
    ids=["probabilities", "random", "rounding"],
)
def test_proxy_adds_its_own_frames(before, after, most, perceptron, task, tiny):
    """A copy, a mean over draws, a BPDA model and a change of scale are each a frame or two."""
    way = deepest(Recording(perceptron, before, after), task, tiny)
    assert len(way) <= most, " > ".join(way)
