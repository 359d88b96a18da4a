"""The reference attack at other epsilons: at 1, where any image may become any other, and at twice epsilon."""

from __future__ import annotations

from dataclasses import dataclass

from unmask.auditing.context import Context
from unmask.auditing.probes.probe import Probe
from unmask.reports.record import Finding


@dataclass(frozen=True, kw_only=True)
class UnboundedEpsilon(Probe):
    """Symptom: at epsilon 1 the reference attack leaves more than ``threshold`` above chance correct.

    At epsilon 1 the true robust accuracy is 0 for any model that gives two of the images different classes, since each
    can be replaced by the other: that is the remedy. The finding does not decide the verdict by itself: one step may
    well miss at epsilon 1 without masking. It needs a reference attack with an ``epsilon``.

    Example:
        >>> import torch
        >>> from unmask.auditing.context import prepare
        >>> images = torch.tensor([[0.7, 0.3], [0.2, 0.8]]).view(2, 1, 1, 2)
        >>> UnboundedEpsilon()(prepare(lambda x: x.flatten(1), images, torch.tensor([0, 1]), epsilon=0.1)).value
        0.0
    """

    name: str = "attack fails at epsilon 1"
    threshold: float = 0.1
    needs_gradients: bool = False

    def skip(self, context: Context) -> str | None:
        """Leave out reference attacks without an epsilon."""
        return None if "epsilon" in context.reference.settings else ""

    def __call__(self, context: Context) -> Finding:
        """Compare the reference attack at epsilon 1 with the replacement of each image."""
        control = context.trials.reference_with("reference at epsilon 1", epsilon=1.0)
        before = context.evaluator.run_unrecorded(control).correct
        predictions = context.evaluator.run(context.trials.clean).predictions
        constant = bool((predictions == predictions[0]).all())
        after = (predictions == context.evaluator.labels) & constant
        value, threshold = before.double().mean().item(), self.threshold + 1 / context.classes
        return Finding(
            name=self.name,
            kind="symptom",
            value=value,
            threshold=threshold,
            fired=value > threshold,
            symptom="At epsilon 1, where any image may become any other, the reference attack leaves "
            f"{100 * value:.1f} % correct.",
            remedy="each image replaced by one of another class",
            control=f"the reference attack at epsilon 1 ({control.name})",
            before=before.tolist(),
            after=after.tolist(),
            advice="An attack that cannot fool a model without any bound on the change does not measure robustness.",
        )


@dataclass(frozen=True, kw_only=True)
class RisingAccuracy(Probe):
    """Symptom: accuracy at twice epsilon exceeds that at epsilon by more than ``threshold``, on a sample.

    The smaller ball lies in the larger one, so that an attack which does worse there has not used what it was given. It
    decides nothing by itself: one long step may overshoot without masking. ``value`` is the difference. It needs a
    reference attack with an ``epsilon``.

    Example:
        >>> import torch
        >>> from unmask.auditing.context import prepare
        >>> images = torch.tensor([0.7, 0.4]).view(1, 1, 1, 2)
        >>> RisingAccuracy()(prepare(lambda x: x.flatten(1), images, torch.tensor([0]), epsilon=0.1)).value
        -1.0
    """

    name: str = "more epsilon fools fewer"
    threshold: float = 0.1
    needs_gradients: bool = False

    def skip(self, context: Context) -> str | None:
        """Leave out reference attacks without an epsilon."""
        return None if "epsilon" in context.reference.settings else ""

    def __call__(self, context: Context) -> Finding:
        """Compare the two on the sample."""
        rows, evaluator = context.few(), context.evaluator
        further = context.trials.reference_with("reference at twice epsilon", epsilon=min(2 * context.epsilon, 1.0))
        before = evaluator.run(context.trials.claimed).correct[rows]
        after = evaluator.run_unrecorded(further, rows).correct
        shares = [100 * held.double().mean().item() for held in (before, after)]
        value = (shares[1] - shares[0]) / 100
        return Finding(
            name=self.name,
            kind="symptom",
            value=value,
            threshold=self.threshold,
            fired=value > self.threshold,
            symptom=f"With twice epsilon the reference attack leaves {shares[1]:.1f} % of {len(rows)} images "
            f"correct, where it leaves {shares[0]:.1f} % with epsilon.",
            remedy="the images found at epsilon",
            control=f"the reference attack at twice epsilon ({further.name})",
            before=[],
            after=[],
            advice="The smaller ball lies in the larger one: the attack does not find what is there.",
        )
