"""Proxies that an adaptive attacker differentiates in place of a defence: other gradients, or a mean."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn

from unmask.numerics import Model


class BackwardApproximation(nn.Module):
    """The values of one function with the gradient of another: BPDA (Athalye et al. 2018, section 4.1).

    ``s(x) + (f(x) - s(x))``, where the bracket has no gradient; the sum is f(x) but for rounding.

    Example:
        >>> x = torch.tensor([0.3], requires_grad=True)
        >>> y = BackwardApproximation(torch.round, torch.square)(x)
        >>> y.backward()
        >>> y.detach(), x.grad
        (tensor([0.]), tensor([0.6000]))
    """

    def __init__(self, values: Callable[[Tensor], Tensor], slope: Callable[[Tensor], Tensor]) -> None:
        """Set the functions; ``values`` is not differentiated."""
        super().__init__()
        self.values = values
        self.slope = slope

    def forward(self, inputs: Tensor) -> Tensor:
        """Take what both take to what both return."""
        sloped = self.slope(inputs)
        with torch.no_grad():
            rest = self.values(inputs) - sloped
        return sloped + rest


class MeanProbability(nn.Module):
    """The logarithm of the mean probability over draws: of a model's own randomness, of noise on the images, or both.

    Its decision is that of a randomised model over many draws. An attack on it is EOT (Athalye et al. 2018), or, with
    noise, an attack on a blurred loss surface.

    Example:
        >>> MeanProbability(lambda x: x.flatten(1), draws=3)(torch.zeros(1, 1, 1, 2)).exp()
        tensor([[0.5000, 0.5000]])
    """

    def __init__(self, model: Model, *, draws: int, sigma: float = 0.0) -> None:
        """Set the model; ``sigma`` is the noise's standard deviation, pixels being in [0, 1]."""
        super().__init__()
        self.model = model
        self.draws = draws
        self.sigma = sigma

    def forward(self, images: Tensor) -> Tensor:
        """Logarithms of probabilities (N, classes)."""
        many = images.repeat(self.draws, 1, 1, 1)
        if self.sigma:
            many = many + self.sigma * torch.randn_like(many)
        logits = torch.log_softmax(self.model(many), 1).view(self.draws, len(images), -1)
        return torch.logsumexp(logits, 0) - math.log(self.draws)


class Ramp(nn.Module):
    """A smooth rise in place of a jump at ``threshold`` by ``height``; above it the slope is 1, as ReLU's.

    ``relu(x - threshold) + height sigmoid(width (x - threshold))``.

    Example:
        >>> Ramp(threshold=0.0, height=2.0)(torch.tensor([-5.0, 0.0, 5.0]))
        tensor([9.0796e-05, 1.0000e+00, 6.9999e+00])
    """

    def __init__(self, *, threshold: float, height: float, width: float = 2.0) -> None:
        """Set the ramp; ``width`` is the reciprocal of the length over which it rises."""
        super().__init__()
        self.threshold = threshold
        self.height = height
        self.width = width

    def forward(self, values: Tensor) -> Tensor:
        """Take values of any shape to the same shape."""
        above = values - self.threshold
        return above.relu() + self.height * torch.sigmoid(self.width * above)


class Slopes(nn.Module):
    """A thermometer's encoding with slopes in place of steps: the k-th channel rises from 0 to 1 about k / levels.

    Example:
        >>> Slopes(levels=2)(torch.full((1, 1, 1, 1), 0.5)).flatten()
        tensor([0.5000, 0.0000])
    """

    def __init__(self, levels: int) -> None:
        """Set the number of channels for each."""
        super().__init__()
        self.levels = levels

    def forward(self, images: Tensor) -> Tensor:
        """Take (N, C, H, W) to (N, C * levels, H, W)."""
        bounds = torch.arange(1, self.levels + 1).to(images) / self.levels
        above = images[:, :, None] - bounds[:, None, None]
        return (self.levels / 2 * above + 0.5).clamp(0, 1).flatten(1, 2)


def with_parts(model: nn.Module, kind: type[nn.Module], make: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """Return a copy of a model in which ``make`` has replaced each part of a kind.

    Example:
        >>> with_parts(nn.Sequential(nn.ReLU()), nn.ReLU, lambda part: nn.Tanh())
        Sequential(
          (0): Tanh()
        )
    """
    changed = deepcopy(model)
    for name, part in list(changed.named_modules(remove_duplicate=False)):
        if isinstance(part, kind):
            changed.set_submodule(name, make(part))
    return changed
