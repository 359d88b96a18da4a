"""The search for the worst case, after the probes: through what repairs the model, longest where it may succeed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any, NamedTuple

from unmask.attacks import APGD, PGD, Attack, Averaged, TargetedAPGD, Through, Trial, surrogate
from unmask.auditing.kit import CLOSEST, EOT_DRAWS, Kit
from unmask.auditing.probes.activations import Activations
from unmask.auditing.probes.blackbox import BlackBox
from unmask.auditing.probes.finite import FiniteDifferences
from unmask.auditing.probes.noise import Noise
from unmask.auditing.probes.operations import OPERATIONS
from unmask.auditing.probes.precision import PRECISION
from unmask.auditing.probes.randomness import Randomness
from unmask.auditing.probes.scale import SHARP
from unmask.auditing.probes.vanishing import Vanishing
from unmask.auditing.settings import LOOK
from unmask.losses import dlr, log_odds
from unmask.numerics import Model, derive_seed
from unmask.reports.record import Finding

SHARPER, AIMED, AGAIN = 0.12, 0.07, 0.03
"""The search's dearer stages are for the standing images nearest to falling, such shares of all images at a time."""

STARTS = 2
"""The last of them has so many."""

DLR, TARGETED_DLR = 3, 4
"""The fewest classes for which these losses are defined."""

BLIND = {Vanishing.name, Activations.name, FiniteDifferences.name, Noise.name, BlackBox.name}
"""Symptoms of gradients that are useless as such: the search for the worst case then asks for scores as well."""


class Stage(NamedTuple):
    """Of the search for the worst case: a trial, and how many of the standing images it is for, as a share of all.

    Example:
        >>> Stage(Trial(attacks=[lambda model, images, labels: images])).share
        1.0
    """

    trial: Trial
    share: float = 1.0


def search(
    kit: Kit, findings: Sequence[Finding], stand_ins: Mapping[str, Model], *, gradients: bool
) -> Iterator[Stage]:
    """Attacks for the worst case, one after another; each is for those still standing when its turn comes.

    Few steps for all of them tell which are near to falling; most of the budget is for those, as long as they fall.
    What made a symptom is gone round by its stand-in, of ``stand_ins``, or a mean over draws; and the logits are
    rescaled to a lead of ten nats, so that what is found does not depend on their scale.

    Example:
        >>> import torch
        >>> from unmask.attacks import FGSM
        >>> from unmask.numerics import Batches
        >>> from unmask.auditing.ledger import Ledger
        >>> ledger = Ledger(images=torch.zeros(1, 1, 1, 4), labels=torch.tensor([0]), batches=Batches())
        >>> task = {"model": (model := torch.nn.Flatten()), "given": model, "ledger": ledger, "classes": 4, "seed": 0}
        >>> kit = Kit(reference=FGSM(epsilon=0.1), epsilon=0.1, **task)
        >>> [stage.trial.name for stage in search(kit, [], {}, gradients=True)][1:3]
        ['Auto-PGD', 'longer Auto-PGD']
    """
    steps = kit.effort.search
    if not gradients:
        yield Stage(kit.noise)
        return
    yield Stage(kit.rivals)
    if not steps:
        return
    seed, fired = derive_seed(kit.seed, "worst case"), {finding.name for finding in findings if finding.fired}
    through, factor = _repaired(kit, fired, stand_ins)
    for name, share, cost, attack in _ascents(kit, steps, seed):
        yield Stage(kit.ledger.trial(name, factor * cost, through(attack)), share)
    if fired & BLIND:
        yield Stage(kit.search(kit.effort.queries))
        where = kit.ledger.batches.device
        network = surrogate(
            kit.model, kit.ledger.images.to(where), epsilon=kit.epsilon, seed=derive_seed(kit.seed, "surrogate")
        )
        transfer = Through(attack=PGD(epsilon=kit.epsilon, steps=kit.effort.steps, seed=seed), stand_in=network)
        yield Stage(kit.ledger.trial("transfer from a surrogate", kit.effort.steps, transfer))


def _ascents(kit: Kit, steps: int, seed: int) -> Iterator[tuple[str, float, float, Attack]]:
    """Auto-PGD again and again, each dearer and for fewer images: its name, their share, what it costs, and itself."""
    few, rivals = "Auto-PGD", "Auto-PGD towards the closest rivals"
    yield few, 1.0, steps + 2 * LOOK, APGD(epsilon=kit.epsilon, steps=steps, seed=derive_seed(seed, few))
    many, longer = 5 * steps, f"longer {few}"
    climb: dict[str, Any] = {"epsilon": kit.epsilon, "steps": many}
    loss = dlr if kit.classes >= DLR else log_odds
    yield longer, SHARPER, many + 2 * LOOK, APGD(**climb, loss=loss, seed=derive_seed(seed, longer))
    if kit.classes < TARGETED_DLR:
        return
    for name, share, starts in ((rivals, AIMED, 1), (f"{rivals}, {STARTS} starts", AGAIN, STARTS)):
        aimed = TargetedAPGD(**climb, targets=CLOSEST, restarts=starts, seed=derive_seed(seed, name))
        yield name, share, starts * CLOSEST * (many + LOOK), aimed


def _repaired(kit: Kit, fired: Set[str], stand_ins: Mapping[str, Model]) -> tuple[Callable[[Attack], Attack], float]:
    """What makes an attack one on the model as far as it can be repaired, and how much dearer that is."""
    stand_in = next((stand_ins[name] for name in (OPERATIONS, PRECISION) if name in fired), None)
    draws = EOT_DRAWS // 2 if Randomness.name in fired else 0

    def repaired(model: Model) -> Model:
        model = model if stand_in is None else stand_in
        return kit.with_lead(SHARP, Averaged(model, draws=draws) if draws else model)

    return (lambda attack: Through(attack=attack, stand_in=repaired)), max(draws, 1) * (1 if stand_in is None else 2)
