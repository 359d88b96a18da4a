"""Images to train on that an attack makes outside the ball."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from torch import Tensor

from unmask.gradients import input_gradient
from unmask.losses import Loss, log_odds
from unmask.numerics import Model, random_uniform, undisturbed
from unmask.threats import Epsilon, check_batch, threat_model


@dataclass(frozen=True)
class NFGSM:
    """N-FGSM: ``x' = x + u``, then ``x' + epsilon sign(grad_x' loss)``, both cut to [0, 1] (de Jorge et al. 2022).

    ``u`` is uniform in ``[-k epsilon, k epsilon]``, and nothing is projected: the image may lie ``(1 + k) epsilon``
    from x. Train on it by ``Adversarial(attack=NFGSM("8/255"))``, at a cost of 5 passes. Not an attack to measure with,
    since it breaks its bound.

    Attributes:
        epsilon: the size of the step; a number in [0, 1] or text such as ``"8/255"``.
        k: the noise's size in units of epsilon; the paper has 2 on CIFAR-10. On MNIST at epsilon 0.3 a LeNet+
            learned nothing here with 2, and masked with 0.5: ``results/README.md``, single-step.

    Raises:
        ValueError: epsilon outside [0, 1], or k below 0; on the call, images or labels of the wrong kind.

    Example:
        >>> import torch
        >>> images = torch.full((1, 1, 1, 2), 0.5)
        >>> NFGSM(0.25, k=0.0)(lambda x: x.flatten(1), images, torch.tensor([0])).flatten()
        tensor([0.2500, 0.7500])
    """

    epsilon: Epsilon = Epsilon()
    _: KW_ONLY
    k: float = 2.0
    loss: Loss = log_odds
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.k >= 0:
            raise ValueError(f"k: expected a number from 0 up, got {self.k}")

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Tensor:
        """Return images to train on, shaped as ``images``."""
        check_batch(images, labels)
        noise = (2 * random_uniform(images, seed=self.seed) - 1) * (self.k * self.epsilon)
        start = (images.detach() + noise).clamp_(0, 1)
        with undisturbed(model, seed=self.seed):
            direction = input_gradient(model, start, labels, loss=self.loss).gradient
        return threat_model(1).step(start, direction, size=self.epsilon)  # of radius 1: only the range of pixels counts
