"""The audit of a pair whose truth is recorded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from unmask.auditing import audit
from unmask.models import digest
from unmask_experiments.sweeps import finite, read_run, record_of
from unmask_experiments.zoo.cases import Case
from unmask_experiments.zoo.networks import audited_images, batches, trained_network
from unmask_experiments.zoo.worst_case import as_text


def truth_of(case: Case, folder: Path) -> dict[str, Any]:
    """Read the record of a pair's truth and check it.

    Raises:
        ValueError: there is none, or it was changed.
    """
    path = record_of(folder / "truth", case)
    if not path.is_file():
        raise ValueError(f"{path}: expected the truth of {case.name} before its audit, found none")
    return read_run(path)


def audit_pair(
    case: Case, *, work: Path, progress: Callable[[float], None] = lambda share: None, folder: Path
) -> dict[str, Any]:
    """Audit a pair; return the answers with the digest of the truth that was recorded before.

    Raises:
        ValueError: its truth is missing, was changed, is of other weights, or leaves the pair out.
    """
    truth = truth_of(case, folder)
    if truth["result"]["truth"] == "excluded":
        raise ValueError(f"{case.name}: expected a pair whose truth is decided, got one that is left out")
    network = trained_network(case, work)
    if (weights := digest(network)) != truth["result"]["weights"]:
        raise ValueError(f"{case.name}: expected the weights {truth['result']['weights']} of its truth, got {weights}")
    data, cut = audited_images(case.data, case.images), batches()
    report = audit(
        case.published(network),
        data.images,
        data.labels,
        epsilon=case.epsilon,
        reference=case.attack(),
        batch_size=cut.size,
        device=cut.device,
        seed=case.seed,
        model_name=case.name,
        data_name=case.data,
        progress=lambda stage, share: progress(share),
    )
    found: dict[str, Any] = finite(
        {
            "truth": truth["digest"],
            "weights": weights,
            "verdict": report.verdict,
            "causes": list(report.causes),
            "weaknesses": [one.name for one in report.decision.weaknesses],
            "reason": report.decision.reason,
            "clean": report.clean.count,
            "claimed": report.claimed.count,
            "robust": report.robust.count,
            "images": report.samples,
            "seconds": round(report.seconds, 1),
            "not_run": sorted(report.not_run),
            "symptoms": {one.name: [float(f"{one.value:.4g}"), one.fired] for one in report.findings},
            "worst": as_text(report.correct["robust"]),
        }
    )
    return found
