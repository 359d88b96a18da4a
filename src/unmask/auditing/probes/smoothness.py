"""A loss surface too rough for one step: a single step misses most of the errors that many small steps find."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from unmask.auditing.context import Context
from unmask.auditing.probes.probe import Probe
from unmask.auditing.repair import Repair
from unmask.auditing.trial import Trial
from unmask.reports.record import Finding
from unmask.statistics import paired_gain

FEWEST = 20
"""With fewer images that fall to many steps there is nothing to measure."""

MISSED = 0.25
"""A step that misses more of the rise than this has not gone where the loss rises."""

COLLAPSE = 0.12
"""What many steps must win over as many single ones: less is won on networks that are robust, and only curved."""


@dataclass(frozen=True, kw_only=True)
class Smoothness(Probe):
    """Symptom: one step finds few of the errors that many steps find, for want of direction.

    ``value`` is, among the images that fall to many steps, the share that withstand one step and on which the one step
    missed more than a quarter of the rise: ``1 - (L(x_one) - L(x)) / (L(x_many) - L(x)) > 0.25``, cut to [0, 1], with L
    the log-odds loss. Withstanding alone would count networks whose loss is near linear and whom many steps push just
    over the edge; missing alone, those that are robust and curved. Training with single steps that masks bends the
    loss until the step along the gradient leads nowhere (Vivek et al. 2019, figure 1, show it as a gap in loss).

    Remedy: one step from a random start if it wins, which takes no more gradients than the one step (Tramer et al.
    2018, section 3), else many small steps, against single steps from as many starts. Values per example: ``missed``,
    -1 where the one step succeeded.

    Example:
        >>> from unmask.auditing.context import prepare
        >>> images = torch.tensor([0.9, 0.1]).repeat(20, 1).view(20, 1, 1, 2)
        >>> labels = torch.zeros(20, dtype=torch.int64)
        >>> round(Smoothness()(prepare(lambda x: x.flatten(1), images, labels, epsilon=0.2)).value, 6)
        0.0
    """

    name: str = "non-smooth loss surface"
    threshold: float = 0.5

    def trials(self, context: Context) -> Sequence[Trial]:
        """Return one step, and the many that begin with it."""
        return [context.trials.clean, context.trials.one, context.trials.many]

    def __call__(self, context: Context) -> Finding:
        """Measure the symptom on all images, and what the remedy gains."""
        run, evaluator = context.evaluator.run, context.evaluator
        clean, one, many = (run(trial) for trial in self.trials(context))
        start = clean.loss.double()
        share = (one.loss.double() - start) / (many.loss.double() - start).clamp_min(torch.finfo(torch.float32).tiny)
        share = share.nan_to_num(1.0).clamp(0, 1)  # NaN: the model returned no number to compare
        missed = torch.where(one.correct, 1 - share, -1.0)
        fallen = clean.correct & ~many.correct
        count, strayed = int(fallen.sum()), int((fallen & (missed > MISSED)).sum())
        value = strayed / count if count >= FEWEST else 0.0
        fired = value > self.threshold
        tried = _once(context)(fired, evaluator)
        if not (fired and paired_gain(tried["before"], tried["after"]).low > COLLAPSE):
            tried = _many(context)(fired, evaluator)
        return Finding(
            name=self.name,
            kind="masking",
            value=value,
            threshold=self.threshold,
            fired=fired,
            symptom=f"Of {count} images that fall to many steps, {strayed} withstand one step, which missed more than "
            f"{100 * MISSED:.0f} % of the rise in the loss.",
            advice="Do not trust single-step attacks on this model; report PGD with many small steps and restarts. If "
            "it was trained with FGSM, train with the logit-distance objective or with PGD instead.",
            values={"missed": missed.tolist()},
            **tried,
        )


def _once(context: Context) -> Repair:
    """One step from a random start against the one step."""
    return Repair(
        does="one step from a random start",
        against="one step from the image",
        control=context.trials.one,
        remedy=context.trials.started,
        effect=COLLAPSE,
    )


def _many(context: Context) -> Repair:
    """Many steps against as many single ones: where single-step training has gone wrong altogether, these are alike."""
    return Repair(
        does="many small steps",
        against="single steps with as many gradients",
        control=context.trials.singles,
        remedy=context.trials.many,
        sample=context.sample(context.effort.sample, "sample"),
        claimed=context.trials.claimed,
        effect=COLLAPSE,
    )
