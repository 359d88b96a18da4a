"""Proxies of the audited model for attacks: in float64, with a backward pass where there is none, on another scale."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unmask.attacks import bpda, logits_of
from unmask.auditing.evaluator import Evaluator
from unmask.auditing.preflight import ROUNDING
from unmask.gradients import Detached, input_gradient
from unmask.numerics import Model, undisturbed

LEAST = 1e-30
"""A median lead below it is none."""

KEPT = "custom backward, kept"
"""The name that the BPDA model gives an autograd function that it left as it is."""


class InFloat64(nn.Module):
    """A copy of a model that computes in float64, whatever the images' dtype; logits are float64.

    Raises:
        ValueError: the model cannot be copied.

    Example:
        >>> InFloat64(nn.Flatten())(torch.ones(1, 1, 1, 2)).dtype
        torch.float64
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        try:
            self.model = copy.deepcopy(model).double()
        except Exception as error:  # what a user's model holds may refuse to be copied in any way
            raise ValueError(f"model: expected one that can be copied, got {type(error).__name__}: {error}") from error

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, K), float64."""
        logits: Tensor = self.model(images.double())
        return logits


class Rescaled:
    """A model whose logits are multiplied by a factor; a function of images, no module.

    Example:
        >>> Rescaled(lambda x: x.flatten(1), 4.0)(torch.tensor([[[[0.25, 0.5]]]]))
        tensor([[1., 2.]])
    """

    def __init__(self, model: Model, factor: float) -> None:
        self.model, self.factor = model, factor

    def __call__(self, images: Tensor) -> Tensor:
        """Return logits (N, K)."""
        return self.factor * self.model(images)


def float64_proxy(model: Model, evaluator: Evaluator, rows: Tensor) -> InFloat64:
    """Return a float64 copy of a model that was tried on the images in ``rows``.

    Raises:
        ValueError: there is none: the model is no module, is not float32, answers at random, or cannot be copied or
            run so.

    Example:
        >>> from unmask.threats import Linf
        >>> image, label = torch.rand(1, 1, 2, 2), torch.tensor([0])
        >>> evaluator = Evaluator(model=nn.Flatten(), images=image, labels=label, threat=Linf(0.1))
        >>> float64_proxy(nn.Flatten(), evaluator, torch.tensor([0]))(image).dtype
        torch.float64
        >>> float64_proxy(lambda x: x.flatten(1), evaluator, torch.tensor([0]))
        Traceback (most recent call last):
        ...
        ValueError: the model is no torch module in float32
    """
    if not isinstance(model, nn.Module) or evaluator.images.dtype != torch.float32:
        raise ValueError("the model is no torch module in float32")
    exact = InFloat64(model)

    def measure(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return two_passes(model, x)[1], logits_of(exact, x).isinf().any(1)

    try:
        differs, infinite = evaluator.measure(measure, rows)
    except Exception as error:  # a user's model may raise anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"a float64 copy of the model fails: {reason}") from error
    if bool(infinite.any()):
        raise ValueError("a float64 copy of the model returns infinite logits")
    if bool(differs.any()):
        raise ValueError("the model answers at random, so that a copy's gradient differs by chance")
    return exact


def bpda_proxy(model: Model, evaluator: Evaluator, rows: Tensor) -> tuple[Model, Sequence[str]]:
    """Return the BPDA model, tried on the images in ``rows``, and the operations it replaces, by torch's names.

    Raises:
        ValueError: it fails on this model.

    Example:
        >>> from unmask.threats import Linf
        >>> image, label, model = torch.ones(1, 1, 1, 2), torch.tensor([0]), lambda x: x.flatten(1).round()
        >>> evaluator = Evaluator(model=model, images=image, labels=label, threat=Linf(0.1))
        >>> bpda_proxy(model, evaluator, torch.tensor([0]))[1]
        ['round']
    """
    proxy = bpda(model.model if isinstance(model, Detached) else model)

    def measure(x: Tensor, y: Tensor) -> Tensor:
        with undisturbed(model):
            return input_gradient(proxy, x, y).gradient

    try:
        evaluator.measure(measure, rows)
    except Exception as error:  # it runs the model's own code in a way that nobody foresaw
        reason = (str(error).splitlines() or [""])[0]
        raise ValueError(f"the BPDA model fails: {type(error).__name__}: {reason}") from error
    return proxy, [name for name in proxy.replaced if name != KEPT]


def two_passes(model: Model, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return, of two passes, the largest difference of a logit, whether it is more than rounding, and class changes.

    Example:
        >>> two_passes(lambda x: x.flatten(1), torch.ones(1, 1, 1, 2))
        (tensor([0.]), tensor([False]), tensor([False]))
    """
    first, second = logits_of(model, images, seed=1), logits_of(model, images, seed=2)
    apart = (first - second).abs().amax(1)
    return apart, apart > ROUNDING * first.abs().amax(1), first.argmax(1) != second.argmax(1)


def median_lead(model: Model, evaluator: Evaluator) -> float:
    """Return the median over images of the highest logit minus the next, in nats.

    Example:
        >>> from unmask.threats import Linf
        >>> images, model = torch.tensor([0.75, 0.25]).view(1, 1, 1, 2), lambda x: x.flatten(1)
        >>> median_lead(model, Evaluator(model=model, images=images, labels=torch.tensor([0]), threat=Linf(0.1)))
        0.5
    """

    def lead(x: Tensor, y: Tensor) -> Tensor:
        first, second = logits_of(model, x).topk(2, dim=1).values.unbind(1)
        return first - second

    (leads,) = evaluator.measure(lead)
    return leads.double().median().item()
