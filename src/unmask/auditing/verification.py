"""The verification of an audit: its adversarial examples, replayed on the model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from unmask.attacks import EOT, logits_of
from unmask.auditing.preflight import chosen, preflight
from unmask.auditing.runner import FRESH_DRAWS
from unmask.data.dataset import images_digest
from unmask.numerics import Batches, Model
from unmask.reports import AuditRecord, Report
from unmask.reports.adversarial_examples import AdversarialExamples, read, unpack
from unmask.reports.replay import Replay, replay
from unmask.statistics import Proportion

__all__ = ["Verification", "verify"]


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The result of ``verify``.

    Attributes:
        holds: every adversarial example is one, so that the robust accuracy is at most the report's.
        reason: the first contradiction in words; empty where there is none.
        robust: the report's robust accuracy.
        examples: the number of adversarial examples.
        inside, valid, fooled: the numbers of them within epsilon of the clean image, in [0, 1], and misclassified.
        random: the model answers at random; its mean over draws was taken, which are others than the audit's.

    Example:
        >>> share = Proportion(count=9, total=10, low=0.55, high=0.99)
        >>> found = Verification(holds=True, reason="", robust=share, examples=1, inside=1, valid=1, fooled=1)
        >>> found.holds
        True
    """

    holds: bool
    reason: str
    robust: Proportion
    examples: int
    inside: int
    valid: int
    fooled: int
    random: bool = False


def verify(
    report: AuditRecord | str | os.PathLike[str],
    model: Model,
    images: Tensor | None = None,
    labels: Tensor | None = None,
    adversarial_examples: str | os.PathLike[str] | bytes | None = None,
    *,
    device: str | torch.device | None = None,
    batch_size: int = 128,
    classes: Sequence[str] | None = None,
) -> Verification:
    """Replay an audit's adversarial examples on a model: this confirms its robust accuracy as an upper bound.

    Each must lie within epsilon of the clean image and in [0, 1], and must be misclassified. Nothing else in the
    report is confirmed.

    Args:
        report: what ``audit`` returned, or the path of its JSON.
        model: as for ``audit``.
        images: those that were audited, or those that the audit drew them from; by default the clean images that lie
            beside the adversarial ones.
        labels: theirs, int64 (N,).
        adversarial_examples: their file or its bytes; by default the report's own, or ``report.safetensors`` beside
            ``report.json``.
        device: where to work; by default where the model is.
        batch_size: images at once; halved by itself when memory runs out.
        classes: names of the classes, for ``reason``; by default their numbers.

    Raises:
        ValueError: the report or the file is damaged, edited or another's; the images are not those that were audited;
            or the model does not return one finite logit per class.

    Example:
        >>> import unmask
        >>> images, labels = torch.tensor([[0.9, 0.1], [0.6, 0.4]]).view(2, 1, 1, 2), torch.tensor([0, 0])
        >>> report = unmask.audit(nn.Flatten(), images, labels, epsilon=0.2, effort=unmask.QUICK)
        >>> verify(report, nn.Flatten()).fooled, verify(report, nn.Flatten(), images, labels).holds
        (1, True)
    """
    record = report if isinstance(report, AuditRecord) else Report.from_json(report)
    examples = _examples(report, record, adversarial_examples)
    total = len(examples.index)
    if not total:
        return Verification(holds=True, reason="", robust=record.robust, examples=0, inside=0, valid=0, fooled=0)
    clean, truth = _originals(record, examples, images, labels)
    found, random = _replayed(model, clean, truth, examples, record, Batches(batch_size, _device(model, device)))
    counts = {name: int(getattr(found, name).sum()) for name in ("inside", "valid", "fooled")}
    if random and record.samples - counts["fooled"] <= record.robust.high * record.samples:
        found = found._replace(fooled=found.fooled | True)  # as many as the report's interval has room for
    wrong = ~(found.inside & found.valid & found.fooled)
    reason = ""
    if wrong.any():
        names = classes or [str(number) for number in range(record.classes)]
        reason = _contradiction(int(wrong.double().argmax()), found, examples, names[int(truth[wrong][0])], record)
    return Verification(holds=not reason, reason=reason, robust=record.robust, examples=total, random=random, **counts)


