"""The audit: attack a model in several ways, ask each probe, decide, and put everything into one report."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unmask.attacks import FGSM, FRSM, PGD, Attack, Averaged, Outcome, Square, Trial
from unmask.attacks.trial import examined
from unmask.evidence import collect, digest, pack, reexamined
from unmask.exhibits import environment, log_odds_histogram, loss_surfaces, specimens
from unmask.losses import cross_entropy, log_odds
from unmask.numerics import Batches, Model, derive_seed
from unmask.probes import FULL, Battery, Effort, Kit, Ledger, OutOfTimeError
from unmask.probes.kept import Kept, task_of
from unmask.probes.ledger import Progress
from unmask.probes.sweep import accuracy_curve
from unmask.record import AttackResult, Curve, Finding, Proportion
from unmask.report import Report
from unmask.subject import Subject, examine, gather
from unmask.threat import parse_epsilon
from unmask.verdict import decide, proportion

NO_TIME = "no time"
"""Why something was not run."""

GRID = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
CURVE_STEPS = 10
CURVE_QUERIES = 100
"""The curves over epsilon are drawn for some of the images, with few steps and queries: they decide nothing."""

DRAWS, FRESH_DRAWS = 8, 32
"""A model that answers at random is taken to decide by the mean over so many draws; in the end over so many others."""

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
    keep: Path | None = None,
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
            emptied in the end.

    Raises:
        ValueError: the images, labels or epsilon are not as stated, the model does not return finite logits, or the
            reference or another attack leaves the ball or [0, 1].

    Example:
        >>> from unmask.data import load
        >>> from unmask.models import build
        >>> digits = load("digits", "test")
        >>> model = build("linear", inputs=(1, 8, 8), classes=10)
        >>> audit(model, digits.images, digits.labels, epsilon=0.1).verdict
        'inconclusive'
    """
    bound = parse_epsilon(epsilon)
    batches = Batches(size=batch_size, device=_device(model, device))
    images, labels = gather(images, labels)
    audited = examine(model, images, labels, batches=batches, classes=None if classes is None else len(classes))
    kept = Kept(folder=keep, task=task_of(model, images, labels, bound, seed, effort, twin)) if keep else None
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
    task = (audited.model, audited.images, audited.labels)
    clean, claimed = kit.clean(*task), kit.claimed(*task)
    findings, unanswered = _ask(battery, audited)
    left_out = _search(battery, audited, findings)
    curves = _curves(kit, audited)
    ledger.close()
    worst, said = ledger.reached(), claimed.correct.tolist()
    if audited.random:
        anew = partial(_drawn_anew, audited, batches)
        worst = reexamined(worst, claimed.images, audited.images, anew)
        clean, claimed = anew(audited.images), anew(claimed.images)
    correct = {"clean": clean.correct, "claimed": claimed.correct, "worst case": worst.correct}
    shares = {name: _share(held) for name, held in correct.items()}
    results = [_result(*entry) for entry in ledger.entries[1:]]
    names = [result.name for result in results]
    evidence = pack(collect(worst, audited.images, audited.labels), epsilon=bound, attacks=names)
    shown = specimens(audited.images, audited.labels, clean, claimed, worst, attacks=names, classes=classes)
    few = [one.index for one in shown[:SURFACES]] if audited.gradients else []
    if kept:
        kept.clear()
    return Report(
        subject=subject,
        data=data,
        samples=len(labels),
        classes=audited.classes,
        epsilon=bound,
        reference=Trial(attacks=[kit.reference]).settings,
        clean=shares["clean"],
        claimed=shares["claimed"],
        robust=shares["worst case"],
        decision=decide(
            findings,
            clean=shares["clean"],
            classes=audited.classes,
            claimed=said,
            not_run=battery.not_run | unanswered,
            left=shares["worst case"],
        ),
        findings=findings,
        attacks=results,
        curves=curves,
        histograms=[log_odds_histogram((-clean.loss).tolist())],
        specimens=shown,
        surfaces=loss_surfaces(*task, rows=few, epsilon=bound, seed=seed, batches=batches),
        notes=[*audited.notes, *_shortened(len(labels), effort)],
        seconds=ledger.spent(),
        seed=seed,
        environment=environment(torch.device(batches.device or "cpu"), audited.images.dtype),
        correct={name: held.tolist() for name, held in correct.items()},
        images_digest=digest(images, labels),
        evidence_digest=hashlib.sha256(evidence).hexdigest(),
        not_run=battery.not_run | unanswered | left_out | battery.skipped,
        evidence=evidence,
    )


