"""Gradient alignment: FGSM training whose loss stays near linear within the ball."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from unmask.attacks import FGSM
from unmask.losses import Loss, cross_entropy, log_odds
from unmask.numerics import Model, derive_seed
from unmask.threats import Epsilon, threat_model
from unmask.training.objectives.objective import check_weight


@dataclass(frozen=True)
class GradAlign:
    """FGSM training with aligned gradients: ``mean CE(model(x_fgsm), y) + weight * mean (1 - cos(g(x), g(x + u)))``.

    ``g`` is the gradient of the loss in the image, ``u`` uniform in the ball (Andriushchenko & Flammarion 2020). Where
    one step is as good as many, the two gradients point the same way. The cosine is the same for cross entropy and for
    log-odds, which do not saturate. x + u is cut to [0, 1]; the authors' released code leaves it, and holds g(x) fixed
    while the update moves g(x + u), where here, as in the formula, both move.

    x and x + u share a pass; the FGSM images have their own, so batch norm sees them apart. Cost: 17 passes, since the
    update goes backwards through a gradient; its graph is kept in memory until then. Published for
    CIFAR-10 at 8/255 (RobustBench, PreActResNet-18), accuracy on clean images and under AutoAttack: 79.84 and 43.93.

    Attributes:
        epsilon: the bound; a number in [0, 1] or text such as ``"8/255"``.
        weight: the paper's lambda; 0.2 is that of CIFAR-10 at 8/255, and larger epsilons took more.

    Raises:
        ValueError: epsilon outside [0, 1], or a weight that is no finite number from 0 up.

    Example:
        >>> objective = GradAlign(0.25)  # of a linear model the gradient is everywhere the same
        >>> objective(lambda x: x.flatten(1), torch.full((1, 1, 1, 2), 0.5), torch.tensor([0])).detach()
        tensor(0.9741)
    """

    epsilon: Epsilon = Epsilon()
    _: KW_ONLY
    weight: float = 0.2
    loss: Loss = log_odds
    seed: int = 0

    def __post_init__(self) -> None:
        check_weight(self.weight)

    def __call__(self, model: Model, images: Tensor, labels: Tensor, *, step: int = 0) -> Tensor:
        """Return the loss of one update."""
        images = images.detach()
        noisy = threat_model(self.epsilon).random_start(images, seed=derive_seed(self.seed, step))
        adversarial = FGSM(epsilon=self.epsilon, loss=self.loss)(model, images, labels)
        gradients = self._gradients(model, torch.cat([images, noisy]), labels.repeat(2))
        at_image, at_noisy = gradients.flatten(1).chunk(2)
        cosine = functional.cosine_similarity(at_image, at_noisy)
        return cross_entropy(model(adversarial), labels).mean() + self.weight * (1 - cosine).mean()

    def _gradients(self, model: Model, points: Tensor, labels: Tensor) -> Tensor:
        """Return each image's gradient, with the graph that an update goes back through."""
        with torch.enable_grad():
            points = points.requires_grad_()
            maximised = self.loss(model(points), labels).sum()
            gradient = partial(torch.autograd.grad, create_graph=True, allow_unused=True, materialize_grads=True)
            return gradient(maximised, points)[0]
