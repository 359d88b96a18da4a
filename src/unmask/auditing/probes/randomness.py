"""Randomness: a model that answers differently each time hides its gradient behind one draw of many."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from unmask.attacks.trial import examined
from unmask.auditing.preflight import ROUNDING
from unmask.auditing.probes.probe import Repair
from unmask.numerics import Batches, Model
from unmask.reports.record import Finding


@dataclass(frozen=True, kw_only=True)
class Randomness:
    """Symptom: two passes over the same image differ. Remedy: gradients averaged over draws (Athalye et al. 2018).

    ``value`` is the share of images whose logits differ by more than rounding. Evidence per example: ``apart``, the
    largest difference of a logit; ``flipped``, whether the prediction changed.

    Example:
        >>> import torch
        >>> from unmask.attacks import FGSM, Trial
        >>> trial = Trial(attacks=[FGSM(epsilon=0.1)])
        >>> probe = Randomness(repair=Repair(does="average", against="one draw", control=trial, remedy=trial))
        >>> noisy = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Identity())
        >>> task = (torch.ones(1, 1, 1, 2), torch.tensor([0]))
        >>> probe(noisy, *task).value, probe(lambda x: noisy(x + torch.rand_like(x)), *task).value
        (0.0, 1.0)
    """

    repair: Repair
    name: str = "randomness"
    threshold: float = 0.01
    batches: Batches = field(default_factory=Batches)

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Finding:
        """Measure the symptom on all images, and what the remedy gains."""
        apart, differs, flipped = self.batches(lambda x, y: twice(model, x), images, labels)
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
            advice="Attack with gradients averaged over many draws, and evaluate over several draws or with the "
            "randomness fixed; one draw's gradient belongs to a network that no longer exists when it is used.",
            evidence={"apart": apart.double().tolist(), "flipped": flipped.tolist()},
            **self.repair(fired, model, images, labels),
        )


def twice(model: Model, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Two passes: the largest difference of a logit, whether it is more than rounding, whether the class differs.

    Example:
        >>> import torch
        >>> twice(lambda x: x.flatten(1), torch.ones(1, 1, 1, 2))
        (tensor([0.]), tensor([False]), tensor([False]))
    """
    first, second = (examined(model, images, seed=seed) for seed in (1, 2))
    apart = (first - second).abs().amax(1)
    return apart, apart > ROUNDING * first.abs().amax(1), first.argmax(1) != second.argmax(1)
