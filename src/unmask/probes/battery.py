"""The battery: which probes an audit asks, in which order, and how it searches for the worst case afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from unmask.attacks import APGD, FGSM, OnModel, TargetedAPGD, Trial
from unmask.losses import cross_entropy, log_odds
from unmask.numerics import derive_seed
from unmask.probes.activations import Activations
from unmask.probes.blackbox import BlackBox
from unmask.probes.company import Company
from unmask.probes.kit import LOOK, Kit, changed, cost_of, has, loss_of, saturates
from unmask.probes.noise import Noise
from unmask.probes.precision import InFloat64, Precision
from unmask.probes.probe import Probe, Repair
from unmask.probes.queries import Queries
from unmask.probes.reference import Broken
from unmask.probes.saturation import Saturation
from unmask.probes.scale import LEAST, MODERATE, Rescaled, Scale, median_lead
from unmask.probes.smoothness import Smoothness
from unmask.probes.strength import Strength
from unmask.probes.sweep import Sweep
from unmask.probes.vanishing import Vanishing

NEED_GRADIENTS = (
    Saturation,
    Scale,
    Precision,
    Vanishing,
    Activations,
    Noise,
    Smoothness,
    BlackBox,
    Strength,
)
"""Probes that a model without gradients cannot be asked."""


class Battery:
    """The probes of one audit, in the order in which they are asked, and the search that follows.

    Attributes:
        probes: each is asked about all images.
        expected: the gradients per image that are foreseen; what a symptom calls for comes on top.
        not_run: what a model without gradients cannot be tried with, and why.
        skipped: what does not apply to this model, and why.

    Example:
        >>> from unmask.numerics import Batches
        >>> from unmask.probes.ledger import Ledger
        >>> ledger = Ledger(images=torch.zeros(1, 1, 1, 2), labels=torch.tensor([0]), batches=Batches())
        >>> kit = Kit(reference=FGSM(epsilon=0.1), model=nn.Flatten(), ledger=ledger, epsilon=0.1, seed=0, classes=2)
        >>> [probe.name for probe in Battery(kit).probes][:2]
        ['float32 saturation', 'logit scale']
    """

    def __init__(self, kit: Kit, *, gradients: bool = True) -> None:
        self.kit, self.gradients = kit, gradients
        self.not_run: dict[str, str] = {}
        self.skipped: dict[str, str] = {}
        self.probes: list[Probe] = []
        if gradients:
            self.probes = [*_about_the_loss(kit), *self._about_precision(), *_about_gradients(kit)]
        else:
            self.not_run = dict.fromkeys((kind.name for kind in NEED_GRADIENTS), "no gradients")
            self.probes = [Queries(control=kit.claimed, remedy=kit.search(1000))]
        self.probes += [*_about_the_model(kit), *_about_the_reference(kit)]
        self.expected = self._expected()

    def _about_precision(self) -> list[Probe]:
        kit = self.kit
        if not isinstance(kit.model, nn.Module) or kit.ledger.images.dtype != torch.float32:
            self.skipped[Precision.name] = "the model is no torch module in float32"
            return []
        try:
            exact = InFloat64(kit.model)
        except ValueError as error:
            self.skipped[Precision.name] = str(error)
            return []
        repair = Repair(
            does="the same steps on a float64 copy",
            against="the steps in float32",
            control=kit.many,
            remedy=kit.repeated(lambda model: exact, "in float64", factor=2),
        )
        return [Precision(exact=exact, repair=repair, batches=kit.ledger.batches)]

    def _expected(self) -> float:
        kit, effort = self.kit, self.kit.effort
        first = LOOK + cost_of(kit.reference)
        if not self.gradients:
            return first + 1000 * LOOK
        always = 3 * (1 + LOOK) + effort.steps + effort.draws * LOOK + effort.rivals * (1 + LOOK)
        return first + always + effort.search * (kit.classes + 1)

    def search(self) -> Iterator[Trial]:
        """Attacks for the worst case, one after another; each is for those still standing when its turn comes."""
        kit, effort = self.kit, self.kit.effort
        if not self.gradients:
            return
        if not effort.search:
            return
        seed = derive_seed(kit.seed, "worst case")
        auto = APGD(epsilon=kit.epsilon, steps=effort.search, seed=seed)
        yield kit.ledger.trial("Auto-PGD", effort.search + 2 * LOOK, auto)
        if kit.classes >= 4:
            targets = min(effort.rivals, kit.classes - 1)
            towards = TargetedAPGD(epsilon=kit.epsilon, steps=effort.search, targets=targets, seed=seed)
            yield kit.ledger.trial("Auto-PGD towards each rival", targets * (effort.search + LOOK), towards)


def _about_the_loss(kit: Kit) -> list[Probe]:
    """What the reference's own loss makes of the logits."""
    reference, batches = kit.reference, kit.ledger.batches
    if has(reference, "loss"):
        given, repaired = [reference], [changed(reference, loss=log_odds)]
    else:
        given = [reference, FGSM(epsilon=kit.epsilon, loss=cross_entropy)]
        repaired = [reference, FGSM(epsilon=kit.epsilon)]
    cost = cost_of(reference) + (1 + LOOK) * (len(given) - 1)
    lead = median_lead(kit.model, kit.ledger.images, kit.ledger.labels, batches)
    moderate = OnModel(attack=reference, prepare=partial(Rescaled, factor=MODERATE / max(lead, LEAST)))
    return [
        Saturation(
            name="float32 saturation" if kit.ledger.images.dtype == torch.float32 else "saturation",
            applies=saturates(loss_of(reference)),
            repair=Repair(
                does="the log-odds loss, which does not saturate",
                against="the attack as it is",
                control=kit.ledger.trial("reference, then one step, cross entropy", cost, *given),
                remedy=kit.ledger.trial("reference, then one step, log-odds", cost, *repaired),
            ),
            batches=batches,
        ),
        Scale(
            applies=saturates(loss_of(reference)) or loss_of(reference) is log_odds,
            repair=Repair(
                does="the same attack on logits of moderate size",
                against="the attack as it is",
                control=kit.claimed,
                remedy=kit.ledger.trial("reference, logits rescaled", cost_of(reference), moderate),
            ),
            batches=batches,
        ),
    ]


