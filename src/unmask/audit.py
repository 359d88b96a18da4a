"""The audit: attack a model in several ways, ask each probe, decide, and put everything into one report."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unmask.attacks import FGSM, FRSM, PGD, Attack, Outcome, Square, Trial
from unmask.evidence import Worst, collect, digest, pack
from unmask.exhibits import environment, log_odds_histogram, loss_surfaces, specimens
from unmask.losses import cross_entropy
from unmask.numerics import Batches, Model, derive_seed
from unmask.probes.battery import QUERIES, Battery
from unmask.probes.sweep import accuracy_curve
from unmask.record import AttackResult, Curve, Proportion
from unmask.report import Report
from unmask.subject import Subject, examine, gather
from unmask.threat import parse_epsilon
from unmask.verdict import decide, proportion

Progress = Callable[[str, float], None]
"""Called with what is being done, and the share of all work that has been done, in [0, 1]."""

GRID = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
CURVE_IMAGES = 200
CURVE_STEPS = 10
CURVE_QUERIES = 100
SURFACES = 3
"""The curves over epsilon are drawn for fewer images, steps and queries: they show a shape, and decide nothing."""


def audit(
    model: Model,
    images: Tensor | Iterable[tuple[Tensor, Tensor]],
    labels: Tensor | None = None,
    *,
    epsilon: float | str,
    reference: Attack | None = None,
    device: str | torch.device | None = None,
    batch_size: int = 128,
    seed: int = 0,
    subject: str = "model",
    data: str = "images",
    classes: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Tell whether a classifier's robustness is real, and how much accuracy is left once the attack is repaired.

    Args:
        model: takes images (N, C, H, W) in [0, 1] to logits (N, K); normalisation lives inside it. On a module, modes
            and parameters are left as they were.
        images: a tensor with ``labels`` beside it, or any iterable of (images, labels) batches.
        epsilon: the L-infinity bound in [0, 1], also as ``"8/255"``.
        reference: the attack whose claim is audited; by default FGSM with cross entropy, or Square for a model that
            gives no gradients.
        device: where to work; by default where the model is.
        batch_size: how many images at once; halved by itself when memory runs out.
        classes: names of the classes, for the report and as a check on the number of logits.
        progress: called as the work goes on.

    Raises:
        ValueError: the images, labels or epsilon are not as stated, the model does not return finite logits, or the
            reference attack leaves the ball or [0, 1].

    Example:
        >>> from unmask.data import load
        >>> from unmask.models import build
        >>> digits = load("digits", "test")
        >>> model = build("linear", inputs=(1, 8, 8), classes=10)
        >>> audit(model, digits.images, digits.labels, epsilon=0.1).verdict
        'inconclusive'
    """
    started = time.perf_counter()
    bound = parse_epsilon(epsilon)
    batches = Batches(size=batch_size, device=_device(model, device))
    known = None if classes is None else len(classes)
    images, labels = gather(images, labels)
    audited = examine(model, images, labels, batches=batches, classes=known)
    task = (audited.model, audited.images, audited.labels)
    reference = reference or _usual_reference(bound, audited.gradients, seed)
    battery = Battery(
        reference, epsilon=bound, classes=audited.classes, seed=seed, batches=batches, gradients=audited.gradients
    )
    curves, worst = _attack(battery, reference, audited, bound, seed, batches, progress)
    findings = [probe(*task) for probe in battery.probes]
    clean, claimed = battery.clean(*task), battery.claimed(*task)
    correct = {"clean": clean.correct, "claimed": claimed.correct, "worst case": worst.correct}
    shares = {name: _share(held) for name, held in correct.items()}
    attacks = [_result(trial, trial(*task)) for trial, _ in battery.trials[1:]]
    names = [attack.name for attack in attacks]
    evidence = pack(collect(worst, audited.images, audited.labels), epsilon=bound, attacks=names)
    shown = specimens(audited.images, audited.labels, clean, claimed, worst, attacks=names, classes=classes)
    few = [one.index for one in shown[:SURFACES]] if audited.gradients else []
    return Report(
        subject=subject,
        data=data,
        samples=len(labels),
        classes=audited.classes,
        epsilon=bound,
        reference=battery.claimed.settings,
        clean=shares["clean"],
        claimed=shares["claimed"],
        robust=shares["worst case"],
        decision=decide(
            findings,
            clean=shares["clean"],
            classes=audited.classes,
            claimed=claimed.correct.tolist(),
            not_run=battery.not_run,
            left=shares["worst case"],
        ),
        findings=findings,
        attacks=attacks,
        curves=curves,
        histograms=[log_odds_histogram((-clean.loss).tolist())],
        specimens=shown,
        surfaces=loss_surfaces(*task, rows=few, epsilon=bound, seed=seed, batches=batches),
        notes=[*audited.notes, *_shortened(len(labels))],
        seconds=time.perf_counter() - started,
        seed=seed,
        environment=environment(torch.device(batches.device or "cpu"), audited.images.dtype),
        correct={name: held.tolist() for name, held in correct.items()},
        images_digest=digest(images, labels),
        evidence_digest=hashlib.sha256(evidence).hexdigest(),
        not_run=battery.not_run,
        evidence=evidence,
    )


