"""Another attack against the model's gradients: queries, transfer from a twin, or the user's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.attacks import Trial
from unmask.auditing.ledger import Part
from unmask.auditing.probes.probe import Repair
from unmask.numerics import Model
from unmask.reports.record import Finding


@dataclass(frozen=True, kw_only=True)
class BlackBox:
    """Symptom: of the images that withstand gradients, more than ``threshold`` fall to an attack of another kind.

    By default that is a short search by queries. It is measured on a sample; ``value`` is the share that falls. Remedy:
    a longer search; the control is the gradient attack with as many looks, from many starts. A search is another
    attack, not a repaired one, and finds some images that gradients miss on honest networks too; so the remedy must win
    ``repair.effect``, more than other remedies.

    Attributes:
        gradients: attacks along the gradient; ``other``: the short search.
        what: the other attack in words; ``advice``: what to do if it wins.
        some: takes the numbers of examples to a sample of them.
        repair: takes those that were asked about, or nothing if no symptom is present, to the remedy and its control.

    Example:
        >>> from unmask.attacks import FGSM, Square
        >>> step, search = Trial(attacks=[FGSM(epsilon=0.2)]), Trial(attacks=[Square(epsilon=0.2, queries=10)])
        >>> images, labels = torch.tensor([0.6, 0.4]).view(1, 1, 1, 2), torch.tensor([0])
        >>> probe = BlackBox(
        ...     gradients=[step],
        ...     other=search,
        ...     some=lambda rows: Part(rows, images, labels),
        ...     repair=lambda part: Repair(does="search", against="a step", control=step, remedy=search),
        ... )
        >>> probe(lambda x: x.flatten(1), images, labels).fired
        False
    """

    gradients: Sequence[Trial]
    other: Trial
    some: Callable[[Tensor], Part]
    repair: Callable[[Part | None], Repair]
    name: str = "queries beat gradients"
    what: str = "which use no gradient"
    advice: str = (
        "Something makes the gradients useless that no other check names: report the search's figure, and look for "
        "code whose backward pass does not match its forward pass."
    )
    threshold: float = 0.1

    FEWEST = 20
    """With fewer images left standing by gradients there is nothing to measure."""

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Finding:
        """Measure the symptom on a sample, and what the remedy gains."""
        held = [trial(model, images, labels).correct for trial in self.gradients]
        standing = torch.stack(held).all(0).nonzero().flatten()
        value, part = 0.0, self.some(standing)
        if len(part.rows):
            value = (~self.other(model, part.images, part.labels).correct).double().mean().item()
        fired = value > self.threshold and len(standing) >= self.FEWEST
        return Finding(
            name=self.name,
            kind="masking",
            value=value,
            threshold=self.threshold,
            fired=fired,
            symptom=f"Of {len(part.rows)} images that withstand {' and '.join(one.name for one in self.gradients)}, "
            f"{100 * value:.1f} % fall to {self.other.name}, {self.what}.",
            advice=self.advice,
            **self.repair(part if fired else None)(fired, model, images, labels),
        )
