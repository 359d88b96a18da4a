"""The record of an audit: everything that it measured, as plain values that go to JSON and back unchanged.

Standard library only: a record can be read, compared and drawn where torch is not installed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from unmask.files import write_atomically
from unmask.reports.values import AttackResult, Cause, Curve, Example, Finding, Histogram, Surface, Verdict
from unmask.statistics import Proportion

__all__ = [
    "FORMAT",
    "AttackResult",
    "AuditRecord",
    "Cause",
    "Curve",
    "Example",
    "Finding",
    "Histogram",
    "Surface",
    "Verdict",
    "revive",
]

FORMAT = "unmask-audit/2"
"""The first entry of a record's JSON."""

OLD_FORMAT = "unmask-audit/1"
"""That of the records of versions before 0.2; ``RENAMED`` translates them."""

ACCURACIES = {"clean": "clean_accuracy", "claimed": "claimed_accuracy", "robust": "robust_accuracy"}
"""The record's proportions, and their keys in JSON; the properties of these names are the shares alone."""

RENAMED: Mapping[str, Mapping[str, str]] = {
    "record": {
        "subject": "model_name",
        "data": "data_name",
        "specimens": "examples",
        "evidence_digest": "adversarial_examples_digest",
        "given": "images_given",
    },
    "findings": {"intervention": "remedy", "evidence": "values"},
    "correct": {"worst case": "robust"},
}
"""Keys of the old format and of this one: of the record itself, of each finding, and of ``correct``."""


@dataclass(frozen=True, kw_only=True)
class AuditRecord:
    """Everything that an audit measured.

    Attributes:
        model_name: the model that was audited, in the user's words.
        data_name: the name of the images.
        samples: the number of images that were audited.
        classes: the number of classes.
        epsilon: the L-infinity bound, images being in [0, 1].
        reference: the attack whose claim is audited.
        clean, claimed, robust: accuracy without attack, under the reference attack, and under all attacks that were
            run, each image counted by the worst of them.
        decision: the verdict with its reason, causes and weaknesses.
        findings, attacks, curves, histograms, examples: what was measured, in the order of the report.
        surfaces: the loss around a few of the examples; none for a model without gradients.
        notes: what the reader must know: repairs that were made, checks that could not run.
        seconds, seed: the time that the audit took, and the seed of its random numbers.
        environment: versions, device, precision, threads.
        correct: per example, classified correctly: ``"clean"``, ``"claimed"`` and ``"robust"``.
        images_digest: SHA-256 of the images and labels, by which two audits of the same images know each other.
        adversarial_examples_digest: SHA-256 of the file of adversarial examples.
        not_run: what could not be tried on this model, by name, with the reason.
        images_given: the number of images from which ``samples`` were drawn; 0 where all were audited.

    Example:
        >>> share = Proportion(count=9, total=10, low=0.55, high=0.99)
        >>> AuditRecord(
        ...     model_name="net", data_name="digits", samples=10, classes=10, epsilon=0.1, reference="FGSM",
        ...     clean=share, claimed=share, robust=share, decision=Verdict(answer="not masked", reason=""), findings=[],
        ...     attacks=[],
        ... ).verdict
        'not masked'
    """

    model_name: str
    data_name: str
    samples: int
    classes: int
    epsilon: float
    reference: str
    clean: Proportion
    claimed: Proportion
    robust: Proportion
    decision: Verdict
    findings: Sequence[Finding]
    attacks: Sequence[AttackResult]
    curves: Sequence[Curve] = ()
    histograms: Sequence[Histogram] = ()
    examples: Sequence[Example] = ()
    surfaces: Sequence[Surface] = ()
    notes: Sequence[str] = ()
    seconds: float = 0.0
    seed: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    correct: Mapping[str, Sequence[bool]] = field(default_factory=dict)
    images_digest: str = ""
    adversarial_examples_digest: str = ""
    not_run: Mapping[str, str] = field(default_factory=dict)
    images_given: int = 0

    @property
    def verdict(self) -> str:
        """``"masked"``, ``"not masked"`` or ``"inconclusive"``."""
        return self.decision.answer

    @property
    def causes(self) -> list[str]:
        """Names of the confirmed causes of masking, strongest first."""
        return [cause.name for cause in self.decision.causes]

    @property
    def clean_accuracy(self) -> float:
        """Accuracy without attack, in [0, 1]."""
        return self.clean.value

    @property
    def claimed_accuracy(self) -> float:
        """Accuracy under the reference attack alone, in [0, 1]."""
        return self.claimed.value

    @property
    def robust_accuracy(self) -> float:
        """Accuracy under all attacks that were run, in [0, 1]: an upper bound of the true robust accuracy."""
        return self.robust.value

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of ``robust_accuracy``."""
        return (self.robust.low, self.robust.high)

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write the record as JSON, whole or not at all."""
        values = asdict(self)
        own = {one.name: values[one.name] for one in fields(AuditRecord)}  # and not what a subclass adds
        shares = {key: {"value": getattr(self, key), **own.pop(name)} for name, key in ACCURACIES.items()}
        content = {"format": FORMAT, "verdict": self.verdict, "causes": self.causes, **shares, **own}
        write_atomically(Path(path), json.dumps(content, indent=1, allow_nan=False).encode() + b"\n")

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> Self:
        """Read a record that ``to_json`` wrote, in this version or an older one.

        Raises:
            ValueError: the file is not such a record, or its entries contradict each other.
        """
        try:
            raw = json.loads(Path(path).read_text())
            found = raw.pop("format")
            if found not in (FORMAT, OLD_FORMAT):
                raise ValueError(f"format {found!r}")
            said = _translate(raw) if found == OLD_FORMAT else _derived(raw)
            record = cls(**revive({FIELDS.get(key, key): value for key, value in raw.items()}))
            for key, value in said.items():
                if value != getattr(record, key):
                    raise ValueError(f"{key} {value!r}, though the rest of the record says {getattr(record, key)!r}")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{path}: expected an audit record ({FORMAT}), got {error}") from error
        return record


