"""The audit: attack a model in several ways, ask each probe, decide, and put everything into one report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unmask.attacks import FGSM, FRSM, PGD, Attack
from unmask.exhibits import environment, log_odds_histogram, specimens
from unmask.losses import cross_entropy
from unmask.numerics import Batches, Model, derive_seed
from unmask.probes.battery import Battery
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
"""The curves over epsilon are drawn for fewer images and steps: they show a shape, and decide nothing."""


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
        reference: the attack whose claim is audited; by default FGSM with cross entropy.
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
    audited = examine(model, *gather(images, labels), batches=batches, classes=known)
    task = (audited.model, audited.images, audited.labels)
    reference = reference or FGSM(epsilon=bound, loss=cross_entropy)
    battery = Battery(reference, epsilon=bound, classes=audited.classes, seed=seed, batches=batches)
    curves = _attack(battery, reference, audited, bound, seed, batches, progress)
    findings = [probe(*task) for probe in battery.probes]
    outcomes = {trial.name: trial(*task) for trial, _ in battery.trials}
    held = torch.stack([outcome.correct for outcome in outcomes.values()])
    return Report(
        subject=subject,
        data=data,
        samples=len(audited.labels),
        classes=audited.classes,
        epsilon=bound,
        reference=battery.claimed.settings,
        clean=_share(held[0]),
        claimed=_share(held[1]),
        robust=_share(held.all(0)),
        decision=decide(findings, clean=_share(held[0]), classes=audited.classes, claimed=held[1].tolist()),
        findings=findings,
        attacks=[
            AttackResult(
                name=trial.name,
                settings=trial.settings,
                correct=outcomes[trial.name].correct.tolist(),
                accuracy=_share(outcomes[trial.name].correct),
            )
            for trial, _ in battery.trials[1:]
        ],
        curves=curves,
        histograms=[log_odds_histogram(findings[0].evidence["log odds"])],
        specimens=specimens(audited.images, audited.labels, outcomes, classes=classes),
        notes=[*audited.notes, *_shortened(len(audited.labels))],
        seconds=time.perf_counter() - started,
        seed=seed,
        environment=environment(torch.device(batches.device or "cpu"), audited.images.dtype),
    )


def _attack(
    battery: Battery,
    reference: Any,
    audited: Subject,
    epsilon: float,
    seed: int,
    batches: Batches,
    progress: Progress | None,
) -> list[Curve]:
    """Run every trial once, so that the probes only have to recall it, and draw the curves; report how far it is."""
    shown: dict[str, Any] = {"reference attack": reference} if hasattr(reference, "sweep") else {}
    shown |= {
        "one step, log-odds": FGSM(epsilon=epsilon),
        f"{CURVE_STEPS} steps": PGD(epsilon=epsilon, steps=CURVE_STEPS),
        "random signs": FRSM(epsilon=epsilon),
    }
    epsilons = sorted({*GRID, epsilon})
    generator = torch.Generator().manual_seed(derive_seed(seed, "curves"))
    few = torch.randperm(len(audited.labels), generator=generator)[:CURVE_IMAGES]
    images, labels = audited.images[few], audited.labels[few]
    costs = {name: len(epsilons) * (CURVE_STEPS if isinstance(attack, PGD) else 0.5) for name, attack in shown.items()}
    whole = sum(cost for _, cost in battery.trials) * len(audited.labels) + sum(costs.values()) * len(labels)
    done = 0.0

    def advance(stage: str, cost: float) -> Callable[[int], None]:
        def report(rows: int) -> None:
            nonlocal done
            done += rows * cost / whole
            if progress:
                progress(stage, min(done, 1.0))

        return report

    for trial, cost in battery.trials:
        batches.progress = advance(trial.name, cost)
        outcome = trial(audited.model, audited.images, audited.labels)
        if trial is battery.claimed:
            _check_reach(outcome.images, audited.images, epsilon)
    curves = []
    for name, attack in shown.items():
        batches.progress = advance(f"{name}, over epsilon", costs[name])
        curves.append(accuracy_curve(name, attack, audited.model, images, labels, epsilons=epsilons, batches=batches))
    batches.progress = None
    return curves


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
