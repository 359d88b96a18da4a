"""SPSA: gradient ascent whose gradient comes from differences along random directions, not from backpropagation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from unmask.attacks.attack import FORWARD, BoundedAttack, check_counts
from unmask.attacks.best import Best, misclassified
from unmask.losses import Loss, margin
from unmask.numerics import Model, derive_seed, fastest_layout, laid_out, random_keys, random_words, undisturbed
from unmask.threats import Threat, check_batch

TOGETHER = 128
"""The number of pairs of images in one forward pass, roughly."""

BETA_1, BETA_2 = 0.9, 0.999
"""Adam's decay rates of the moments."""


@dataclass(frozen=True, kw_only=True)
class SPSA(BoundedAttack):
    """Simultaneous perturbation, with Adam's steps (Uesato et al. 2018, algorithm 1; Spall 1992).

    ``g = mean_i (loss(x + delta v_i) - loss(x - delta v_i)) v_i / w``, where each ``v_i`` is -1 or +1 per pixel; both
    points are cut to [0, 1], and ``w`` is their distance after that, per pixel. Then ``x`` moves by Adam's step
    along ``g`` and is projected. Adam's own epsilon is left out, so that the loss's scale does not matter.
    It starts at the image. An example leaves as soon as it is misclassified; of the others, the point of highest loss
    comes back.

    A step takes ``2 samples + 1`` forward passes and no gradient; one more is at the last point. The differences reach
    across rounding and other flat places that are narrower than ``2 delta``; their points may lie outside the ball.

    Attributes:
        steps: Adam's steps.
        samples: directions per step.
        delta: the distance of both points from ``x``, in pixel units.
        learning_rate: Adam's, in pixel units: about the size of a step.

    Raises:
        ValueError: a setting is out of range; on the call, images or labels of the wrong kind.

    Example:
        >>> model = lambda x: x.flatten(1)
        >>> attack = SPSA(0.125, steps=20)
        >>> attack(model, torch.tensor([0.75, 0.25]).view(1, 1, 1, 2), torch.tensor([0])).flatten()
        tensor([0.6250, 0.3750])
    """

    steps: int = 40
    samples: int = 64
    delta: float = 0.01
    learning_rate: float = 0.01
    loss: Loss = margin
    seed: int = 0

    needs_gradients: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_counts(steps=self.steps, samples=self.samples)
        for name, value in (("delta", self.delta), ("learning_rate", self.learning_rate)):
            if not 0 < value <= 1:
                raise ValueError(f"{name}: expected a number above 0 and up to 1, got {value}")

    @property
    def cost(self) -> float:
        """At most ``2 samples + 1`` forward passes for each step, and the prediction on the result."""
        return FORWARD * (2 * self.samples + 1) * self.steps + FORWARD

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Tensor:
        """Return adversarial images, shaped as ``images``."""
        check_batch(images, labels)
        best, threat = Best(images.detach()), self.threat
        with undisturbed(model, seed=self.seed), torch.no_grad():
            layout = fastest_layout(model, images)
            state = _begin(images.detach(), labels, seed=derive_seed(self.seed, "directions"))
            for step in range(self.steps + 1):
                logits = model(laid_out(state.x, layout))
                fooled = misclassified(logits, state.labels)
                best.offer(state.x, fooled, self.loss(logits, state.labels), state.rows)
                state = _State(*(one[~fooled] for one in state))
                if step == self.steps or not len(state.rows):
                    break
                gradient = self._gradient(model, state, step, layout)
                state = self._moved(state, gradient, step, threat)
        return best.images

    def _gradient(self, model: Model, state: _State, step: int, layout: torch.memory_format) -> Tensor:
        """Return the estimate at ``state.x``."""
        x, total = state.x[:, None], torch.zeros_like(state.x)
        together = max(1, TOGETHER // len(state.x))
        for first in range(0, self.samples, together):
            signs = self._signs(state, step, range(first, min(first + together, self.samples)))
            ends = torch.cat([x + self.delta * signs, x - self.delta * signs]).clamp_(0, 1).flatten(0, 1)
            labels = state.labels.repeat_interleave(signs.shape[1]).repeat(2)
            plus, minus = self.loss(model(laid_out(ends, layout)), labels).view(2, -1, signs.shape[1])
            rise = torch.nan_to_num(plus - minus, nan=0.0, posinf=0.0, neginf=0.0)
            total += (rise[:, :, None, None, None] * signs).sum(1)
        apart = (state.x + self.delta).clamp_(max=1) - (state.x - self.delta).clamp_(min=0)
        return total / (self.samples * apart.clamp_min(torch.finfo(apart.dtype).eps))

    def _signs(self, state: _State, step: int, samples: range) -> Tensor:
        """Return the directions of these samples, (N, len(samples), C, H, W); each random word holds those of 64."""
        pixels, blocks = state.x[0].numel(), -(-self.samples // 64)
        words = [
            random_words(state.keys, pixels, after=(step * blocks + block) * pixels)
            for block in range(samples[0] // 64, samples[-1] // 64 + 1)
        ]
        places = torch.tensor([sample % 64 for sample in samples], device=state.x.device)
        which = [sample // 64 - samples[0] // 64 for sample in samples]
        bits = torch.stack(words, dim=1)[:, which] >> places[:, None] & 1
        return (2 * bits - 1).to(state.x.dtype).view(-1, len(samples), *state.x.shape[1:])

    def _moved(self, state: _State, gradient: Tensor, step: int, threat: Threat) -> _State:
        """Return the state after Adam's step and the projection."""
        first = state.first.lerp(gradient, 1 - BETA_1)
        second = state.second.lerp(gradient.square(), 1 - BETA_2)
        scale = (second / (1 - BETA_2 ** (step + 1))).sqrt_().clamp_min(torch.finfo(second.dtype).tiny)
        move = first / (1 - BETA_1 ** (step + 1)) / scale
        x = threat.project(state.x + self.learning_rate * move, state.origin)
        return state._replace(x=x, first=first, second=second)


class _State(NamedTuple):
    """The state of an ascent, one row per example still classified correctly; ``first``, ``second``: Adam's moments."""

    rows: Tensor
    labels: Tensor
    keys: Tensor
    origin: Tensor
    x: Tensor
    first: Tensor
    second: Tensor


def _begin(images: Tensor, labels: Tensor, *, seed: int) -> _State:
    """Return the state at the images."""
    rows = torch.arange(len(images), device=images.device)
    none = torch.zeros_like(images)
    return _State(rows, labels, random_keys(images, seed=seed), images, images, none, none)