FIELDS = {key: name for name, key in ACCURACIES.items()}


def _derived(raw: dict[str, Any]) -> dict[str, Any]:
    """Take out of a parsed record the entries that follow from others."""
    shares = {key: raw[key].pop("value") for key in ACCURACIES.values()}
    return {"verdict": raw.pop("verdict"), "causes": raw.pop("causes"), **shares}


def _translate(raw: dict[str, Any]) -> dict[str, Any]:
    """Give the entries of a parsed record of the old format their names in this one; none follows from others."""
    parts = {"record": [raw], "findings": raw["findings"], "correct": [raw.get("correct", {})]}
    for place, names in RENAMED.items():
        for part in parts[place]:
            for old in names.keys() & part.keys():
                part[names[old]] = part.pop(old)
    return {}


def revive(raw: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a record from the plain values that ``dataclasses.asdict`` made of them.

    Example:
        >>> revive({})
        Traceback (most recent call last):
        KeyError: 'clean'
    """
    raw |= {name: Proportion(**raw[name]) for name in ACCURACIES}
    decision = raw["decision"]
    decision |= {name: [Cause(**cause) for cause in decision[name]] for name in ("causes", "weaknesses")}
    raw["decision"] = Verdict(**decision)
    raw["attacks"] = [AttackResult(**{**one, "accuracy": Proportion(**one["accuracy"])}) for one in raw["attacks"]]
    for name, kind in (("findings", Finding), ("curves", Curve), ("histograms", Histogram), ("examples", Example)):
        raw[name] = [kind(**one) for one in raw[name]]
    raw["surfaces"] = [Surface(**one) for one in raw.get("surfaces", ())]  # records from before there were any
    return raw
