"""Accuracy over epsilon, up to 1, where every image can be turned into any other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from unmask.attacks import Trial
from unmask.attacks.trial import predict
from unmask.auditing.ledger import Part
from unmask.numerics import Batches, Model
from unmask.reports.record import Curve, Finding


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Symptom: at epsilon 1 the control leaves more than ``threshold`` correct. Remedy: images of other classes.

    At epsilon 1 the true robust accuracy is 0 for any model that gives two of the images different classes, since
    each can be replaced by the other. The finding does not decide the verdict by itself: one step may well miss at
    epsilon 1 without masking.

    Attributes:
        control: the reference attack, at epsilon 1.
        clean: a trial of no attack at all, for the predictions on the images themselves.

    Example:
        >>> from unmask.attacks import FGSM
        >>> probe = Sweep(control=Trial(attacks=[FGSM(epsilon=1)]), clean=Trial(attacks=[unchanged]), threshold=0.5)
        >>> images = torch.tensor([[0.7, 0.3], [0.2, 0.8]]).view(2, 1, 1, 2)
        >>> probe(lambda x: x.flatten(1), images, torch.tensor([0, 1])).value
        0.0
    """

    control: Trial
    clean: Trial
    threshold: float
    name: str = "attack fails at epsilon 1"

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Finding:
        """Compare the control at epsilon 1 with the replacement of each image."""
        before = self.control(model, images, labels).correct
        predictions = self.clean(model, images, labels).predictions
        constant = bool((predictions == predictions[0]).all())
        after = (predictions == labels) & constant
        value = before.double().mean().item()
        return Finding(
            name=self.name,
            kind="symptom",
            value=value,
            threshold=self.threshold,
            fired=value > self.threshold,
            symptom="At epsilon 1, where any image may become any other, the reference attack leaves "
            f"{100 * value:.1f} % correct.",
            intervention="each image replaced by one of another class",
            control=f"the reference attack at epsilon 1 ({self.control.name})",
            before=before.tolist(),
            after=after.tolist(),
            advice="An attack that cannot fool a model without any bound on the change does not measure robustness.",
        )


@dataclass(frozen=True, kw_only=True)
class Rising:
    """Symptom: accuracy at twice epsilon exceeds that at epsilon by more than ``threshold``, on a sample.

    What lies in the smaller ball lies in the larger one too, so that an attack which does worse there has not used what
    it was given. It decides nothing by itself: one long step may overshoot without masking. ``value`` is the
    difference.

    Attributes:
        control: the reference attack; ``further``: the same at twice epsilon.
        some: takes images and labels to a sample of them.

    Example:
        >>> from unmask.attacks import FGSM
        >>> control, further = (Trial(attacks=[FGSM(epsilon=epsilon)]) for epsilon in (0.1, 0.2))
        >>> probe = Rising(control=control, further=further, some=lambda x, y: Part(torch.arange(1), x, y))
        >>> probe(lambda x: x.flatten(1), torch.tensor([0.7, 0.4]).view(1, 1, 1, 2), torch.tensor([0])).value
        -1.0
    """

    control: Trial
    further: Trial
    some: Callable[[Tensor, Tensor], Part]
    name: str = "more epsilon fools fewer"
    threshold: float = 0.1

    def __call__(self, model: Model, images: Tensor, labels: Tensor) -> Finding:
        """Compare the two on the sample."""
        part = self.some(images, labels)
        before = self.control(model, images, labels).correct[part.rows]
        after = self.further(model, part.images, part.labels).correct
        shares = [100 * held.double().mean().item() for held in (before, after)]
        value = (shares[1] - shares[0]) / 100
        return Finding(
            name=self.name,
            kind="symptom",
            value=value,
            threshold=self.threshold,
            fired=value > self.threshold,
            symptom=f"With twice epsilon the reference attack leaves {shares[1]:.1f} % of {len(part.rows)} images "
            f"correct, where it leaves {shares[0]:.1f} % with epsilon.",
            intervention="the images found at epsilon",
            control=f"the reference attack at twice epsilon ({self.further.name})",
            before=[],
            after=[],
            advice="What lies in the smaller ball lies in the larger one too: the attack does not find what is there.",
        )


def unchanged(model: Model, images: Tensor, labels: Tensor) -> Tensor:
    """The attack that does nothing: its trial gives the clean predictions."""
    return images


def accuracy_curve(
    name: str,
    attack: Any,
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    epsilons: Sequence[float],
    batches: Batches,
) -> Curve:
    """Accuracy under one attack at each epsilon; the attack is one of ``unmask.attacks``, or shaped like them.

    Raises:
        TypeError: the attack has no ``sweep``.
    """
    if not hasattr(attack, "sweep"):
        raise TypeError(f"attack: expected one with a sweep over epsilons, got {attack!r}")
    options = {one.name: getattr(attack, one.name) for one in fields(attack) if one.name != "epsilon"}

    def correct(x: Tensor, y: Tensor) -> Tensor:
        points: Iterator[Tensor] = type(attack).sweep(model, x, y, epsilons=epsilons, **options)
        if "alpha" in options and options["alpha"] is None:  # half of each epsilon, which one sweep holds fixed
            points = (replace(attack, epsilon=epsilon)(model, x, y) for epsilon in epsilons)
        return torch.stack([predict(model, point) == y for point in points], dim=1)

    (rows,) = batches(correct, images, labels)
    return Curve(name=name, x=list(epsilons), y=rows.double().mean(0).tolist())
