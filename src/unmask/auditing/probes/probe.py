"""The shape that all probes have, and what they do where a symptom is present: a remedy against its control."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from unmask.attacks import Trial
from unmask.auditing.ledger import Part
from unmask.auditing.verdict import EFFECT
from unmask.numerics import Model
from unmask.reports.record import Finding
from unmask.statistics import paired_gain

COMPARISONS = 20
"""A remedy that was tried on a sample is settled there only if its interval, corrected for so many probes, says so."""


class Probe(Protocol):
    """A symptom, looked for on images, and its remedy, tried where the symptom is present.

    Example:
        >>> from unmask.auditing.probes import Company
        >>> probe: Probe = Company()
        >>> probe.name
        'dependence on the batch'
    """

    @property
    def name(self) -> str:
        """The suspected cause."""

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Finding:
        """Measure the symptom, and what the remedy gains."""


@dataclass(frozen=True, kw_only=True)
class Repair:
    """A remedy, and the unrepaired attack with the same budget of gradients and looks.

    Where both cost much they are tried on some of the images first, and on all where that leaves the matter open.

    Attributes:
        does: the remedy in words; ``against``: the control in words.
        some: takes images and labels to a sample of them; None means all at once.
        claimed: what a sample has to beat as well, for it to settle anything: the verdict asks for that of all images.
        effect: the share of images that the remedy must win to matter.

    Example:
        >>> from unmask.attacks import FGSM
        >>> import torch
        >>> trial = Trial(attacks=[FGSM(epsilon=0.5)])
        >>> repair = Repair(does="nothing", against="nothing", control=trial, remedy=trial)
        >>> task = (lambda x: x.flatten(1), torch.tensor([0.6, 0.4]).view(1, 1, 1, 2), torch.tensor([0]))
        >>> repair(True, *task)["after"], repair(False, *task)["after"]
        ([False], [])
    """

    does: str
    against: str
    control: Trial
    remedy: Trial
    some: Callable[[Tensor, Tensor], Part] | None = None
    claimed: Trial | None = None
    effect: float = EFFECT

    def __call__(self, fired: bool, model: Model, images: Tensor, labels: Tensor) -> dict[str, Any]:
        """The part of a finding that is about the remedy; where no symptom is present nothing is run."""
        before: list[bool] = []
        after: list[bool] = []
        rows: list[int] = []
        if fired and self.some is not None:
            part = self.some(images, labels)
            before, after = self._compare(model, part.images, part.labels)
            rows = part.rows.tolist() if self._settled(model, part, before, after) else []
        if fired and not rows:
            before, after = self._compare(model, images, labels)
        return {
            "intervention": f"{self.does} ({self.remedy.name})",
            "control": f"{self.against} ({self.control.name})",
            "before": before,
            "after": after,
            "rows": rows if len(rows) < len(images) else [],
            "effect": self.effect,
        }

    def _compare(self, model: Model, images: Tensor, labels: Tensor) -> tuple[list[bool], list[bool]]:
        control, remedy = (trial(model, images, labels).correct.tolist() for trial in (self.control, self.remedy))
        return control, remedy

    def _settled(self, model: Model, part: Part, before: list[bool], after: list[bool]) -> bool:
        """Whether the lesser of the gains, over the control and over the claim, is told apart from the effect."""
        over = [before]
        if self.claimed is not None:
            over.append(self.claimed(model, part.images, part.labels).correct.tolist())
        gains = (paired_gain(held, after, comparisons=COMPARISONS) for held in over)
        least = min(gains, key=lambda gain: gain.low)
        return not least.low <= self.effect < least.high
