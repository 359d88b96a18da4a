"""The search for the robust accuracy, after the probes: on what repairs the model, longest where it may succeed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

import torch

from unmask.attacks import APGD, EOT, PGD, TargetedAPGD, train_surrogate
from unmask.auditing.context import OPERATIONS, PRECISION, Context
from unmask.auditing.evaluator import Omission, OutOfTimeError
from unmask.auditing.probes import PROBES, Randomness
from unmask.auditing.trial import Proxy, Trial
from unmask.auditing.trials import CLOSEST, EOT_DRAWS
from unmask.losses import dlr, log_odds
from unmask.numerics import derive_seed
from unmask.reports.record import Finding

NO_TIME = "no time"
"""The reason told for what was not run."""

SHARPER, TARGETED, AGAIN = 0.12, 0.07, 0.03
"""The dearer stages are for the images nearest to the boundary, such shares of all images at a time."""

STARTS = 2
"""Random starts of the last of them."""

DLR, TARGETED_DLR = 3, 4
"""The fewest classes for which these losses are defined."""

FRUITFUL = 0.2
"""A stage that fells this share of the images it was for is run on as many more."""

SHARP = 10.0
"""The median lead, in nats, at which the search attacks: the loss sees the nearest rival above others.

On 400 validation images of MNIST, a plain network and its logits times 0.3 and 0.001: twenty steps of Auto-PGD on the
log-odds leave 142, 169 and 223 of them right as they are, and 142, 144 and 146 at ten nats; at five and at twenty more.
"""


class Stage(NamedTuple):
    """A stage of the search: a trial, and the share of all images that it is for at a time."""

    trial: Trial
    share: float = 1.0


def search(context: Context, findings: Sequence[Finding]) -> None:
    """Attack the examples that are still classified correctly, stage by stage.

    A stage for the nearest to the boundary goes on to the next nearest as long as it is fruitful. Where answers are
    random an example may have fallen by chance: all are attacked, so that the image that is kept is one that fools the
    model on average. Stages that there is no time for are noted by the evaluator as not run.
    """
    evaluator, random = context.evaluator, context.audited.random
    for trial, share in stages(context, findings):
        worst, untried = evaluator.worst, torch.ones(len(evaluator.labels), dtype=torch.bool)
        if not (worst.correct | random).any():
            break
        while len(rows := worst.nearest(share, among=untried & (worst.correct | random))):
            untried[rows], stood = False, int(worst.correct[rows].sum())
            try:
                evaluator.run(trial, rows)
            except OutOfTimeError:
                evaluator.not_run.append(Omission(trial.name, NO_TIME))
                break
            if stood - int(worst.correct[rows].sum()) < FRUITFUL * len(rows):
                break


def stages(context: Context, findings: Sequence[Finding]) -> Iterator[Stage]:
    """Yield the stages of the search; each is for the images that are still right when its turn comes.

    Few steps for all of them tell which are near the boundary; most of the budget is for those, as long as they fall.
    The cause of a symptom is avoided by its proxy, or a mean over draws; and the logits are rescaled to a lead of ten
    nats, so that the result does not depend on their scale.

    Example:
        >>> from unmask.auditing.context import prepare
        >>> context = prepare(torch.nn.Flatten(), torch.zeros(1, 1, 1, 4), torch.tensor([0]), epsilon=0.1)
        >>> [stage.trial.name for stage in stages(context, [])][1:3]
        ['Auto-PGD', 'longer Auto-PGD']
    """
    if not context.gradients:
        yield Stage(context.trials.noise)
        return
    yield Stage(context.trials.rivals)
    if not context.effort.search:
        return
    fired = {finding.name for finding in findings if finding.fired}
    yield from ascents(context, _repaired(context, fired))
    if fired & {probe.name for probe in PROBES if probe.calls_for_queries}:
        yield Stage(context.trials.queries(context.effort.queries))
        if context.evaluator.clock.late:
            context.evaluator.not_run.append(Omission("transfer from a surrogate", NO_TIME))
        elif context.audited.random or context.evaluator.worst.correct.any():
            yield Stage(_transfer(context))


def ascents(context: Context, proxy: Proxy | None) -> Iterator[Stage]:
    """Yield Auto-PGD again and again, each dearer and for fewer images."""
    steps, seed = context.effort.search, derive_seed(context.seed, "worst case")
    first, rivals, longer = "Auto-PGD", "Auto-PGD towards the closest rivals", "longer Auto-PGD"
    trial, epsilon = context.evaluator.trial, context.epsilon
    few = APGD(epsilon, steps=steps, loss=log_odds, seed=derive_seed(seed, first))
    yield Stage(trial(first, few, proxy=proxy))
    loss = dlr if context.classes >= DLR else log_odds
    many = APGD(epsilon, steps=5 * steps, loss=loss, seed=derive_seed(seed, longer))
    yield Stage(trial(longer, many, proxy=proxy), SHARPER)
    if context.classes < TARGETED_DLR:
        return
    for name, share, starts in ((rivals, TARGETED, 1), (f"{rivals}, {STARTS} starts", AGAIN, STARTS)):
        targeted = TargetedAPGD(
            epsilon, steps=5 * steps, targets=CLOSEST, restarts=starts, seed=derive_seed(seed, name)
        )
        yield Stage(trial(name, targeted, proxy=proxy), share)


def expected_cost(context: Context) -> float:
    """Return the gradients per image that the search takes where no symptom is present."""
    if not context.gradients or not context.effort.search:
        return 0.0
    return sum(stage.share * stage.trial.cost for stage in ascents(context, None))


def _repaired(context: Context, fired: AbstractSet[str]) -> Proxy:
    """Return the model as far as it can be repaired, with rescaled logits."""
    chosen = next((context.proxies[name] for name in (OPERATIONS, PRECISION) if name in fired), None)
    model = context.model if chosen is None else chosen.model
    named, factor = (["the model"], 1.0) if chosen is None else ([chosen.name], chosen.factor)
    if Randomness().name in fired:
        draws = EOT_DRAWS // 2
        model, factor = EOT(model, draws=draws), factor * draws
        named.append(f"averaged over {draws} draws")
    named.append(f"with a median lead of {SHARP:g} nats")
    return Proxy(", ".join(named), context.with_lead(SHARP, model), factor=factor)


def _transfer(context: Context) -> Trial:
    """Return many steps on a surrogate trained on the model's answers."""
    images = context.evaluator.images.to(context.evaluator.batches.device)
    network = train_surrogate(
        context.model, images, epsilon=context.epsilon, seed=derive_seed(context.seed, "surrogate")
    )
    seed = derive_seed(context.seed, "worst case")
    attack = PGD(context.epsilon, steps=context.effort.steps, loss=log_odds, seed=seed)
    proxy = Proxy("a surrogate trained on the model's answers", network, derived=False)
    return context.evaluator.trial("transfer from a surrogate", attack, proxy=proxy)
