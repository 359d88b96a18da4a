"""The runner of an audit: attack a model in several ways, ask each probe, decide, and report."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unmask.attacks import EOT, Outcome, logits_of
from unmask.auditing import curves, search
from unmask.auditing.clock import Progress
from unmask.auditing.context import Context, prepare
from unmask.auditing.effort import FULL, Effort
from unmask.auditing.evaluator import Entry, Omission, OutOfTimeError, RefusedError
from unmask.auditing.probes import Probe, probes_for
from unmask.auditing.report_data import environment, examples, log_odds_histogram, loss_surfaces
from unmask.auditing.search import NO_TIME
from unmask.auditing.trial import Trial
from unmask.auditing.verdict import decide
from unmask.auditing.worst import adversarial_examples, evaluated_again
from unmask.numerics import Model
from unmask.reports import Report
from unmask.reports.adversarial_examples import pack
from unmask.reports.record import AttackResult, Curve, Finding, Verdict
from unmask.statistics import Proportion, proportion

SURFACES = 3
"""The number of examples around which the loss is drawn."""

FRESH_DRAWS = 32
"""In the end, a model that answers at random is taken to decide by the mean over so many draws."""


def audit(
    model: Model,
    images: Tensor | Iterable[tuple[Tensor, Tensor]],
    labels: Tensor | None = None,
    epsilon: float | str | None = None,
    *,
    reference: Callable[[Model, Tensor, Tensor], Tensor] | None = None,
    attacks: Sequence[Callable[[Model, Tensor, Tensor], Tensor]] = (),
    surrogate: Model | None = None,
    device: str | torch.device | None = None,
    batch_size: int = 128,
    budget: float | None = None,
    effort: Effort = FULL,
    seed: int = 0,
    model_name: str = "model",
    data_name: str = "images",
    classes: Sequence[str] | None = None,
    progress: Progress | None = None,
    cache: Path | str | None = None,
) -> Report:
    """Tell whether a classifier's robustness is real, and its accuracy once the attack is repaired.

    Args:
        model: takes images (N, C, H, W) in [0, 1] to logits (N, K); normalisation lives inside it. On a module, modes
            and parameters are left as they were.
        images: a tensor with ``labels`` beside it, or any iterable of (images, labels) batches.
        epsilon: the L-infinity bound in [0, 1], also as ``"8/255"``; it must be given.
        reference: the attack whose claimed accuracy is audited; by default FGSM with cross entropy, or Square for a
            model that gives no gradients.
        attacks: your own, any callables ``attack(model, images, labels) -> images``: where one fools more than
            gradients do, the model is masked, and the robust accuracy counts its images. ``as_attack`` says what one
            costs.
        surrogate: another network for transfer, such as the same classifier without its defence: attacks are made on
            it and tried on the model.
        device: where to work; by default where the model is.
        batch_size: images at once; halved by itself when memory runs out.
        budget: seconds to work for; an attack that will presumably take longer than is left is not begun, and listed as
            not run. The first two, without attack and the reference, always are.
        effort: how much is tried: ``FULL`` or ``QUICK``, or settings of your own.
        model_name, data_name: for the report.
        classes: names of the classes, for the report and as a check on the number of logits.
        progress: called with the stage and the share of the work that is done, as the work goes on.
        cache: a folder for outcomes, so that an audit that was killed goes on where it was; it is emptied in the end.
            Attacks that are not of this library, or on networks of yours, are run again.

    Raises:
        ValueError: the images, labels or epsilon are not as stated, the model does not return finite logits, the
            surrogate does not return as many or gives no gradients, or the reference or another attack cannot be called
            as one, returns no images, or leaves the ball or [0, 1].

    Example:
        >>> from unmask.data import load
        >>> from unmask.models import build
        >>> digits = load("digits", "test")
        >>> model = build("linear", inputs=(1, 8, 8), classes=10)
        >>> audit(model, digits.images, digits.labels, epsilon=0.1).verdict
        'inconclusive'
    """
    context = prepare(
        model,
        images,
        labels,
        epsilon=epsilon,
        reference=reference,
        attacks=attacks,
        surrogate=surrogate,
        device=device,
        batch_size=batch_size,
        budget=budget,
        effort=effort,
        seed=seed,
        classes=None if classes is None else len(classes),
        progress=progress,
        cache=cache,
    )
    evaluator, probes = context.evaluator, _applicable(context)
    evaluator.clock.expected = _expected_cost(context, probes) * len(evaluator.images)
    clean, claimed = (evaluator.run(trial) for trial in (context.trials.clean, context.trials.claimed))
    findings = []
    for probe in probes:
        try:
            if evaluator.clock.late:
                raise OutOfTimeError(probe.name)
            findings.append(probe(context))
        except OutOfTimeError:
            evaluator.not_run.append(Omission(probe.name, NO_TIME, open=True))
        except RefusedError as error:
            reason = f"the reference attack fails when it is changed: {error}"
            evaluator.not_run.append(Omission(probe.name, reason))
    search.search(context, findings)
    drawn = [] if evaluator.clock.late else curves.curves_of(context)
    if not drawn:
        evaluator.not_run.append(Omission("curves over epsilon", NO_TIME))
    evaluator.clock.close()
    report = _report(context, clean, claimed, findings, drawn, model_name, data_name, classes)
    if evaluator.cache:
        evaluator.cache.clear()
    return report


def _applicable(context: Context) -> list[Probe]:
    """Return the probes that can be asked of this model; note those that cannot."""
    asked = []
    for probe in probes_for(context):
        reason = probe.skip(context) if context.gradients or not probe.needs_gradients else "no gradients"
        if reason is None:
            asked.append(probe)
        elif reason:
            context.evaluator.not_run.append(Omission(probe.name, reason, open=reason == "no gradients"))
    return asked


def _expected_cost(context: Context, probes: Sequence[Probe]) -> float:
    """Return the gradients per image that the audit takes where no symptom is present."""
    shown = min(context.effort.shown / len(context.evaluator.images), 1.0)
    run = {trial for probe in probes for trial in probe.trials(context)}
    return sum(trial.cost for trial in run) + search.expected_cost(context) + shown * curves.expected_cost(context)


def _report(
    context: Context,
    clean: Outcome,
    claimed: Outcome,
    findings: Sequence[Finding],
    drawn: Sequence[Curve],
    model_name: str,
    data_name: str,
    names: Sequence[str] | None,
) -> Report:
    """Decide, and put everything into one report."""
    evaluator, audited, withstood = context.evaluator, context.audited, claimed.correct.tolist()
    images, labels, worst = evaluator.images, evaluator.labels, evaluator.worst
    if audited.random:
        anew = partial(_drawn_anew, context)
        worst = evaluated_again(worst, claimed.images, images, anew)
        clean, claimed = anew(images), anew(claimed.images)
    correct = {"clean": clean.correct, "claimed": claimed.correct, "robust": worst.correct}
    shares = {name: _share(right) for name, right in correct.items()}
    attacks = [_result(entry) for entry in evaluator.entries[1:]]
    called = [attack.name for attack in attacks]
    packed = pack(adversarial_examples(worst, images, labels), epsilon=context.epsilon, attacks=called)
    shown = examples(images, labels, clean, claimed, worst, attacks=called, classes=names)
    rows = [one.index for one in shown[:SURFACES]] if context.gradients else []
    return Report(
        model_name=model_name,
        data_name=data_name,
        samples=len(labels),
        classes=audited.classes,
        epsilon=context.epsilon,
        reference=Trial(name="reference attack", attacks=(context.reference,)).settings,
        **shares,
        decision=_verdict(context, findings, withstood, clean=shares["clean"], robust=shares["robust"]),
        findings=findings,
        attacks=attacks,
        curves=drawn,
        histograms=[log_odds_histogram((-clean.loss).tolist())],
        examples=shown,
        surfaces=loss_surfaces(context, rows),
        notes=[*audited.notes, *_shortened(context)],
        seconds=evaluator.clock.spent(),
        seed=context.seed,
        environment=environment(torch.device(evaluator.batches.device or "cpu"), images.dtype),
        correct={name: right.tolist() for name, right in correct.items()},
        images_digest=context.images_digest,
        adversarial_examples_digest=hashlib.sha256(packed).hexdigest(),
        not_run={one.name: one.reason for one in evaluator.not_run},
        adversarial_examples=packed,
        images_given=context.images_given if context.images_given > len(labels) else 0,
    )


def _verdict(
    context: Context, findings: Sequence[Finding], withstood: Sequence[bool], *, clean: Proportion, robust: Proportion
) -> Verdict:
    """Apply the rule; ``withstood`` says of each example whether it was right under the reference attack when run."""
    not_run = {one.name: one.reason for one in context.evaluator.not_run if one.open}
    known: dict[str, Any] = {"clean": clean, "robust": robust, "not_run": not_run}
    return decide(findings, classes=context.classes, claimed=withstood, **known)


def _drawn_anew(context: Context, images: Tensor) -> Outcome:
    """Evaluate images by the mean over draws that no attack was judged by, of a model that answers at random."""
    mean = EOT(context.model, draws=FRESH_DRAWS)
    (logits,) = context.evaluator.measure(lambda x, y: logits_of(mean, x, seed=1), images=images)
    return Outcome.of(images, logits, context.evaluator.labels)


def _shortened(context: Context) -> list[str]:
    """Return notes on what was measured on part of the images."""
    audited, given, shown = len(context.evaluator.labels), context.images_given, context.effort.shown
    part = [f"{audited} of the {given} images were audited."] if audited < given else []
    return part + ([f"The curves over epsilon rest on {shown} of the images."] if audited > shown else [])


def _result(entry: Entry) -> AttackResult:
    correct = entry.outcome.correct
    return AttackResult(
        name=entry.trial.name,
        settings=entry.trial.settings,
        correct=correct.tolist(),
        accuracy=_share(correct),
        rows=[] if entry.rows is None else entry.rows.tolist(),
    )


def _share(correct: Tensor) -> Proportion:
    return proportion(int(correct.sum()), len(correct))
