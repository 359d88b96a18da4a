"""The course of an audit: attack, ask each probe, search for the worst case, draw the curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from unmask.attacks import Averaged, Outcome
from unmask.attacks.trial import examined
from unmask.auditing.battery import Battery
from unmask.auditing.curves import curves_of
from unmask.auditing.ledger import OutOfTimeError
from unmask.auditing.preflight import Subject
from unmask.auditing.settings import RefusedError
from unmask.numerics import Batches
from unmask.reports.adversarial_examples import Worst, reexamined
from unmask.reports.record import Curve, Finding

NO_TIME = "no time"
"""Why something was not run."""

CURVES = "curves over epsilon"
"""What they are called where there was no time for them."""

FRUITFUL = 0.2
"""A stage of the search that fells this share of those it was for is run on as many more."""

FRESH_DRAWS = 32
"""In the end, a model that answers at random is taken to decide by the mean over so many draws."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What came of an audit: outcomes without attack and under the reference, the worst images, and the rest.

    ``said`` is who withstood the reference when it was run; ``unanswered`` and ``left_out`` are what there was no time
    for, of probes and of the search.
    """

    clean: Outcome
    claimed: Outcome
    worst: Worst
    said: Sequence[bool]
    findings: Sequence[Finding]
    curves: Sequence[Curve]
    unanswered: dict[str, str]
    left_out: dict[str, str]


def run(battery: Battery, audited: Subject) -> Found:
    """Attack, ask each probe, search for the worst case, and draw the curves.

    Example:
        >>> import torch
        >>> from unmask.attacks import FGSM
        >>> from unmask.auditing.ledger import Ledger
        >>> from unmask.auditing.kit import QUICK, Kit
        >>> from unmask.auditing.preflight import examine
        >>> images, labels = torch.tensor([[[[0.9, 0.1]]]]), torch.tensor([0])
        >>> ledger = Ledger(images=images, labels=labels, batches=(batches := Batches()))
        >>> audited = examine(torch.nn.Flatten(), images, labels, batches=batches)
        >>> task = {"model": audited.model, "given": audited.given, "classes": 2, "effort": QUICK}
        >>> kit = Kit(reference=FGSM(epsilon=0.5), ledger=ledger, epsilon=0.5, seed=0, **task)
        >>> run(Battery(kit), audited).worst.correct
        tensor([False])
    """
    kit, ledger, task = battery.kit, battery.kit.ledger, (audited.model, audited.images, audited.labels)
    clean, claimed = kit.clean(*task), kit.claimed(*task)
    findings, unanswered = _ask(battery, audited)
    left_out = _search(battery, audited, findings)
    curves = [] if ledger.late else curves_of(kit, gradients=audited.gradients)
    if not curves:
        left_out[CURVES] = NO_TIME
    ledger.close()
    worst, said = ledger.reached(), claimed.correct.tolist()
    if audited.random:
        anew = partial(_drawn_anew, audited, ledger.batches)
        worst = reexamined(worst, claimed.images, audited.images, anew)
        clean, claimed = anew(audited.images), anew(claimed.images)
    return Found(
        clean=clean,
        claimed=claimed,
        worst=worst,
        said=said,
        findings=findings,
        curves=curves,
        unanswered=unanswered,
        left_out=left_out,
    )


def _ask(battery: Battery, audited: Subject) -> tuple[list[Finding], dict[str, str]]:
    """What the probes found, and those there was no time for."""
    findings, unanswered = [], {}
    for probe in battery.probes:
        if battery.kit.ledger.late:
            unanswered[probe.name] = NO_TIME
            continue
        try:
            findings.append(probe(audited.model, audited.images, audited.labels))
        except OutOfTimeError:
            unanswered[probe.name] = NO_TIME
        except RefusedError as error:
            battery.skipped[probe.name] = f"the reference attack fails when it is changed: {error}"
    return findings, unanswered


def _search(battery: Battery, audited: Subject, findings: Sequence[Finding]) -> dict[str, str]:
    """Look for the worst case among the examples that still stand; returns the attacks there was no time for.

    A stage for the nearest to falling goes on to the next nearest as long as it is fruitful. Where answers are random
    an example may have fallen by chance: all are attacked, so that the image that is kept is one that fools the model
    on average.
    """
    ledger, left_out = battery.kit.ledger, {}
    for stage in battery.search(findings):
        worst, untried = ledger.reached(), torch.ones(len(audited.labels), dtype=torch.bool)
        if not (worst.correct | audited.random).any():
            break
        while len(rows := worst.nearest(stage.share, among=untried & (worst.correct | audited.random))):
            untried[rows], stood, part = False, int(worst.correct[rows].sum()), ledger.part(rows)
            try:
                stage.trial(audited.model, part.images, part.labels)
            except OutOfTimeError:
                left_out[stage.trial.name] = NO_TIME
                break
            if stood - int(worst.correct[rows].sum()) < FRUITFUL * len(rows):
                break
    return left_out


def _drawn_anew(audited: Subject, batches: Batches, images: Tensor) -> Outcome:
    """What a model that answers at random makes of images, by the mean over draws that no attack was judged by."""
    mean = Averaged(audited.model, draws=FRESH_DRAWS)
    (logits,) = batches(lambda x, y: examined(mean, x, seed=1), images, audited.labels)
    return Outcome.of(images, logits, audited.labels)