def _usual_reference(epsilon: float, gradients: bool, seed: int) -> Attack:
    """What people take: one step along the gradient, or a search where there is none."""
    blunt, search = FGSM(epsilon=epsilon, loss=cross_entropy), Square(epsilon=epsilon, queries=1000, seed=seed)
    return blunt if gradients else search


def _ask(battery: Battery, audited: Subject) -> tuple[list[Finding], dict[str, str]]:
    """What the probes found, and those there was no time for."""
    findings, unanswered = [], {}
    for probe in battery.probes:
        try:
            findings.append(probe(audited.model, audited.images, audited.labels))
        except OutOfTimeError:
            unanswered[probe.name] = NO_TIME
    return findings, unanswered


def _search(battery: Battery, audited: Subject, findings: Sequence[Finding]) -> dict[str, str]:
    """Look for the worst case among the examples that still stand; returns the attacks there was no time for.

    Where answers are random an example may have fallen by chance: all are attacked, so that the image that is kept is
    one that fools the model on average.
    """
    ledger, left_out = battery.kit.ledger, {}
    for trial in battery.search(findings):
        standing = ledger.reached().correct | torch.tensor(audited.random)
        if not standing.any():
            break
        part = ledger.part(standing.nonzero().flatten())
        try:
            trial(audited.model, part.images, part.labels)
        except OutOfTimeError:
            left_out[trial.name] = NO_TIME
    return left_out


def _drawn_anew(audited: Subject, batches: Batches, images: Tensor) -> Outcome:
    """What a model that answers at random makes of images, by the mean over draws that no attack was judged by."""
    mean = Averaged(audited.model, draws=FRESH_DRAWS)
    (logits,) = batches(lambda x, y: examined(mean, x, seed=1), images, audited.labels)
    predictions = logits.argmax(1)
    return Outcome(images, predictions, predictions == audited.labels, log_odds(logits, audited.labels))


def _curves(kit: Kit, audited: Subject) -> list[Curve]:
    """Accuracy over epsilon for the attacks worth showing, on a sample."""
    part = kit.ledger.sample(kit.effort.shown, seed=derive_seed(kit.seed, "curves"))
    epsilons, curves = sorted({*GRID, kit.epsilon}), []
    for name, (attack, cost) in _shown(kit.reference, kit.epsilon, audited.gradients).items():
        kit.ledger.work(f"{name}, over epsilon", len(epsilons) * cost)
        task = (audited.model, part.images, part.labels)
        curves.append(accuracy_curve(name, attack, *task, epsilons=epsilons, batches=kit.ledger.batches))
    return curves


def _shown(reference: Attack, epsilon: float, gradients: bool) -> dict[str, tuple[Any, float]]:
    """The attacks that have a curve over epsilon, each with the gradients it takes per image and epsilon."""
    shown: dict[str, tuple[Any, float]] = {}
    if isinstance(reference, Square) or not gradients:
        shown[f"{CURVE_QUERIES} queries"] = (Square(epsilon=epsilon, queries=CURVE_QUERIES), CURVE_QUERIES / 2)
    elif hasattr(reference, "sweep"):
        shown["reference attack"] = (reference, 0.5)
    if gradients:
        shown["one step, log-odds"] = (FGSM(epsilon=epsilon), 0.5)
        shown[f"{CURVE_STEPS} steps"] = (PGD(epsilon=epsilon, steps=CURVE_STEPS), CURVE_STEPS)
    shown["random signs"] = (FRSM(epsilon=epsilon), 0.5)
    return shown


def _shortened(total: int, effort: Effort) -> list[str]:
    """What was measured on part of the images."""
    return [f"The curves over epsilon rest on {effort.shown} of the images."] if total > effort.shown else []


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
