"""Models that each show one symptom of masking, and models with known answers."""

from __future__ import annotations

import math

import torch
from torch import nn

from unmask.auditing.preflight import LogProbabilities
from unmask.models.masked import ScaledLogits, SoftmaxOutput

SNAP = 0.2
"""The epsilon that ``Snapped`` is made for."""


class WrongWay(torch.autograd.Function):
    """The identity, with a backward pass that turns the gradient round."""

    @staticmethod
    def forward(ctx, images):
        return images.view_as(images)

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


class Misled(nn.Module):
    """The wrapped model with a gradient that points away from errors."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        return self.model(WrongWay.apply(images))


class Rippled(nn.Module):
    """The wrapped model, with a ripple in each logit that returns after ``period``.

    ``z_k + 0.1 sum_i sin(2 pi x_i / period + phase_ki)``: at epsilon = period one step lands where it was on the
    ripple, along a gradient that is all ripple, while small steps climb it to far above any margin.
    """

    def __init__(self, model, period):
        super().__init__()
        self.model = model
        self.wave = 2 * math.pi / period
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("phase", 2 * math.pi * torch.rand(10, 64, generator=generator))

    def forward(self, images):
        ripple = torch.sin(self.wave * images.flatten(1)[:, None] + self.phase).sum(2)
        return self.model(images) + 0.1 * ripple


class Snapped(nn.Module):
    """A model that errs where an image has darkened by 0.4 to 0.95 of epsilon: only a whole step misses that."""

    def forward(self, images):
        darker = (0.5 - images).flatten(1).mean(1) / SNAP
        lead = torch.where(darker < 0.95, 1 - darker / 0.4, 1 - darker / 10)
        return torch.stack([lead, torch.zeros_like(lead)], dim=1)


class Gated(nn.Module):
    """The wrapped model, whose gradient passes only through units that are never active."""

    def __init__(self, model):
        super().__init__()
        self.model, self.units = model, nn.ReLU()

    def forward(self, images):
        return self.model(images.detach()) + self.units(images.flatten(1) - 2).sum(1, keepdim=True)


class SurelyProbable(nn.Module):
    """Probabilities so sure that float32 has none left for the rivals, as logits."""

    def __init__(self, model):
        super().__init__()
        self.model = LogProbabilities(SoftmaxOutput(ScaledLogits(model, 30.0)))

    def forward(self, images):
        return self.model(images)


class Jittery(nn.Module):
    """The wrapped model, with a ripple too fine to matter to its decision, along other directions at each pass.

    ``z_k + strength / rate sin(rate <r_k, x>)`` has a gradient that is mostly ``strength r_k``.
    """

    def __init__(self, model, strength=5.0, rate=200.0):
        super().__init__()
        self.model, self.strength, self.rate = model, strength, rate

    def forward(self, images):
        ways = torch.randn(len(images), 10, images[0].numel())
        ripple = torch.sin(self.rate * (ways @ images.flatten(1)[:, :, None]).squeeze(2))
        return self.model(images) + self.strength / self.rate * ripple


class Averse(nn.Module):
    """The wrapped model on images from which the mean of their batch is taken."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        return self.model(images - 0.2 * (images - images.mean(0)))


class Counting(nn.Module):
    """The wrapped model; it counts passes with a gradient, and passes without one, per image."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.gradients = self.forwards = 0

    def forward(self, images):
        if torch.is_grad_enabled() and images.requires_grad:
            self.gradients += len(images)
        else:
            self.forwards += len(images)
        return self.model(images)


def always(value):
    """Return a model of two logits, 0 and ``value``, whatever the image; its gradient is zero, and exists."""
    return lambda images: torch.stack([0 * images.sum((1, 2, 3)), 0 * images.sum((1, 2, 3)) + value], dim=1)
