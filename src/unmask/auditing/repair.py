"""A remedy against its control: what a probe runs where its symptom is present."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from unmask.auditing.evaluator import Evaluator
from unmask.auditing.trial import Trial
from unmask.auditing.verdict import EFFECT
from unmask.statistics import paired_gain

COMPARISONS = 20
"""A remedy that was tried on a sample is settled there only if its interval, corrected for so many probes, says so."""


@dataclass(frozen=True, kw_only=True)
class Repair:
    """A remedy, and the unrepaired attack with the same budget of gradients and queries.

    Where both cost much they are tried on a sample first, and on all images where that leaves the matter open.

    Attributes:
        does: the remedy in words; ``against``: the control in words.
        sample: the rows to try first; None means all at once.
        claimed: the trial that a sample has to beat as well, for it to settle anything: the verdict asks for that of
            all images.
        effect: the share of images that the remedy must win to matter.

    Example:
        >>> import torch
        >>> from unmask.attacks import FGSM
        >>> from unmask.threats import Linf
        >>> images, labels = torch.tensor([0.6, 0.4]).view(1, 1, 1, 2), torch.tensor([0])
        >>> evaluator = Evaluator(model=lambda x: x.flatten(1), images=images, labels=labels, threat=Linf(0.5))
        >>> trial = evaluator.trial("a step", FGSM(0.5))
        >>> repair = Repair(does="nothing", against="nothing", control=trial, remedy=trial)
        >>> repair(True, evaluator)["after"], repair(False, evaluator)["after"]
        ([False], [])
    """

    does: str
    against: str
    control: Trial
    remedy: Trial
    sample: Tensor | None = None
    claimed: Trial | None = None
    effect: float = EFFECT

    def __call__(self, fired: bool, evaluator: Evaluator) -> dict[str, Any]:
        """Return the part of a finding that is about the remedy; where no symptom is present nothing is run."""
        before: list[bool] = []
        after: list[bool] = []
        tried: list[int] = []
        for rows in self._stages() if fired else ():
            before = evaluator.run(self.control, rows).correct.tolist()
            after = evaluator.run(self.remedy, rows).correct.tolist()
            if rows is not None and self._settled(evaluator, rows, before, after):
                tried = rows.tolist()
                break
        return {
            "remedy": f"{self.does} ({self.remedy.name})",
            "control": f"{self.against} ({self.control.name})",
            "before": before,
            "after": after,
            "rows": tried if len(tried) < len(evaluator.images) else [],
            "effect": self.effect,
        }

    def _stages(self) -> list[Tensor | None]:
        """The sample, then all images."""
        return [None] if self.sample is None else [self.sample, None]

    def _settled(self, evaluator: Evaluator, rows: Tensor, before: list[bool], after: list[bool]) -> bool:
        """Return whether the lesser of the gains, over control and claim, is told apart from the effect."""
        over = [before]
        if self.claimed is not None:
            over.append(evaluator.run(self.claimed, rows).correct.tolist())
        gains = (paired_gain(held, after, comparisons=COMPARISONS) for held in over)
        least = min(gains, key=lambda gain: gain.low)
        return not least.low <= self.effect < least.high
