"""The battery: which probes an audit asks, in which order, and how it searches for the worst case afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch

from unmask.attacks import FGSM, Through, Trial
from unmask.auditing.curves import cost_of_curves
from unmask.auditing.kit import CLOSEST, ELSE, Kit
from unmask.auditing.ledger import Part
from unmask.auditing.probes.activations import Activations
from unmask.auditing.probes.blackbox import BlackBox
from unmask.auditing.probes.company import Company
from unmask.auditing.probes.finite import FiniteDifferences
from unmask.auditing.probes.leaking import Leaking
from unmask.auditing.probes.noise import Noise
from unmask.auditing.probes.operations import OPERATIONS, operations, with_backward
from unmask.auditing.probes.precision import PRECISION, in_float64, precision
from unmask.auditing.probes.probabilities import Probabilities
from unmask.auditing.probes.probe import Probe, Repair
from unmask.auditing.probes.randomness import Randomness
from unmask.auditing.probes.reference import Broken
from unmask.auditing.probes.saturation import Saturation
from unmask.auditing.probes.scale import MODERATE, Scale
from unmask.auditing.probes.smoothness import Smoothness
from unmask.auditing.probes.strength import Strength, queries
from unmask.auditing.probes.sweep import Rising, Sweep
from unmask.auditing.probes.vanishing import Vanishing
from unmask.auditing.search import AGAIN, AIMED, SHARPER, STARTS, Stage, search
from unmask.auditing.settings import LOOK, changed, cost_of, has, loss_of, ours, saturates, spent, variant
from unmask.auditing.verdict import EFFECT
from unmask.losses import cross_entropy, log_odds
from unmask.numerics import Model, derive_seed
from unmask.reports.record import Finding

NEED_GRADIENTS = (
    Saturation.name,
    Scale.name,
    PRECISION,
    OPERATIONS,
    Vanishing.name,
    Activations.name,
    FiniteDifferences.name,
    Noise.name,
    Randomness.name,
    Smoothness.name,
    BlackBox.name,
    Strength.name,
    Leaking.name,
)
"""Probes that a model without gradients cannot be asked."""

COLLAPSE = 0.12
"""What many steps must win over as many single ones: less is won on networks that are robust, and only curved."""

SCORES = 1000
"""Looks of the search at a model that gives no gradients."""

SOME = 64
"""So many images show what a model does on its way, and whether a stand-in for it works."""


class Battery:
    """The probes of one audit, in the order in which they are asked, and the search that follows.

    Attributes:
        probes: each is asked about all images.
        expected: the gradients per image that are foreseen; what a symptom calls for comes on top.
        not_run: what a model without gradients cannot be tried with, and why.
        skipped: what does not apply to this model, and why.

    Example:
        >>> from unmask.numerics import Batches
        >>> from unmask.auditing.ledger import Ledger
        >>> ledger = Ledger(images=torch.zeros(1, 1, 1, 2), labels=torch.tensor([0]), batches=Batches())
        >>> task = {"model": (model := torch.nn.Flatten()), "given": model, "ledger": ledger, "classes": 2}
        >>> [probe.name for probe in Battery(Kit(reference=FGSM(epsilon=0.1), epsilon=0.1, seed=0, **task)).probes][:2]
        ['outputs are probabilities', 'float32 saturation']
    """

    def __init__(self, kit: Kit, *, gradients: bool = True) -> None:
        self.kit, self.gradients = kit, gradients
        self.not_run: dict[str, str] = {}
        self.skipped: dict[str, str] = {}
        self.stand_ins: dict[str, Model] = {}
        self.probes: list[Probe] = []
        sound = kit.one if gradients else kit.search(SCORES)
        if gradients:
            self.probes = [*_about_the_loss(kit), *self._about_stand_ins(), *_about_gradients(kit)]
        else:
            self.not_run = dict.fromkeys(NEED_GRADIENTS, "no gradients")
            self.skipped[Probabilities.name] = "scores serve a search as well"
            self.probes = [queries(control=kit.claimed, remedy=sound)]
        self.probes += [*_about_other_attacks(kit, gradients), *_about_the_model(kit)]
        self.probes += _about_the_reference(kit, sound)
        self.expected = self._expected()

    def _about_stand_ins(self) -> list[Probe]:
        """Whether a float64 copy, or a stand-in for operations without a derivative, has another gradient."""
        kit, batches = self.kit, self.kit.ledger.batches
        probes: list[Probe] = []
        part = kit.ledger.sample(SOME, seed=derive_seed(kit.seed, "stand-ins"))
        some = (part.images, part.labels)
        try:
            exact = in_float64(kit.model, *some, batches)
            probes.append(precision(exact, kit.instead(exact, "a float64 copy", factor=2), batches))
            self.stand_ins[PRECISION] = exact
        except ValueError as error:
            self.skipped[PRECISION] = str(error)
        try:
            smooth, found = with_backward(kit.given, *some, batches)
        except ValueError as error:
            self.skipped[OPERATIONS] = str(error)
            return probes
        if found:
            repair = kit.instead(smooth, "a stand-in with a backward pass", factor=2)
            probes.append(operations(smooth, found, repair, batches))
            self.stand_ins[OPERATIONS] = smooth
        return probes

    def search(self, findings: Sequence[Finding]) -> Iterator[Stage]:
        """Attacks for the worst case, one after another; each is for those still standing when its turn comes."""
        return search(self.kit, findings, self.stand_ins, gradients=self.gradients)

    def _expected(self) -> float:
        kit, effort = self.kit, self.kit.effort
        first = LOOK + cost_of(kit.reference)
        if not self.gradients:
            return first + SCORES * LOOK
        always = 6 * (1 + LOOK) + effort.steps + effort.draws * LOOK + effort.rivals * (1 + LOOK)
        shown = min(effort.shown / len(kit.ledger.images), 1.0) * cost_of_curves(kit)
        sharper = 5 * (SHARPER + CLOSEST * (AIMED + STARTS * AGAIN))
        return first + always + effort.search * (1 + sharper) + shown


def _about_the_loss(kit: Kit) -> list[Probe]:
    """What the reference's own loss makes of the logits."""
    reference, batches = kit.reference, kit.ledger.batches
    if ours(loss_of(reference)):
        given, repaired = [reference], [changed(reference, loss=log_odds)]
    else:
        given = [reference, FGSM(epsilon=kit.epsilon, loss=cross_entropy)]
        repaired = [reference, FGSM(epsilon=kit.epsilon)]
    cost = cost_of(reference) + (1 + LOOK) * (len(given) - 1)
    moderate = Through(attack=reference, stand_in=partial(kit.with_lead, MODERATE))
    as_it_is = "the attack as it is"
    on_logits = kit.ledger.trial("reference, on log probabilities", cost_of(reference), reference)
    return [
        Probabilities(
            returned=kit.given is not kit.model,
            repair=Repair(
                does="the same attack on the logarithms of the probabilities",
                against=as_it_is,
                control=kit.claimed,
                remedy=on_logits,
            ),
        ),
        Saturation(
            name="float32 saturation" if kit.ledger.images.dtype == torch.float32 else "saturation",
            applies=saturates(loss_of(reference)),
            repair=Repair(
                does="the log-odds loss, which does not saturate",
                against=as_it_is,
                control=kit.ledger.trial("reference, then one step, cross entropy", cost, *given),
                remedy=kit.ledger.trial("reference, then one step, log-odds", cost, *repaired),
            ),
            batches=batches,
        ),
        Scale(
            applies=saturates(loss_of(reference)) or loss_of(reference) is log_odds,
            repair=Repair(
                does="the same attack on logits of moderate size",
                against=as_it_is,
                control=on_logits,
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
        some=kit.sample,
        claimed=kit.claimed,
        effect=COLLAPSE,
    )
    other = Repair(
        does="one step from a random start",
        against="one step from the image",
        control=kit.one,
        remedy=kit.started,
        effect=COLLAPSE,
    )
    few = partial(kit.ledger.sample, effort.few, seed=derive_seed(kit.seed, "few"))
    return [
        Vanishing(attack=kit.many, repair=kit.blind, batches=batches),
        Activations(attack=kit.many, repair=kit.blind, batches=batches),
        Noise(noise=kit.noise, gradients=kit.many, clean=kit.clean, repair=kit.blind),
        Smoothness(clean=kit.clean, one=kit.one, many=kit.many, once=other, repair=smooth),
        FiniteDifferences(epsilon=kit.epsilon, some=kit.glance, seed=kit.seed, repair=kit.blind, batches=batches),
        Randomness(repair=kit.averaged, batches=batches),
        BlackBox(
            gradients=[kit.many, kit.rivals],
            other=kit.search(effort.glance),
            some=few,
            repair=lambda part: replace(kit.blind, effect=ELSE),
        ),
        Strength(control=kit.one, remedy=kit.many),
        Leaking(clean=kit.clean, one=kit.one, random=kit.started, many=kit.many, batches=batches),
    ]


def _about_other_attacks(kit: Kit, gradients: bool) -> list[Probe]:
    """Whether transfer from the twin, or an attack of the user's, beats the model's own gradients, or else queries."""

    def probe(name: str, trial: Trial, cost: Callable[[Part], float], **words: str) -> Probe:
        def repair(part: Part | None) -> Repair:
            budget = max(cost(part) if part is not None else 0, kit.effort.steps)
            return Repair(
                does="the other attack",
                against="gradients with as many looks" if gradients else "queries",
                control=kit.steepest(budget) if gradients else kit.search(SCORES),
                remedy=trial,
                effect=ELSE,
            )

        return BlackBox(
            name=name,
            gradients=[kit.many, kit.rivals] if gradients else [kit.search(SCORES)],
            other=trial,
            some=kit.ledger.part,
            threshold=EFFECT,
            repair=repair,
            **words,
        )

    probes: list[Probe] = []
    if (other := kit.twin) is not None:
        twin = kit.repeated(lambda model: other, "on the twin")
        advice = "The defence hides the way to errors that its twin shows: report the lower figure."
        cost = kit.effort.steps + 2 * LOOK
        probes.append(
            probe("transfer beats gradients", twin, lambda part: cost, what="found without the defence", advice=advice)
        )
    for number, attack in enumerate(kit.own, 1):
        name = f"your attack {number}" if len(kit.own) > 1 else "your attack"
        advice = "Your attack knows what gradients alone do not: report its figure."
        trial = kit.ledger.trial(name, cost_of(attack), attack)
        counted = partial(spent, attack, kit.model, batches=kit.ledger.batches)
        probes.append(probe(f"{name} beats gradients", trial, counted, what="which was given", advice=advice))
    return probes


def _about_the_model(kit: Kit) -> list[Probe]:
    """What does not depend on gradients."""
    return [Company(batches=kit.ledger.batches)]


def _about_the_reference(kit: Kit, sound: Trial) -> list[Probe]:
    """Whether the reference attack does what an attack must do, as one does that is ``sound``."""
    reference, batches = kit.reference, kit.ledger.batches

    def alone(name: str, **settings: float) -> Trial:
        attack = kit.as_claimed(variant(changed(reference, **settings)))
        return Trial(attacks=[attack], name=name, batches=batches, judge=kit.ledger.judge)

    probes: list[Probe] = [
        Broken(
            reference=kit.claimed,
            repair_by=sound,
            epsilon=kit.epsilon,
            clean=kit.clean,
            still=alone("reference at epsilon 0", epsilon=0.0) if has(reference, "epsilon") else None,
            single=alone("reference, one step", steps=1) if has(reference, "steps") else None,
            batches=batches,
        )
    ]
    if has(reference, "epsilon"):
        unbounded = alone("reference at epsilon 1", epsilon=1.0)
        probes.append(Sweep(control=unbounded, clean=kit.clean, threshold=0.1 + 1 / kit.classes))
        further = alone("reference at twice epsilon", epsilon=min(2 * kit.epsilon, 1.0))
        probes.append(Rising(control=kit.claimed, further=further, some=kit.glance))
    return probes
