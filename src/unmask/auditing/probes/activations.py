"""Saturated activations: hidden units that are all in their flat part, so that no gradient passes their layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from unmask.attacks import Trial
from unmask.attacks.trial import examined
from unmask.auditing.probes.probe import Repair
from unmask.numerics import Batches, Model
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
class Activations:
    """Symptom: on images that withstand many steps, some layer has fewer than 1 % of its units outside their flat part.

    Looked at where the steps have ended; ``value`` is the share of all images. Training too long at a high rate leaves
    networks in which few units are ever active. Only activations that are modules are seen. Remedy: attacks that use no
    gradient. Evidence per example: ``active``, the smallest share of active units over the layers.

    Attributes:
        attack: many steps along the gradient; it must keep its images.

    Example:
        >>> from unmask.attacks import FGSM
        >>> step = Trial(attacks=[FGSM(epsilon=0.2)])
        >>> probe = Activations(attack=step, repair=Repair(does="", against="", control=step, remedy=step))
        >>> model = nn.Sequential(nn.Flatten(), nn.Threshold(2, 2), nn.ReLU())
        >>> probe(model, torch.ones(1, 1, 1, 2), torch.tensor([0])).fired
        False
    """

    attack: Trial
    repair: Repair
    name: str = "saturated activations"
    threshold: float = 0.02
    batches: Batches = field(default_factory=Batches)

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Finding:
        """Measure the symptom on all images, and what the remedy gains."""
        held = self.attack(model, images, labels)
        (active,) = self.batches(lambda x, y: least_active(model, x), held.images, labels)
        value = ((active < FEW) & held.correct).double().mean().item()
        fired = value > self.threshold
        return Finding(
            name=self.name,
            kind="masking",
            value=value,
            threshold=self.threshold,
            fired=fired,
            symptom=f"Where many steps end without success, on {100 * value:.1f} % of the images, some layer has fewer "
            f"than {100 * FEW:.0f} % of its units outside their flat part.",
            advice="Search with queries or by transfer, start from many random points, or let a leaky stand-in replace "
            "the activation in the backward pass. A lower learning rate keeps units alive.",
            evidence={"active": active.double().tolist()},
            **self.repair(fired, model, images, labels),
        )


def least_active(model: Model, images: Tensor) -> Tensor:
    """The smallest share, over the layers, of units outside the flat part of their activation, (N,); 1 without any.

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
        examined(model, images)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack([images.new_ones(len(images)), *shares]).amin(0)
