"""Single-step training kept from masking by a distance between logits."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal

import torch
from torch import Tensor

from unmask.gradients import input_gradient
from unmask.losses import Loss, cross_entropy, log_odds
from unmask.numerics import Model, derive_seed, random_signs, undisturbed
from unmask.threats import Epsilon, check_batch, threat_model
from unmask.training.objectives.objective import check_alpha, check_weight


@dataclass(frozen=True)
class LogitDistance:
    """Single-step training kept from masking by a regularizer (Vivek, Baburaj & Babu 2019, equation 8).

    ``mean CE(z_fgsm, y) + weight * mean |z_fgsm - z_rfgsm|_2^2``: the logits for the FGSM image of x, and for the
    R-FGSM image that starts from x plus ``alpha`` times random signs, must agree. Both images come from one pass and
    both logits from another; all are cut to [0, 1].

    Cost: 10 passes. Published for MNIST at epsilon 0.3 (Table 3), accuracy on clean images, under FGSM
    and under PGD-100: 98.74, 95.1 and 87.74; with weight 0 97.62, 92.52 and 0.17.

    It need not prevent masking: a narrow ResNet-18 on CIFAR-10, at epsilon 24/255, masked in the sixteenth of 20 passes
    with the default alpha, without the term in the eleventh, and not at all with an alpha of a quarter of epsilon; on
    MNIST larger ones cost accuracy under PGD (``results/README.md``, table 4 and ablation). Give the trainer a `Watch`.

    Attributes:
        epsilon: the bound; a number in [0, 1] or text such as ``"8/255"``.
        weight: the paper's lambda; 0 is its ablation.
        alpha: size of the random offset; a thirtieth of epsilon by default. The paper does not state it; the same lab's
            later code has 0.01 at epsilon 0.3, and a quarter of epsilon on CIFAR-10.
        step_from_offset: ``"full"`` steps by epsilon, so the R-FGSM image may leave the ball by alpha (the later
            code); ``"remaining"`` steps by ``epsilon - alpha`` (the paper's equation 3).

    Raises:
        ValueError: a setting is out of range.

    Example:
        >>> objective = LogitDistance(0.25)
        >>> objective(lambda x: x.flatten(1), torch.zeros(1, 1, 1, 2), torch.tensor([0])) > 0.8
        tensor(True)
    """

    epsilon: Epsilon = Epsilon()
    _: KW_ONLY
    weight: float = 5.0
    alpha: float | None = None
    step_from_offset: Literal["full", "remaining"] = "full"
    loss: Loss = log_odds
    seed: int = 0

    def __post_init__(self) -> None:
        check_weight(self.weight)
        if not 0 <= self._alpha <= self.epsilon:
            raise ValueError(f"alpha: expected a number from 0 to epsilon ({self.epsilon:g}), got {self.alpha}")
        if self.step_from_offset not in ("full", "remaining"):
            raise ValueError(f"step_from_offset: expected 'full' or 'remaining', got {self.step_from_offset!r}")

    @property
    def _alpha(self) -> float:
        return self.epsilon / 30 if self.alpha is None else self.alpha

    def __call__(self, model: Model, images: Tensor, labels: Tensor, *, step: int = 0) -> Tensor:
        """Return the loss of one update."""
        check_batch(images, labels)
        signs = random_signs(images, seed=derive_seed(self.seed, step))
        starts = torch.cat([images, (images + self._alpha * signs).clamp_(0, 1)])
        with undisturbed(model, seed=derive_seed(self.seed, "attack", step)):
            direction = input_gradient(model, starts, labels.repeat(2), loss=self.loss).gradient.sign()
        remaining = self.epsilon if self.step_from_offset == "full" else self.epsilon - self._alpha
        fgsm, rfgsm = direction.chunk(2)
        moved = torch.cat([self.epsilon * fgsm, remaining * rfgsm])
        at_fgsm, at_rfgsm = model((starts + moved).clamp_(0, 1)).chunk(2)
        distance = (at_fgsm - at_rfgsm).square().sum(1)
        return cross_entropy(at_fgsm, labels).mean() + self.weight * distance.mean()


@dataclass(frozen=True)
class StepDistance:
    """A cheaper relative of ``LogitDistance``: ``mean CE(z_end, y) + weight * mean |z_end - z_start|_2^2``.

    The attack starts from x plus ``alpha`` times random signs, and ends one step of epsilon further, back in the ball;
    the logits at its start and at its end must agree. It is adversarial logit pairing (Kannan, Kurakin & Goodfellow
    2018) with the attack's start in place of the clean image and without cross entropy there; no paper's figures belong
    to it. On MNIST at epsilon 0.3 it did not keep training from masking: ``results/README.md``, single-step.

    The attack's own pass is the one that the loss trains on, so nothing is computed twice. Cost: 7 passes. That pass
    must then be in the mode that the loss wants: in training the attack is made through batch statistics and dropout,
    not in evaluation mode as elsewhere. One batch follows from the other, so batch norm sees them apart.

    Attributes:
        epsilon: the bound; a number in [0, 1] or text such as ``"8/255"``.
        weight: of the distance; the default was chosen on the embedded digits alone.
        alpha: size of the random offset; half of epsilon by default, and 0 starts from the clean image.

    Raises:
        ValueError: a setting is out of range.

    Example:
        >>> objective = StepDistance(0.25, alpha=0.0, weight=1.0)  # the logits move by 0.25 each
        >>> objective(lambda x: x.flatten(1), torch.full((1, 1, 1, 2), 0.5), torch.tensor([0])).detach()
        tensor(1.0991)
    """

    epsilon: Epsilon = Epsilon()
    _: KW_ONLY
    weight: float = 0.5
    alpha: float | None = None
    loss: Loss = log_odds
    seed: int = 0

    def __post_init__(self) -> None:
        check_weight(self.weight)
        check_alpha(self.alpha)

    def __call__(self, model: Model, images: Tensor, labels: Tensor, *, step: int = 0) -> Tensor:
        """Return the loss of one update."""
        check_batch(images, labels)
        images, alpha = images.detach(), self.epsilon / 2 if self.alpha is None else self.alpha
        signs = random_signs(images, seed=derive_seed(self.seed, step))
        start = threat_model(alpha).step(images, signs, size=alpha)
        with torch.enable_grad():
            at_start = model(start.requires_grad_())
            maximised = self.loss(at_start, labels).sum()
            (direction,) = torch.autograd.grad(
                maximised, start, retain_graph=True, allow_unused=True, materialize_grads=True
            )
        end = threat_model(self.epsilon).step(start.detach(), direction, size=self.epsilon, origin=images)
        at_end = model(end)
        distance = (at_end - at_start).square().sum(1)
        return cross_entropy(at_end, labels).mean() + self.weight * distance.mean()
