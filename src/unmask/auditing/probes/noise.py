"""Random signs against the gradient's signs: if noise fools as many, gradients say nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unmask.auditing.context import Context
from unmask.auditing.probes.probe import Probe
from unmask.auditing.trial import Trial
from unmask.reports.record import Finding

FEWEST = 20
"""With fewer images fooled by noise, chance could make it look as good as gradients."""

CLEARED = 0.05
"""Where the accuracy under gradients is below this, they need no defence against noise."""


@dataclass(frozen=True, kw_only=True)
class Noise(Probe):
    """Symptom: random sign noise fools at least ``threshold`` times as many images as gradients do.

    It takes ``FEWEST`` images fooled by noise to tell. Remedy: attacks that use no gradient; the control has as many
    looks at the model. ``value`` is the number fooled by noise over the number fooled by many steps, of the images that
    are right without an attack; 0 where noise fools none.

    Example:
        >>> import torch
        >>> from unmask.auditing.context import prepare
        >>> images = torch.tensor([0.6, 0.4]).repeat(64, 1).view(64, 1, 1, 2)
        >>> labels = torch.zeros(64, dtype=torch.int64)
        >>> Noise()(prepare(torch.nn.Flatten(), images, labels, epsilon=0.2)).fired
        False
    """

    name: str = "gradients no better than noise"
    threshold: float = 0.8
    calls_for_queries: bool = True

    def trials(self, context: Context) -> Sequence[Trial]:
        """Return noise, and what it is compared with."""
        return [context.trials.clean, context.trials.noise, context.trials.many]

    def __call__(self, context: Context) -> Finding:
        """Compare how many images noise and gradients fool, and measure what the remedy gains."""
        trials, run = context.trials, context.evaluator.run
        right, noise, held = (run(trial).correct for trial in (trials.clean, trials.noise, trials.many))
        by_noise, by_gradient = int((right & ~noise).sum()), int((right & ~held).sum())
        value = by_noise / max(by_gradient, 1)
        fired = value >= self.threshold and by_noise >= FEWEST and not held.double().mean() < CLEARED
        return Finding(
            name=self.name,
            kind="masking",
            value=value,
            threshold=self.threshold,
            fired=fired,
            symptom=f"Of {int(right.sum())} images that are classified correctly, {trials.noise.name} fool {by_noise}, "
            f"and gradients ({trials.many.name}) {by_gradient}.",
            advice="The gradients do not point towards errors: look for layers whose backward pass does not match "
            "their forward pass, and attack with queries or by transfer.",
            **context.queries_against_gradients()(fired, context.evaluator),
        )
