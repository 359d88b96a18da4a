"""Label leaking: a model that is right more often under one step than without an attack reads the step."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from unmask.attacks import Attack, Trial
from unmask.attacks.trial import attacked, examined
from unmask.numerics import Batches, Model
from unmask.reports.record import Finding


@dataclass(frozen=True, kw_only=True)
class Leaking:
    """Symptom: accuracy under one step exceeds that without an attack by more than ``threshold``.

    A step along the gradient of the true label's loss carries the label, and training with such steps teaches to read
    it (Kurakin et al. 2017, section 4.3). It decides nothing by itself; what single steps hide, many show. Beside it
    stand what Vivek et al. (2019) compare: accuracy under one step from a random start and under many, the gap in loss
    ``mean L(x_many) - L(x_one)`` in nats, and the logit distance ``mean |z(x_one) - z(x_random)|_2`` over images.

    Attributes:
        clean: no attack; ``one``: a step; ``random``: a random start, then a step; ``many``: many steps.

    Example:
        >>> import torch
        >>> from unmask.attacks import FGSM, PGD, RFGSM
        >>> from unmask.auditing.probes.sweep import unchanged
        >>> kinds = {"one": FGSM, "random": RFGSM, "many": PGD}
        >>> trials = {name: Trial(attacks=[kind(epsilon=0.2)]) for name, kind in kinds.items()}
        >>> probe = Leaking(clean=Trial(attacks=[unchanged]), **trials)
        >>> probe(lambda x: x.flatten(1), torch.tensor([0.6, 0.4]).view(1, 1, 1, 2), torch.tensor([0])).value
        -1.0
    """

    clean: Trial
    one: Trial
    random: Trial
    many: Trial
    name: str = "label leaking"
    threshold: float = 0.01
    batches: Batches = field(default_factory=Batches)

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Finding:
        """Compare the four on the same images."""
        clean, one, start, many = (
            trial(model, images, labels) for trial in (self.clean, self.one, self.random, self.many)
        )
        shares = [100 * outcome.correct.double().mean().item() for outcome in (clean, one, start, many)]
        further = many.loss.double() - one.loss.double()
        (apart,) = self.batches(lambda x, y: self._apart(model, x, y), images, labels)
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
            intervention=f"many steps ({self.many.name})",
            control=f"one step ({self.one.name})",
            before=[],
            after=[],
            advice="The model reads the label from the step: judge it by attacks that it was not trained with.",
            evidence={"logit distance": apart.nan_to_num().tolist()},
        )

    def _apart(self, model: Model, images: Tensor, labels: Tensor) -> Tensor:
        """Euclidean distance between the logits of the two single steps' images, float64 (N,)."""
        step, start = (_logits(model, trial.attacks[0], images, labels) for trial in (self.one, self.random))
        apart: Tensor = (step - start).norm(dim=1)
        return apart


def mean_of(values: Tensor) -> float:
    """The mean of those that are finite, as where a model returns no number they are not; 0 if none is.

    Example:
        >>> import torch
        >>> mean_of(torch.tensor([1.0, float("nan"), 2.0]))
        1.5
    """
    finite = values[values.isfinite()]
    return finite.mean().item() if len(finite) else 0.0


def _logits(model: Model, attack: Attack, images: Tensor, labels: Tensor) -> Tensor:
    return examined(model, attacked(attack, model, images, labels)).double()
