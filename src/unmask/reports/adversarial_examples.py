"""Evidence that travels: the worst image found of each example, in a file that anyone can replay on the model."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from unmask.attacks import Outcome
from unmask.reports.record import AuditRecord

FORMAT = "unmask-evidence/1"


class Worst:
    """The worst image of each example over several attacks: misclassified before classified correctly, then by margin.

    Of several that fool the model the one with the highest margin is kept, so that another machine's rounding does
    not undo it. What is misclassified without any attack stays as it is.

    Attributes:
        images: (N, C, H, W); ``predictions`` (N,) on them; ``correct`` (N,) bool.
        attack: which outcome each came from, by number; the first, 0, is no attack.

    Example:
        >>> images, label = torch.zeros(1, 1, 1, 2), torch.tensor([0])
        >>> worst = Worst(Outcome.of(images, torch.tensor([[1.0, 0.0]]), label))
        >>> worst.add(Outcome.of(images + 0.25, torch.tensor([[0.0, 1.0]]), label))
        >>> worst.attack.item(), worst.images.flatten().tolist()
        (1, [0.25, 0.25])
    """

    def __init__(self, clean: Outcome) -> None:
        self.images, self.predictions, self.correct = (part.clone() for part in clean[:3])
        self._margin = clean.margin.clone()
        self.attack = torch.zeros_like(self.predictions)
        self._right = clean.correct
        self._added = 0

    def add(self, outcome: Outcome, rows: Tensor | None = None) -> None:
        """Take what this attack did worse than those before; ``rows`` are the examples attacked, by default all."""
        self._added += 1
        rows = torch.arange(len(self.correct)) if rows is None else rows
        stood = self.correct[rows]
        worse = (stood & ~outcome.correct) | ((stood == outcome.correct) & (outcome.margin > self._margin[rows]))
        new = (worse & self._right[rows]).nonzero().squeeze(1)
        for held, found in (
            (self.images, outcome.images),
            (self.predictions, outcome.predictions),
            (self.correct, outcome.correct),
            (self._margin, outcome.margin),
        ):
            held[rows[new]] = found[new]
        self.attack[rows[new]] = self._added

    def nearest(self, share: float, *, among: Tensor) -> Tensor:
        """The numbers, rising, of those nearest to the boundary by their margin, of the examples that ``among`` marks.

        They are at most that share of all examples.

        Example:
            >>> logits, label = torch.tensor([[9.0, 0.0], [0.5, 0.0]]), torch.tensor([0, 0])
            >>> worst = Worst(Outcome.of(torch.zeros(2, 1, 1, 2), logits, label))
            >>> worst.nearest(0.5, among=worst.correct)
            tensor([1])
        """
        rows = among.nonzero().flatten()
        nearest = self._margin[rows].abs().argsort(stable=True)[: math.ceil(share * len(among))]
        return rows[nearest].sort().values


def reexamined(worst: Worst, claimed: Tensor, images: Tensor, examine: Callable[[Tensor], Outcome]) -> Worst:
    """The worst of each example when all is looked at once more, by ``examine``: image, claimed image, worst image.

    For models that answer at random: the worst over many attacks is also the unluckiest of as many draws, and this
    takes the luck out of it.

    Example:
        >>> images, label, right, wrong = torch.zeros(1, 1, 1, 2), torch.tensor([0]), *torch.eye(2).split(1)
        >>> worst = Worst(Outcome.of(images, right, label))
        >>> worst.add(Outcome.of(images + 0.5, wrong, label))
        >>> lucky = lambda found: Outcome.of(found, right, label)
        >>> worst.correct.item(), reexamined(worst, images, images, lucky).correct.item()
        (False, True)
    """
    anew = Worst(examine(images))
    for found in (claimed, worst.images):
        anew.add(examine(found))
    anew.attack = torch.where(anew.attack == 2, worst.attack, anew.attack)
    return anew


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The examples that fooled the model, M of them.

    Attributes:
        index: their places among the audited images, rising.
        clean, adversarial: (M, C, H, W); equal where the model erred without an attack.
        labels, predictions: classes, int64 (M,).
        attack: which of the report's attacks found each, int64 (M,); -1 is none.
    """

    index: Tensor
    clean: Tensor
    adversarial: Tensor
    labels: Tensor
    predictions: Tensor
    attack: Tensor


