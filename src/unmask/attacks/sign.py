"""Attacks in one step: FGSM, R-FGSM, RS-FGSM, and FRSM, the random control.

A sweep over epsilons costs one backward pass; that of RS-FGSM, whose start depends on epsilon, one for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from unmask.gradients import input_gradient
from unmask.losses import Loss, log_odds
from unmask.numerics import Model, random_signs, undisturbed
from unmask.threats import Linf, check_batch


@dataclass(frozen=True, kw_only=True)
class FGSM:
    """Fast gradient sign method: ``x + epsilon sign(grad_x loss)``, cut to [0, 1] (Goodfellow et al. 2015, section 4).

    Raises:
        ValueError: epsilon outside [0, 1]; on the call, images or labels of the wrong kind.

    Example:
        >>> import torch
        >>> model = lambda x: x.flatten(1)
        >>> FGSM(epsilon=0.25)(model, torch.full((1, 1, 1, 2), 0.5), torch.tensor([0])).flatten()
        tensor([0.2500, 0.7500])
    """

    epsilon: float
    loss: Loss = log_odds

    def __post_init__(self) -> None:
        Linf(epsilon=self.epsilon)

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Tensor:
        """Adversarial images, shaped as ``images``."""
        return next(self.sweep(model, images, labels, epsilons=[self.epsilon], loss=self.loss))

    @classmethod
    def sweep(
        cls, model: Model, images: Tensor, labels: Tensor, *, epsilons: Sequence[float], loss: Loss = log_odds
    ) -> Iterator[Tensor]:
        """Adversarial images for each epsilon in turn, from one gradient."""
        check_batch(images, labels)
        with undisturbed(model):
            direction = input_gradient(model, images, labels, loss=loss).gradient
        for epsilon in epsilons:
            yield Linf(epsilon=epsilon).step(images.detach(), direction, size=epsilon)


@dataclass(frozen=True, kw_only=True)
class RFGSM:
    """FGSM from a random corner: ``x' = x + a s``, then ``x' + (epsilon - a) sign(grad_x' loss)``, cut to [0, 1].

    ``s`` is -1 or +1 per pixel; ``a = min(alpha, epsilon)``, so the result stays within epsilon (Tramer et al. 2018,
    section 3.3). ``alpha`` defaults to half of epsilon.

    Raises:
        ValueError: epsilon or alpha outside [0, 1]; on the call, images or labels of the wrong kind.

    Example:
        >>> import torch
        >>> model = lambda x: x.flatten(1)
        >>> attack = RFGSM(epsilon=0.25, alpha=0.0)
        >>> attack(model, torch.full((1, 1, 1, 2), 0.5), torch.tensor([0])).flatten()
        tensor([0.2500, 0.7500])
    """

    epsilon: float
    alpha: float | None = None
    loss: Loss = log_odds
    seed: int = 0

    def __post_init__(self) -> None:
        Linf(epsilon=self.epsilon)
        if self.alpha is not None and not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha: expected a number in [0, 1], got {self.alpha}")

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Tensor:
        """Adversarial images, shaped as ``images``."""
        only = [self.epsilon]
        return next(self.sweep(model, images, labels, epsilons=only, alpha=self.alpha, loss=self.loss, seed=self.seed))

    @classmethod
    def sweep(
        cls,
        model: Model,
        images: Tensor,
        labels: Tensor,
        *,
        epsilons: Sequence[float],
        alpha: float | None = None,
        loss: Loss = log_odds,
        seed: int = 0,
    ) -> Iterator[Tensor]:
        """Adversarial images for each epsilon in turn, from one gradient taken at the offset ``x + alpha s``.

        ``alpha`` defaults to half of the largest epsilon. An epsilon below alpha takes no gradient step: the offset is
        cut down to epsilon.
        """
        check_batch(images, labels)
        alpha = max(epsilons) / 2 if alpha is None else alpha
        signs = random_signs(images, seed=seed)
        start = Linf(epsilon=alpha).step(images.detach(), signs, size=alpha)
        with undisturbed(model, seed=seed):
            direction = input_gradient(model, start, labels, loss=loss).gradient
        for epsilon in epsilons:
            threat = Linf(epsilon=epsilon)
            yield threat.step(
                threat.project(start, images.detach()),
                direction,
                size=max(epsilon - alpha, 0.0),
                origin=images.detach(),
            )


@dataclass(frozen=True, kw_only=True)
class RSFGSM:
    """FGSM from a uniform start: ``x' = x + u``, then ``project(x' + step_size sign(grad_x' loss))``.

    ``u`` is uniform in the ball (Wong, Rice & Kolter 2020, Algorithm 3). Made for training, where the start keeps a
    network from masking, up to some epsilon: training with it, on CIFAR-10 at 8/255, gave 83.34 on clean images and
    43.21 under AutoAttack (RobustBench, PreActResNet-18).

    Attributes:
        step_size: how far the step goes, in pixel units; by default ``1.25 epsilon``.

    Raises:
        ValueError: epsilon outside [0, 1], or step_size below 0; on the call, images or labels of the wrong kind.

    Example:
        >>> import torch
        >>> model = lambda x: x.flatten(1)
        >>> attack = RSFGSM(epsilon=0.25, step_size=0.5)
        >>> attack(model, torch.full((1, 1, 1, 2), 0.5), torch.tensor([0])).flatten()
        tensor([0.2500, 0.7500])
    """

    epsilon: float
    step_size: float | None = None
    loss: Loss = log_odds
    seed: int = 0

    def __post_init__(self) -> None:
        Linf(epsilon=self.epsilon)
        if self.step_size is not None and not self.step_size >= 0:
            raise ValueError(f"step_size: expected a number from 0 up, got {self.step_size}")

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Tensor:
        """Adversarial images, shaped as ``images``."""
        check_batch(images, labels)
        images, threat = images.detach(), Linf(epsilon=self.epsilon)
        size = 1.25 * self.epsilon if self.step_size is None else self.step_size
        start = threat.random_start(images, seed=self.seed)
        with undisturbed(model, seed=self.seed):
            direction = input_gradient(model, start, labels, loss=self.loss).gradient
        return threat.step(start, direction, size=size, origin=images)

    @classmethod
    def sweep(
        cls,
        model: Model,
        images: Tensor,
        labels: Tensor,
        *,
        epsilons: Sequence[float],
        step_size: float | None = None,
        loss: Loss = log_odds,
        seed: int = 0,
    ) -> Iterator[Tensor]:
        """Adversarial images for each epsilon in turn; one gradient each."""
        for epsilon in epsilons:
            yield cls(epsilon=epsilon, step_size=step_size, loss=loss, seed=seed)(model, images, labels)


@dataclass(frozen=True, kw_only=True)
class FRSM:
    """Fast random sign method: ``x + epsilon s``, ``s`` -1 or +1 per pixel, cut to [0, 1] (Yanagita & Yamamura 2018).

    It asks the model nothing: a gradient attack that does no better has useless gradients.

    Raises:
        ValueError: epsilon outside [0, 1]; on the call, images or labels of the wrong kind.

    Example:
        >>> import torch
        >>> noisy = FRSM(epsilon=0.25)(None, torch.full((1, 1, 1, 2), 0.5), torch.tensor([0]))
        >>> (noisy - 0.5).abs().flatten()
        tensor([0.2500, 0.2500])
    """

    epsilon: float
    seed: int = 0

    def __post_init__(self) -> None:
        Linf(epsilon=self.epsilon)

    def __call__(self, model: Model | None, images: Tensor, labels: Tensor) -> Tensor:
        """Noisy images, shaped as ``images``; the model is not asked."""
        return next(self.sweep(model, images, labels, epsilons=[self.epsilon], seed=self.seed))

    @classmethod
    def sweep(
        cls, model: Model | None, images: Tensor, labels: Tensor, *, epsilons: Sequence[float], seed: int = 0
    ) -> Iterator[Tensor]:
        """Noisy images for each epsilon in turn, with the same signs."""
        check_batch(images, labels)
        signs = random_signs(images, seed=seed)
        for epsilon in epsilons:
            yield Linf(epsilon=epsilon).step(images.detach(), signs, size=epsilon)