def _examples(
    report: AuditRecord | str | os.PathLike[str],
    record: AuditRecord,
    given: str | os.PathLike[str] | bytes | None,
) -> AdversarialExamples:
    """Return the adversarial examples: those that were given, else the report's own, else those beside its JSON."""
    if given is None and isinstance(report, Report):
        given = report.adversarial_examples or None
    if given is None and not isinstance(report, AuditRecord):
        given = Path(report).with_suffix(".safetensors")
    if given is None:
        raise ValueError("adversarial examples: expected their file beside a report read from JSON, got none")
    return unpack(given, record) if isinstance(given, bytes) else read(Path(given), record)


def _originals(
    record: AuditRecord, examples: AdversarialExamples, images: Tensor | None, labels: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the clean images and labels: the user's, if they are those that were audited, or the file's own."""
    if images is None:
        return examples.clean.float(), examples.labels
    if labels is None:
        raise ValueError("labels: expected a tensor (N,) beside the images, got none")
    images, labels = images.detach().cpu(), labels.cpu()
    if len(images) == record.images_given:
        rows = chosen(images, record.samples, record.seed)
        images, labels = images[rows], labels[rows]
    if images_digest(images, labels) != record.images_digest:
        raise ValueError(
            f"images: expected the {record.samples} that were audited ({record.data_name}), got others; are they of "
            "the same split?"
        )
    return images[examples.index], labels[examples.index]


def _replayed(
    model: Model, clean: Tensor, labels: Tensor, examples: AdversarialExamples, record: AuditRecord, batches: Batches
) -> tuple[Replay, bool]:
    """Check the model as an audit does, then replay; the second value is True for a model that answers at random."""
    audited = preflight(model, clean, labels, batches=batches, classes=record.classes)
    dtype = audited.images.dtype
    if examples.adversarial.dtype != dtype:
        raise ValueError(
            f"adversarial examples: expected images in the model's precision, {dtype}, got "
            f"{examples.adversarial.dtype}; a coarser one would hide how far pixels were moved"
        )
    judge = EOT(audited.model, draws=FRESH_DRAWS) if audited.random else model

    def replayed(rows: Tensor, _: Tensor) -> Replay:
        rows = rows.cpu()
        return replay(
            lambda images: logits_of(judge, images.to(batches.device, dtype), seed=1),
            clean[rows],
            examples.adversarial[rows],
            labels[rows],
            epsilon=record.epsilon,
            batch_size=len(rows),
        )

    every = torch.arange(len(labels))
    return Replay(*batches(replayed, every, every)), audited.random


def _contradiction(row: int, found: Replay, examples: AdversarialExamples, label: str, record: AuditRecord) -> str:
    """Say what is wrong with the example in this row."""
    attack = int(examples.attack[row])
    name = f"image {int(examples.index[row])}, found by {record.attacks[attack].name if attack >= 0 else 'no attack'},"
    if not found.inside[row]:
        return f"{name} has a pixel that moved by {found.moved[row]:.6g}, more than epsilon {record.epsilon:.6g}"
    if not found.valid[row]:
        return f"{name} has pixels outside [0, 1]"
    first, second = found.logits[row].topk(2).values.tolist()
    return f"{name} is classified correctly, as {label}, with a logit {first - second:.3g} above the next"


def _device(model: Model, device: str | torch.device | None) -> torch.device:
    """Return the device as asked for, else the model's, else the CPU."""
    here = next((one.device for one in model.parameters()), None) if isinstance(model, nn.Module) else None
    return torch.device(device) if device is not None else here or torch.device("cpu")