def collect(worst: Worst, images: Tensor, labels: Tensor) -> Evidence:
    """What fooled the model, next to the clean images.

    Example:
        >>> images, label = torch.zeros(1, 1, 1, 2), torch.tensor([0])
        >>> worst = Worst(Outcome.of(images, torch.tensor([[0.0, 0.5]]), label))
        >>> collect(worst, images, label).attack
        tensor([-1])
    """
    index = (~worst.correct).nonzero().squeeze(1)
    return Evidence(
        index=index,
        clean=images[index],
        adversarial=worst.images[index],
        labels=labels[index],
        predictions=worst.predictions[index],
        attack=worst.attack[index] - 1,
    )


def pack(evidence: Evidence, *, epsilon: float, attacks: Sequence[str]) -> bytes:
    """The evidence as a safetensors file, the same bytes for the same evidence.

    Example:
        >>> nothing = torch.zeros(0, dtype=torch.int64)
        >>> images = torch.zeros(0, 1, 8, 8)
        >>> evidence = Evidence(
        ...     index=nothing, clean=images, adversarial=images, labels=nothing, predictions=nothing, attack=nothing
        ... )
        >>> pack(evidence, epsilon=0.1, attacks=["FGSM"]) == pack(evidence, epsilon=0.1, attacks=["FGSM"])
        True
    """
    # One entry: of several, safetensors does not fix the order.
    note = json.dumps({"format": FORMAT, "epsilon": epsilon, "attacks": list(attacks)})
    tensors = {one.name: getattr(evidence, one.name).contiguous() for one in fields(evidence)}
    return safetensors.torch.save(tensors, metadata={"unmask": note})


def read(path: Path, record: AuditRecord) -> Evidence:
    """The evidence of a report, if the file is the one that the report names and both say the same.

    Raises:
        ValueError: the report names none, the file is missing, or it is damaged, edited or another report's.
    """
    if not record.evidence_digest:
        raise ValueError(f"{path}: the report names no evidence; audit again, with this version of unmask")
    if not path.is_file():
        raise ValueError(f"{path}: no such file; expected the evidence beside the report, or named by --evidence")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != record.evidence_digest:
        raise ValueError(
            f"{path}: expected the evidence that the report names (SHA-256 {record.evidence_digest[:12]}...), got "
            f"{found[:12]}...: it is damaged, edited, or of another audit"
        )
    try:
        evidence = Evidence(**safetensors.torch.load(content))
    except Exception as error:  # what is no such file can make the reader raise almost anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path}: expected evidence ({FORMAT}), got {reason}") from error
    for expected, wrong in _problems(evidence, record):
        if wrong:
            raise ValueError(f"{path}: expected {expected}; the evidence or the report was edited")
    return evidence


def _problems(evidence: Evidence, record: AuditRecord) -> Iterator[tuple[str, bool]]:
    """What must hold of evidence and its report, and whether it does not: who edits a file can also edit its digest."""
    index, clean, count = evidence.index, evidence.clean, record.samples - record.robust.count
    whole = (index, evidence.labels, evidence.predictions, evidence.attack)
    yield f"{count} examples that fooled the model, as the report says", len(clean) != count
    yield "floating images (M, C, H, W)", clean.ndim != 4 or not clean.is_floating_point()
    yield "an adversarial image like each clean one", _kind(evidence.adversarial) != _kind(clean)
    yield "one whole number per example", any(_kind(one) != ((count,), torch.int64) for one in whole)
    yield "rising places among the images", bool((index.diff() <= 0).any()) or not _among(index, 0, record.samples)
    yield "labels among the classes", not _among(evidence.labels, 0, record.classes)
    yield "attacks of the report", not _among(evidence.attack, -1, len(record.attacks))


def _kind(tensor: Tensor) -> tuple[tuple[int, ...], torch.dtype]:
    return tuple(tensor.shape), tensor.dtype


def _among(values: Tensor, low: int, high: int) -> bool:
    return bool(((values >= low) & (values < high)).all())
