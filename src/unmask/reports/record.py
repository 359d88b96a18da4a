"""What an audit found, as plain values that travel: Finding, Verdict, AuditRecord <-> JSON.

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
from unmask.statistics import Proportion

FORMAT = "unmask-audit/1"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One probe's answer: a symptom, and what the attack gains when its remedy is applied.

    Attributes:
        name: the suspected cause, e.g. ``"float32 saturation"``.
        kind: ``"masking"`` if a confirmed finding means that gradients are masked, ``"weak attack"`` if it only means
            that the reference attack was given too little to work with, ``"symptom"`` if it decides nothing by itself.
        value: the measured symptom; ``threshold``: the value from which on it counts.
        fired: whether the symptom is present.
        symptom: what was measured, in one sentence with the figures.
        intervention: the remedy that was tried.
        control: the unrepaired attack that was given the same budget.
        before: per example, whether it is still classified correctly under the control; empty where no symptom called
            for the remedy.
        after: the same under the remedied attack.
        advice: what to do if the cause is confirmed.
        evidence: further values per example, by name.
        rows: the examples that ``before`` and ``after`` are about, by number; empty means all.
        effect: the share of examples that the remedy must win to confirm the cause.
        blinding: the symptom alone leaves gradient attacks without direction, so that unless the remedy is confirmed
            the verdict stays open.
    """

    name: str
    kind: str
    value: float
    threshold: float
    fired: bool
    symptom: str
    intervention: str
    control: str
    before: Sequence[bool]
    after: Sequence[bool]
    advice: str
    evidence: Mapping[str, Sequence[float]] = field(default_factory=dict)
    rows: Sequence[int] = field(default_factory=list)
    effect: float = 0.02
    blinding: bool = False

    @property
    def accuracy_before(self) -> float:
        """Accuracy under the unrepaired attack of equal budget, in [0, 1]; only where the remedy was tried."""
        return sum(self.before) / len(self.before)

    @property
    def accuracy_after(self) -> float:
        """Accuracy under the remedied attack, in [0, 1]; only where it was tried."""
        return sum(self.after) / len(self.after)


@dataclass(frozen=True, kw_only=True)
class Cause:
    """A finding that was confirmed: the share of examples its remedy wins, with the paired 95 % interval.

    ``gain`` is accuracy under the control minus accuracy under the remedy; ``low`` and ``high`` bound it after
    correction for the number of probes.
    """

    name: str
    kind: str
    gain: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The answer: ``"masked"``, ``"not masked"`` or ``"inconclusive"``, with its causes, strongest first.

    ``weaknesses`` are confirmed findings of kind ``"weak attack"``; ``reason`` says in one sentence why the answer is
    what it is, and for ``"inconclusive"`` what would settle it.
    """

    answer: str
    reason: str
    causes: Sequence[Cause] = ()
    weaknesses: Sequence[Cause] = ()


@dataclass(frozen=True, kw_only=True)
class AttackResult:
    """One attack that was run: its name, its settings in words, and per example whether the model withstood it.

    ``rows`` are the examples that were attacked, by number; empty means all.
    """

    name: str
    settings: str
    correct: Sequence[bool]
    accuracy: Proportion
    rows: Sequence[int] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A named line in a plot: ``y`` (accuracy in [0, 1]) over ``x`` (epsilon in [0, 1])."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Counts per bin; ``edges`` has one entry more than ``counts``. ``marks`` are named positions worth a line."""

    name: str
    edges: Sequence[float]
    counts: Sequence[int]
    marks: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Surface:
    """The loss on a plane through one example: log-odds against the true class, in nats.

    ``loss[i][j]`` is that of ``x + gradient[i] sign(g) + random[j] r``, cut to [0, 1]: g is the gradient of the loss
    in the image x, r has random signs. Steps are in units of pixels, which are in [0, 1]; the middle is x itself.
    """

    index: int
    gradient: Sequence[float]
    random: Sequence[float]
    loss: Sequence[Sequence[float]]