def _usual_reference(epsilon: float, gradients: bool, seed: int) -> Attack:
    """What people take: one step along the gradient, or a search where there is none."""
    blunt, search = FGSM(epsilon=epsilon, loss=cross_entropy), Square(epsilon=epsilon, queries=QUERIES, seed=seed)
    return blunt if gradients else search


def _attack(
    battery: Battery,
    reference: Attack,
    audited: Subject,
    epsilon: float,
    seed: int,
    batches: Batches,
    progress: Progress | None,
) -> tuple[list[Curve], Worst]:
    """Run every trial once, so that the probes only have to recall it, and draw the curves; report how far it is.

    Of all the images that the trials find, only the worst of each example are kept.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "curves"))
    few = torch.randperm(len(audited.labels), generator=generator)[:CURVE_IMAGES]
    epsilons = sorted({*GRID, epsilon})
    shown = _shown(reference, epsilon, audited.gradients)
    whole = sum(cost for _, cost in battery.trials) * len(audited.labels)
    meter = _Meter(batches, progress, whole + sum(cost for _, cost in shown.values()) * len(epsilons) * len(few))

    def run(trial: Trial, cost: float) -> Outcome:
        meter.begin(trial.name, cost)
        outcome = trial(audited.model, audited.images, audited.labels)
        if trial is battery.claimed:
            _check_reach(outcome.images, audited.images, epsilon)
        return outcome

    first, *others = battery.trials
    worst = Worst(run(*first))
    for pair in others:
        worst.add(run(*pair))
    task, curves = (audited.model, audited.images[few], audited.labels[few]), []
    for name, (attack, cost) in shown.items():
        meter.begin(f"{name}, over epsilon", len(epsilons) * cost)
        curves.append(accuracy_curve(name, attack, *task, epsilons=epsilons, batches=batches))
    meter.end()
    return curves, worst


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


class _Meter:
    """Tells how much of the whole work, in gradients, has been done."""

    def __init__(self, batches: Batches, progress: Progress | None, whole: float) -> None:
        self.batches, self.progress, self.whole = batches, progress, whole
        self.done = 0.0

    def begin(self, stage: str, cost: float) -> None:
        """From here on each image that the batches finish has cost so many gradients."""

        def advance(rows: int) -> None:
            self.done += rows * cost / self.whole
            if self.progress:
                self.progress(stage, min(self.done, 1.0))

        self.batches.progress = advance

    def end(self) -> None:
        self.batches.progress = None


def _check_reach(found: Tensor, images: Tensor, epsilon: float) -> None:
    """Refuse a reference attack that is allowed more than the audit: its images would count for the worst case."""
    moved, (low, high) = float((found - images).abs().max()), found.aminmax()
    rounding = max(1e-6, 2 * torch.finfo(images.dtype).eps)
    if not (moved <= epsilon + rounding and low >= 0 and high <= 1):
        raise ValueError(
            f"reference: expected images in [0, 1] within epsilon {epsilon:.6g}, got pixels moved by {moved:.6g} and "
            f"in [{low:.4g}, {high:.4g}]; give the attack the epsilon of the audit"
        )


def _shortened(total: int) -> list[str]:
    """What was measured on part of the images."""
    return [f"The curves over epsilon rest on {CURVE_IMAGES} of the images."] if total > CURVE_IMAGES else []


def _result(trial: Trial, outcome: Outcome) -> AttackResult:
    correct = outcome.correct
    return AttackResult(name=trial.name, settings=trial.settings, correct=correct.tolist(), accuracy=_share(correct))


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
