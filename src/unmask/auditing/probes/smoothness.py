"""A loss surface too rough for one step: a single step misses most of the errors that many small steps find."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unmask.attacks import Trial
from unmask.auditing.probes.probe import Repair
from unmask.numerics import Model
from unmask.reports.record import Finding
from unmask.statistics import paired_gain

FEWEST = 20
"""With fewer images that fall to many steps there is nothing to measure."""

MISSED = 0.25
"""A step that misses more of the rise than this has not gone where the loss rises."""


@dataclass(frozen=True, kw_only=True)
class Smoothness:
    """Symptom: one step finds few of the errors that many steps find, for want of direction.

    ``value`` is, among the images that fall to many steps, the share that withstand one step and on which the one step
    missed more than a quarter of the rise: ``1 - (L(x_one) - L(x)) / (L(x_many) - L(x)) > 0.25``, cut to [0, 1], with L
    the log-odds loss. Withstanding alone would count networks whose loss is near linear and whom many steps push just
    over the edge; missing alone, those that are robust and curved. Training with single steps that masks bends the
    loss until the step along the gradient leads nowhere (Vivek et al. 2019, figure 1, show it as a gap in loss).
    Remedy: one step from a random start if it wins, which takes no more gradients than the one step (Tramer et al.
    2018, section 3), else many small steps. Evidence per example: ``missed``, -1 where the one step succeeded.

    Attributes:
        clean: no attack; ``one``: the trial of one step; ``many`` must begin with the same step and go on with many.
        once: one step from a random start against the one step.
        repair: many steps against single steps, from as many starts: where training with single steps has gone wrong
            altogether, any other step succeeds, and these do not differ.

    Example:
        >>> from unmask.attacks import FGSM, PGD
        >>> one, many = Trial(attacks=[FGSM(epsilon=0.2)]), Trial(attacks=[FGSM(epsilon=0.2), PGD(epsilon=0.2)])
        >>> repair = Repair(does="many steps", against="one step again", control=one, remedy=many)
        >>> clean = Trial(attacks=[lambda model, images, labels: images])
        >>> probe = Smoothness(clean=clean, one=one, many=many, once=repair, repair=repair)
        >>> images = torch.tensor([0.9, 0.1]).repeat(20, 1).view(20, 1, 1, 2)
        >>> round(probe(lambda x: x.flatten(1), images, torch.zeros(20, dtype=torch.int64)).value, 6)
        0.0
    """

    clean: Trial
    one: Trial
    many: Trial
    once: Repair
    repair: Repair
    name: str = "non-smooth loss surface"
    threshold: float = 0.5

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Finding:
        """Measure the symptom on all images, and what the remedy gains."""
        clean, one, many = (trial(model, images, labels) for trial in (self.clean, self.one, self.many))
        start = clean.loss.double()
        share = (one.loss.double() - start) / (many.loss.double() - start).clamp_min(torch.finfo(torch.float32).tiny)
        share = share.nan_to_num(1.0).clamp(0, 1)  # NaN: the model returned no number to compare
        missed = torch.where(one.correct, 1 - share, -1.0)
        fallen = clean.correct & ~many.correct
        count, strayed = int(fallen.sum()), int((fallen & (missed > MISSED)).sum())
        value = strayed / count if count >= FEWEST else 0.0
        fired = value > self.threshold
        return Finding(
            name=self.name,
            kind="masking",
            value=value,
            threshold=self.threshold,
            fired=fired,
            symptom=f"Of {count} images that fall to many steps, {strayed} withstand one step, which missed more than "
            f"{100 * MISSED:.0f} % of the rise in the loss.",
            **self._repaired(fired, model, images, labels),
            advice="Do not trust single-step attacks on this model; report PGD with many small steps and restarts. If "
            "it was trained with FGSM, train with the logit-distance objective or with PGD instead.",
            evidence={"missed": missed.tolist()},
        )

    def _repaired(self, fired: bool, model: Model, images: Tensor, labels: Tensor) -> dict[str, Any]:
        other = self.once(fired, model, images, labels)
        if fired and paired_gain(other["before"], other["after"]).low > self.once.effect:
            return other
        return self.repair(fired, model, images, labels)
