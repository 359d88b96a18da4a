"""Randomness: a model that answers differently each time hides its gradient behind one draw of many."""

from __future__ import annotations

from dataclasses import dataclass

from unmask.auditing.context import Context
from unmask.auditing.probes.probe import Probe
from unmask.auditing.proxies import two_passes
from unmask.reports.record import Finding


@dataclass(frozen=True, kw_only=True)
class Randomness(Probe):
    """Symptom: two passes over the same image differ. Remedy: EOT, gradients averaged over draws (Athalye et al. 2018).

    ``value`` is the share of images whose logits differ by more than rounding. Values per example: ``apart``, the
    largest difference of a logit; ``flipped``, 1 where the prediction changed.

    Example:
        >>> import torch
        >>> from unmask.auditing.context import prepare
        >>> task = (torch.ones(1, 1, 1, 2), torch.tensor([0]))
        >>> context = prepare(lambda x: (x + torch.rand_like(x)).flatten(1), *task, epsilon=0.1)
        >>> _ = context.evaluator.run(context.trials.clean)
        >>> Randomness()(context).value
        1.0
    """

    name: str = "randomness"
    threshold: float = 0.01

    def __call__(self, context: Context) -> Finding:
        """Measure the symptom on all images, and what the remedy gains."""
        apart, differs, flipped = context.evaluator.measure(lambda x, y: two_passes(context.model, x))
        value = differs.double().mean().item()
        fired = value > self.threshold
        return Finding(
            name=self.name,
            kind="masking",
            value=value,
            threshold=self.threshold,
            fired=fired,
            symptom=f"Asked twice about the same image, the model gives other logits on {100 * value:.1f} % of the "
            f"images, and another class on {100 * flipped.double().mean():.1f} %.",
            advice="Attack with gradients averaged over many draws (EOT), and evaluate over several draws or with the "
            "randomness fixed; one draw's gradient belongs to a network that no longer exists when it is used.",
            values={"apart": apart.double().tolist(), "flipped": flipped.tolist()},
            **context.eot_against_draws()(fired, context.evaluator),
        )