@dataclass(frozen=True, kw_only=True)
class Specimen:
    """One example to look at: the clean and the adversarial image, their labels, and the attack that found it.

    Images are ``bytes`` of uint8, channels x height x width, base64-encoded, in ``shape`` order; ``attack`` is None
    where every attack failed.
    """

    index: int
    shape: Sequence[int]
    clean: str
    adversarial: str
    label: str
    prediction: str
    adversarial_prediction: str
    attack: str | None


@dataclass(frozen=True, kw_only=True)
class AuditRecord:
    """Everything an audit measured, in a form that goes to JSON and back unchanged.

    Attributes:
        subject: what was audited, in the user's words (model, or a label for it).
        data: the name of the images; ``samples`` how many; ``classes`` how many classes.
        epsilon: the L-infinity bound, images being in [0, 1].
        reference: the attack whose claim is audited.
        clean, claimed, robust: accuracy without attack, under the reference attack, and worst case over all attacks.
        notes: what the reader must know: repairs that were made, checks that could not run.
        environment: versions, device, precision, threads.
        correct: per example, whether it is classified correctly: ``"clean"``, ``"claimed"`` and ``"worst case"``.
        images_digest: SHA-256 of the images and labels, by which two audits of the same images know each other.
        evidence_digest: SHA-256 of the file that holds the images that fooled the model.
        not_run: what could not be tried on this model, by name, and why.
        surfaces: the loss around a few of the specimens; none for a model without gradients.
        given: how many images there were, where ``samples`` were drawn from more; 0 where all were audited.
    """

    subject: str
    data: str
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
    specimens: Sequence[Specimen] = ()
    notes: Sequence[str] = ()
    seconds: float = 0.0
    seed: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    correct: Mapping[str, Sequence[bool]] = field(default_factory=dict)
    images_digest: str = ""
    evidence_digest: str = ""
    not_run: Mapping[str, str] = field(default_factory=dict)
    surfaces: Sequence[Surface] = ()
    given: int = 0

    @property
    def verdict(self) -> str:
        """``"masked"``, ``"not masked"`` or ``"inconclusive"``."""
        return self.decision.answer

    @property
    def causes(self) -> list[str]:
        """Names of the confirmed causes of masking, strongest first."""
        return [cause.name for cause in self.decision.causes]

    @property
    def claimed_accuracy(self) -> float:
        """What the reference attack alone would have said, in [0, 1]."""
        return self.claimed.value

    @property
    def robust_accuracy(self) -> float:
        """Worst case per example over every attack that was run, in [0, 1]."""
        return self.robust.value

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of ``robust_accuracy``."""
        return (self.robust.low, self.robust.high)

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write the record as JSON, whole or not at all."""
        values = asdict(self)
        kept = {one.name: values[one.name] for one in fields(AuditRecord)}  # and not what a subclass adds
        text = json.dumps({"format": FORMAT, **kept}, indent=1, allow_nan=False)
        write_atomically(Path(path), text.encode() + b"\n")

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> Self:
        """Read a record that ``to_json`` wrote.

        Raises:
            ValueError: the file is not such a record.
        """
        try:
            raw = json.loads(Path(path).read_text())
            found = raw.pop("format")
            if found != FORMAT:
                raise ValueError(f"format {found!r}")
            return cls(**_revive(raw))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{path}: expected an audit record ({FORMAT}), got {error}") from error


def _revive(raw: dict[str, Any]) -> dict[str, Any]:
    """Turn the plain dictionaries of a parsed record back into the dataclasses they were."""
    raw |= {name: Proportion(**raw[name]) for name in ("clean", "claimed", "robust")}
    decision = raw["decision"]
    decision |= {name: [Cause(**cause) for cause in decision[name]] for name in ("causes", "weaknesses")}
    raw["decision"] = Verdict(**decision)
    raw["attacks"] = [AttackResult(**{**one, "accuracy": Proportion(**one["accuracy"])}) for one in raw["attacks"]]
    for name, kind in (("findings", Finding), ("curves", Curve), ("histograms", Histogram), ("specimens", Specimen)):
        raw[name] = [kind(**one) for one in raw[name]]
    raw["surfaces"] = [Surface(**one) for one in raw.get("surfaces", ())]  # records from before there were any
    return raw