def _about_gradients(kit: Kit) -> list[Probe]:
    """Whether gradients are there, lead anywhere, and lead further than noise and queries do."""
    effort, batches = kit.effort, kit.ledger.batches
    smooth = Repair(
        does="many small steps",
        against="single steps with as many gradients",
        control=kit.singles,
        remedy=kit.many,
    )
    few = partial(kit.ledger.sample, effort.few, seed=derive_seed(kit.seed, "few"))
    return [
        Vanishing(attack=kit.many, repair=kit.blind, batches=batches),
        Activations(attack=kit.many, repair=kit.blind, batches=batches),
        Noise(noise=kit.noise, gradients=kit.many, clean=kit.clean, repair=kit.blind),
        Smoothness(one=kit.one, many=kit.many, repair=smooth, batches=batches),
        BlackBox(
            gradients=[kit.many, kit.rivals],
            queries=kit.search(effort.glance),
            some=few,
            repair=replace(kit.blind, effect=0.05),
        ),
        Strength(control=kit.one, remedy=kit.many),
    ]


def _about_the_model(kit: Kit) -> list[Probe]:
    """What does not depend on gradients."""
    return [Company(batches=kit.ledger.batches)]


def _about_the_reference(kit: Kit) -> list[Probe]:
    """Whether the reference attack does what an attack must do."""
    reference, batches = kit.reference, kit.ledger.batches

    def alone(name: str, **settings: float) -> Trial:
        return Trial(attacks=[changed(reference, **settings)], name=name, batches=batches)

    probes: list[Probe] = [
        Broken(
            reference=kit.claimed,
            repair_by=kit.one,
            epsilon=kit.epsilon,
            still=alone("reference at epsilon 0", epsilon=0.0) if has(reference, "epsilon") else None,
            single=alone("reference, one step", steps=1) if has(reference, "steps") else None,
            batches=batches,
        )
    ]
    if has(reference, "epsilon"):
        unbounded = alone("reference at epsilon 1", epsilon=1.0)
        probes.append(Sweep(control=unbounded, clean=kit.clean, threshold=0.1 + 1 / kit.classes))
    return probes
