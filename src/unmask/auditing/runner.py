"""The audit: attack a model in several ways, ask each probe, decide, and put everything into one report."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unmask.attacks import FGSM, Attack, Averaged, Outcome, Square, Trial
from unmask.attacks.trial import check_attacks
from unmask.auditing.battery import Battery
from unmask.auditing.cache import Kept, task_of
from unmask.auditing.course import Found, run
from unmask.auditing.kit import FULL, Effort, Kit
from unmask.auditing.ledger import Ledger, Progress
from unmask.auditing.preflight import Subject, check_twin, chosen, examine, gather
from unmask.auditing.report_data import environment, log_odds_histogram, loss_surfaces, specimens
from unmask.auditing.verdict import decide
from unmask.data.dataset import images_digest
from unmask.losses import cross_entropy
from unmask.numerics import Batches, Model
from unmask.reports import Report
from unmask.reports.adversarial_examples import collect, pack
from unmask.reports.record import AttackResult
from unmask.statistics import Proportion, proportion
from unmask.threats import parse_epsilon

DRAWS = 8
"""A model that answers at random is taken to decide by the mean over so many draws."""

SURFACES = 3
"""For so many examples the loss is looked at from all around."""


def audit(
    model: Model,
    images: Tensor | Iterable[tuple[Tensor, Tensor]],
    labels: Tensor | None = None,
    *,
    epsilon: float | str,
    reference: Attack | None = None,
    attacks: Sequence[Attack] = (),
    twin: Model | None = None,
    device: str | torch.device | None = None,
    batch_size: int = 128,
    budget: float | None = None,
    effort: Effort = FULL,
    seed: int = 0,
    subject: str = "model",
    data: str = "images",
    classes: Sequence[str] | None = None,
    progress: Progress | None = None,
    keep: Path | str | None = None,
) -> Report:
    """Tell whether a classifier's robustness is real, and how much accuracy is left once the attack is repaired.

    Args:
        model: takes images (N, C, H, W) in [0, 1] to logits (N, K); normalisation lives inside it. On a module, modes
            and parameters are left as they were.
        images: a tensor with ``labels`` beside it, or any iterable of (images, labels) batches.
        epsilon: the L-infinity bound in [0, 1], also as ``"8/255"``.
        reference: the attack whose claim is audited; by default FGSM with cross entropy, or Square for a model that
            gives no gradients.
        attacks: your own, any callables that take the model, images and labels to images: where one fools more than
            gradients do, the model is masked, and the worst case counts what it finds.
        twin: the same classifier without its defence, if you have it: attacks on it are tried on the model.
        device: where to work; by default where the model is.
        batch_size: how many images at once; halved by itself when memory runs out.
        budget: seconds to work for; an attack that will presumably take longer than is left is not begun, and listed as
            not run. The first two, without attack and the reference, always are.
        effort: how much is tried: ``FULL`` or ``QUICK``, or settings of your own.
        classes: names of the classes, for the report and as a check on the number of logits.
        progress: called as the work goes on.
        keep: a folder for what came of each attack, so that an audit that was killed goes on where it was; it is
            emptied in the end. Attacks that are not of this library, or on networks of yours, are run again.

    Raises:
        ValueError: the images, labels or epsilon are not as stated, the model does not return finite logits, the twin
            does not return as many or gives no gradients, or the reference or another attack cannot be called as one,
            returns no images, or leaves the ball or [0, 1].

    Example:
        >>> from unmask.data import load
        >>> from unmask.models import build
        >>> digits = load("digits", "test")
        >>> model = build("linear", inputs=(1, 8, 8), classes=10)
        >>> audit(model, digits.images, digits.labels, epsilon=0.1).verdict
        'inconclusive'
    """
    bound = parse_epsilon(epsilon)
    check_attacks("attacks", attacks)
    check_attacks("reference", [] if reference is None else [reference])
    batches = Batches(size=batch_size, device=_device(model, device))
    images, labels = gather(images, labels)
    total = len(labels)
    if effort.images is not None:
        rows = chosen(images, effort.images, seed)
        images, labels = images[rows], labels[rows]
    audited = examine(model, images, labels, batches=batches, classes=None if classes is None else len(classes))
    if twin is not None:
        check_twin(twin, audited.images, audited.labels, batches=batches, classes=audited.classes)
    settings = (bound, seed, effort, twin, audited.answers)
    kept = Kept(folder=Path(keep), task=task_of(model, images, labels, *settings)) if keep else None
    ledger = Ledger(
        images=audited.images,
        labels=audited.labels,
        batches=batches,
        epsilon=bound,
        seconds=budget,
        progress=progress,
        kept=kept,
        judge=partial(Averaged, draws=DRAWS) if audited.random else None,
    )
    kit = Kit(
        reference=reference or _usual_reference(bound, audited.gradients, seed),
        model=audited.model,
        given=audited.given,
        ledger=ledger,
        epsilon=bound,
        seed=seed,
        classes=audited.classes,
        effort=effort,
        random=audited.random,
        twin=twin,
        own=attacks,
    )
    battery = Battery(kit, gradients=audited.gradients)
    ledger.expected = battery.expected
    found = run(battery, audited)
    task = images_digest(images, labels)
    report = _report(battery, audited, found, subject=subject, data=data, names=classes, task=task, total=total)
    if kept:
        kept.clear()
    return report


def _report(
    battery: Battery,
    audited: Subject,
    found: Found,
    *,
    subject: str,
    data: str,
    names: Sequence[str] | None,
    task: str,
    total: int,
) -> Report:
    """Decide, and put everything into one report; ``task`` is the digest of what was audited, of ``total`` images."""
    kit, ledger, images, labels = battery.kit, battery.kit.ledger, audited.images, audited.labels
    clean, claimed, worst = found.clean, found.claimed, found.worst
    correct = {"clean": clean.correct, "claimed": claimed.correct, "worst case": worst.correct}
    shares = {name: _share(held) for name, held in correct.items()}
    attacks = [_result(*entry) for entry in ledger.entries[1:]]
    called = [attack.name for attack in attacks]
    evidence = pack(collect(worst, images, labels), epsilon=kit.epsilon, attacks=called)
    shown = specimens(images, labels, clean, claimed, worst, attacks=called, classes=names)
    few = [one.index for one in shown[:SURFACES]] if audited.gradients else []
    not_run = battery.not_run | found.unanswered
    known: dict[str, Any] = {"clean": shares["clean"], "left": shares["worst case"], "not_run": not_run}
    decision = decide(found.findings, classes=audited.classes, claimed=found.said, **known)
    return Report(
        subject=subject,
        data=data,
        samples=len(labels),
        classes=audited.classes,
        epsilon=kit.epsilon,
        reference=Trial(attacks=[kit.reference]).settings,
        clean=shares["clean"],
        claimed=shares["claimed"],
        robust=shares["worst case"],
        decision=decision,
        findings=found.findings,
        attacks=attacks,
        curves=found.curves,
        histograms=[log_odds_histogram((-clean.loss).tolist())],
        specimens=shown,
        surfaces=loss_surfaces(
            audited.model, images, labels, rows=few, epsilon=kit.epsilon, seed=kit.seed, batches=ledger.batches
        ),
        notes=[*audited.notes, *_shortened(total, kit.effort)],
        seconds=ledger.spent(),
        seed=kit.seed,
        environment=environment(torch.device(ledger.batches.device or "cpu"), images.dtype),
        correct={name: held.tolist() for name, held in correct.items()},
        images_digest=task,
        evidence_digest=hashlib.sha256(evidence).hexdigest(),
        not_run=not_run | found.left_out | battery.skipped,
        evidence=evidence,
        given=total if total > len(labels) else 0,
    )


def _usual_reference(epsilon: float, gradients: bool, seed: int) -> Attack:
    """What people take: one step along the gradient, or a search where there is none."""
    blunt, search = FGSM(epsilon=epsilon, loss=cross_entropy), Square(epsilon=epsilon, queries=1000, seed=seed)
    return blunt if gradients else search


def _shortened(total: int, effort: Effort) -> list[str]:
    """What was measured on part of the images."""
    audited = total if effort.images is None else min(total, effort.images)
    part = [f"{audited} of the {total} images were audited."] if audited < total else []
    return part + ([f"The curves over epsilon rest on {effort.shown} of the images."] if audited > effort.shown else [])


def _result(trial: Trial, rows: Tensor | None, outcome: Outcome) -> AttackResult:
    correct = outcome.correct
    return AttackResult(
        name=trial.name,
        settings=trial.settings,
        correct=correct.tolist(),
        accuracy=_share(correct),
        rows=[] if rows is None else rows.tolist(),
    )


def _share(correct: Tensor) -> Proportion:
    return proportion(int(correct.sum()), len(correct))


def _device(model: Model, device: str | torch.device | None) -> torch.device:
    """Where to work: as asked, else where the model is. A model that is elsewhere is refused, not moved."""
    here = next((one.device for one in model.parameters()), None) if isinstance(model, nn.Module) else None
    wanted = torch.device(device) if device is not None else here or torch.device("cpu")
    if here is not None and here.type != wanted.type:
        raise ValueError(
            f"device: expected the model on {wanted}, found it on {here}; call model.to({str(wanted)!r}) first"
        )
    return wanted
