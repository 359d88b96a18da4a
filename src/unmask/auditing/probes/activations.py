"""Saturated activations: hidden units that are all in their flat part, so that no gradient passes their layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unmask.attacks import logits_of
from unmask.auditing.context import Context
from unmask.auditing.probes.probe import Probe
from unmask.auditing.trial import Trial
from unmask.numerics import Model
from unmask.reports.record import Finding

FEW = 0.01
"""A layer with a smaller share of units outside their flat part lets hardly any gradient through."""

FLAT: dict[type[nn.Module], Callable[[Tensor], Tensor]] = {
    nn.ReLU: lambda out: out <= 0,
    nn.ReLU6: lambda out: (out <= 0) | (out >= 6),
    nn.Hardtanh: lambda out: out.abs() >= 1,
    nn.Sigmoid: lambda out: (out - 0.5).abs() >= 0.5 - 1e-6,
    nn.Tanh: lambda out: out.abs() >= 1 - 1e-6,
}
"""Where the derivative of an activation is 0, or as good as that, by its output."""


@dataclass(frozen=True, kw_only=True)
class Activations(Probe):
    """Symptom: on images that withstand many steps, some layer has fewer than 1 % of its units outside their flat part.

    Measured where the steps have ended; ``value`` is the share of all images. Training too long at a high rate leaves
    networks in which few units are ever active. Only activations that are modules are seen. Remedy: attacks that use no
    gradient. Values per example: ``active``, the smallest share of active units over the layers.

    Example:
        >>> from unmask.auditing.context import prepare
        >>> model = nn.Sequential(nn.Flatten(), nn.Threshold(2, 2), nn.ReLU())
        >>> Activations()(prepare(model, torch.ones(1, 1, 1, 2), torch.tensor([0]), epsilon=0.2)).fired
        False
    """

    name: str = "saturated activations"
    threshold: float = 0.02
    calls_for_queries: bool = True

    def trials(self, context: Context) -> Sequence[Trial]:
        """Return many steps, whose end points are looked at."""
        return [context.trials.many]

    def __call__(self, context: Context) -> Finding:
        """Measure the symptom on all images, and what the remedy gains."""
        end = context.evaluator.run(context.trials.many)
        (active,) = context.evaluator.measure(lambda x, y: least_active(context.model, x), images=end.images)
        value = ((active < FEW) & end.correct).double().mean().item()
        fired = value > self.threshold
        return Finding(
            name=self.name,
            kind="masking",
            value=value,
            threshold=self.threshold,
            fired=fired,
            symptom=f"Where many steps end without success, on {100 * value:.1f} % of the images, some layer has fewer "
            f"than {100 * FEW:.0f} % of its units outside their flat part.",
            advice="Search with queries or by transfer, start from many random points, or let a leaky activation take "
            "its place in the backward pass (BPDA). A lower learning rate keeps units alive.",
            values={"active": active.double().tolist()},
            **context.queries_against_gradients()(fired, context.evaluator),
        )


def least_active(model: Model, images: Tensor) -> Tensor:
    """Return the smallest share, over the layers, of units outside the flat part of their activation, (N,).

    It is 1 for a model without such layers.

    Example:
        >>> least_active(nn.Sequential(nn.Flatten(), nn.ReLU()), torch.tensor([0.0, 0.0, 0.0, 1.0]).view(1, 1, 2, 2))
        tensor([0.2500])
    """
    shares: list[Tensor] = []

    def look(layer: nn.Module, _: tuple[Tensor, ...], out: Tensor) -> None:
        flat = FLAT[type(layer)](out.detach()).flatten(1)
        if len(flat) == len(images):
            shares.append(1 - flat.to(images.dtype).mean(1))

    parts = [part for part in model.modules() if type(part) in FLAT] if isinstance(model, nn.Module) else []
    hooks = [part.register_forward_hook(look) for part in parts]
    try:
        logits_of(model, images)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack([images.new_ones(len(images)), *shares]).amin(0)
