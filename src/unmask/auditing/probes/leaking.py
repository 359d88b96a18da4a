"""Label leaking: a model that is right more often under one step than without an attack reads the step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from unmask.attacks import Attack, attacked, logits_of
from unmask.auditing.context import Context
from unmask.auditing.probes.probe import Probe
from unmask.auditing.trial import Trial
from unmask.numerics import Model
from unmask.reports.record import Finding


@dataclass(frozen=True, kw_only=True)
class Leaking(Probe):
    """Symptom: accuracy under one step exceeds that without an attack by more than ``threshold``.

    A step along the gradient of the true label's loss carries the label, and training with such steps teaches to read
    it (Kurakin et al. 2017, section 4.3). It decides nothing by itself; what single steps hide, many show. Beside it
    stand what Vivek et al. (2019) compare: accuracy under one step from a random start and under many, the gap in loss
    ``mean L(x_many) - L(x_one)`` in nats, and the logit distance ``mean |z(x_one) - z(x_random)|_2`` over images.

    Example:
        >>> import torch
        >>> from unmask.auditing.context import prepare
        >>> images = torch.tensor([0.6, 0.4]).view(1, 1, 1, 2)
        >>> Leaking()(prepare(lambda x: x.flatten(1), images, torch.tensor([0]), epsilon=0.2)).value
        -1.0
    """

    name: str = "label leaking"
    threshold: float = 0.01

    def trials(self, context: Context) -> Sequence[Trial]:
        """Return no attack, one step from the image and from a random start, and many steps."""
        trials = context.trials
        return [trials.clean, trials.one, trials.started, trials.many]

    def __call__(self, context: Context) -> Finding:
        """Compare the four on the same images."""
        trials = context.trials
        clean, one, start, many = (context.evaluator.run(trial) for trial in self.trials(context))
        shares = [100 * outcome.correct.double().mean().item() for outcome in (clean, one, start, many)]
        further = many.loss.double() - one.loss.double()

        def distance_of(images: Tensor, labels: Tensor) -> Tensor:
            single = _logits(context.model, trials.one.attacks[0], images, labels)
            started = _logits(context.model, trials.started.attacks[0], images, labels)
            apart: Tensor = (single - started).norm(dim=1)
            return apart

        (apart,) = context.evaluator.measure(distance_of)
        gap, distance = (mean_of(one) for one in (further, apart))
        value = (shares[1] - shares[0]) / 100
        return Finding(
            name=self.name,
            kind="symptom",
            value=value,
            threshold=self.threshold,
            fired=value > self.threshold,
            symptom=f"Accuracy is {shares[0]:.1f} % without an attack, {shares[1]:.1f} % under one step, "
            f"{shares[2]:.1f} % under one from a random start and {shares[3]:.1f} % under many; from one step to many "
            f"the loss rises by {gap:.3g} nats more, and the two single steps' logits are {distance:.3g} apart "
            "(means).",
            remedy=f"many steps ({trials.many.name})",
            control=f"one step ({trials.one.name})",
            before=[],
            after=[],
            advice="The model reads the label from the step: judge it by attacks that it was not trained with.",
            values={"logit distance": apart.nan_to_num().tolist()},
        )


def mean_of(values: Tensor) -> float:
    """Return the mean of the finite values; 0 if there are none.

    Example:
        >>> import torch
        >>> mean_of(torch.tensor([1.0, float("nan"), 2.0]))
        1.5
    """
    finite = values[values.isfinite()]
    return finite.mean().item() if len(finite) else 0.0


def _logits(model: Model, attack: Attack, images: Tensor, labels: Tensor) -> Tensor:
    return logits_of(model, attacked(attack, model, images, labels)).double()
