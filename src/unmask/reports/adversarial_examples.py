"""The adversarial examples of an audit, the worst of each image, in a file that anyone can replay on the model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from unmask.reports.record import AuditRecord

__all__ = ["AdversarialExamples", "pack", "read"]

FORMAT = "unmask-evidence/1"
"""The mark of the file. The name is from before version 0.2; it stays, so that the digests of equal examples do too."""


@dataclass(frozen=True, kw_only=True)
class AdversarialExamples:
    """The images that fooled a model, M of them.

    Attributes:
        index: their places among the audited images, rising, int64 (M,).
        clean, adversarial: (M, C, H, W); equal where the model erred without an attack.
        labels, predictions: classes, int64 (M,).
        attack: the number, among the report's attacks, of the one that found each, int64 (M,); -1 is none.

    Example:
        >>> one, images = torch.zeros(1, dtype=torch.int64), torch.zeros(1, 1, 8, 8)
        >>> found = AdversarialExamples(
        ...     index=one, clean=images, adversarial=images + 0.1, labels=one, predictions=one + 1, attack=one
        ... )
        >>> len(found.index)
        1
    """

    index: Tensor
    clean: Tensor
    adversarial: Tensor
    labels: Tensor
    predictions: Tensor
    attack: Tensor


def pack(examples: AdversarialExamples, *, epsilon: float, attacks: Sequence[str]) -> bytes:
    """Return adversarial examples as a safetensors file, the same bytes for the same examples.

    Example:
        >>> none, images = torch.zeros(0, dtype=torch.int64), torch.zeros(0, 1, 8, 8)
        >>> examples = AdversarialExamples(
        ...     index=none, clean=images, adversarial=images, labels=none, predictions=none, attack=none
        ... )
        >>> pack(examples, epsilon=0.1, attacks=["FGSM"]) == pack(examples, epsilon=0.1, attacks=["FGSM"])
        True
    """
    # One entry: of several, safetensors does not fix the order.
    note = json.dumps({"format": FORMAT, "epsilon": epsilon, "attacks": list(attacks)})
    tensors = {one.name: getattr(examples, one.name).contiguous() for one in fields(examples)}
    return safetensors.torch.save(tensors, metadata={"unmask": note})


def read(path: Path, record: AuditRecord) -> AdversarialExamples:
    """Return the adversarial examples of a report, if the file is the one that it names and both say the same.

    Raises:
        ValueError: the report names none, the file is missing, or it is damaged, edited or another report's.

    Example:
        >>> from types import SimpleNamespace
        >>> read(Path("none.safetensors"), SimpleNamespace(adversarial_examples_digest="0a"))
        Traceback (most recent call last):
        ValueError: none.safetensors: no such file; expected the adversarial examples that the audit saved
    """
    if not record.adversarial_examples_digest:
        raise ValueError(f"{path}: the report names no adversarial examples; audit again, with this version of unmask")
    if not path.is_file():
        raise ValueError(f"{path}: no such file; expected the adversarial examples that the audit saved")
    return unpack(path.read_bytes(), record, name=str(path))


def unpack(content: bytes, record: AuditRecord, *, name: str = "adversarial examples") -> AdversarialExamples:
    """Return the adversarial examples in the bytes of a file, checked as by ``read``.

    Args:
        name: where the bytes are from, for messages.

    Raises:
        ValueError: they are damaged, edited or another report's.

    Example:
        >>> from types import SimpleNamespace
        >>> unpack(b"", SimpleNamespace(adversarial_examples_digest="0a"), name="a file")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: a file: expected SHA-256 0a..., as the report says, got e3b0c44298fc...
    """
    expected, found = record.adversarial_examples_digest, hashlib.sha256(content).hexdigest()
    if found != expected:
        raise ValueError(
            f"{name}: expected SHA-256 {expected[:12]}..., as the report says, got {found[:12]}...; it is damaged, "
            "edited, or of another audit"
        )
    try:
        examples = AdversarialExamples(**safetensors.torch.load(content))
    except Exception as error:  # what is no such file can make the reader raise almost anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{name}: expected adversarial examples ({FORMAT}), got {reason}") from error
    for wanted, wrong in _problems(examples, record):
        if wrong:
            raise ValueError(f"{name}: expected {wanted}; the adversarial examples or the report were edited")
    return examples


def _problems(examples: AdversarialExamples, record: AuditRecord) -> Iterator[tuple[str, bool]]:
    """Yield what must hold of the examples and their report, and if it fails: an edited digest would fit."""
    index, clean, count = examples.index, examples.clean, record.samples - record.robust.count
    whole = (index, examples.labels, examples.predictions, examples.attack)
    yield f"{count} adversarial examples, as the report says", len(clean) != count
    yield "floating images (M, C, H, W)", clean.ndim != 4 or not clean.is_floating_point()
    yield "an adversarial image like each clean one", _kind(examples.adversarial) != _kind(clean)
    yield "one whole number per example", any(_kind(one) != ((count,), torch.int64) for one in whole)
    yield "rising places among the images", bool((index.diff() <= 0).any()) or not _among(index, 0, record.samples)
    yield "labels among the classes", not _among(examples.labels, 0, record.classes)
    yield "attacks of the report", not _among(examples.attack, -1, len(record.attacks))


def _kind(tensor: Tensor) -> tuple[tuple[int, ...], torch.dtype]:
    return tuple(tensor.shape), tensor.dtype


def _among(values: Tensor, low: int, high: int) -> bool:
    return bool(((values >= low) & (values < high)).all())
