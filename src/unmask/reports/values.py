"""The parts of an audit's record: plain values, from the standard library alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from unmask.statistics import Proportion

__all__ = ["AttackResult", "Cause", "Curve", "Example", "Finding", "Histogram", "Surface", "Verdict"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One probe's answer: a symptom, and what the attack gains when the symptom's remedy is applied.

    Attributes:
        name: the suspected cause, e.g. ``"float32 saturation"``.
        kind: ``"masking"`` if a confirmed finding means that gradients are masked, ``"weak attack"`` if it only means
            that the reference attack was given too little to work with, ``"symptom"`` if it decides nothing by itself.
        value: the measured symptom.
        threshold: the value from which on it counts.
        fired: the symptom is present.
        symptom: what was measured, in one sentence with the figures.
        remedy: the repair that was tried.
        control: the unrepaired attack that was given the same budget.
        before: per example, still classified correctly under the control; empty where no symptom called for the remedy.
        after: the same under the remedied attack.
        advice: what to do if the cause is confirmed.
        values: further values per example, by name.
        rows: the examples that ``before`` and ``after`` are about, by number; empty means all.
        effect: the share of examples that the remedy must win to confirm the cause.
        blinding: the symptom alone leaves gradient attacks without direction, so that unless the remedy is confirmed
            the verdict stays open.

    Example:
        >>> finding = Finding(
        ...     name="few steps", kind="weak attack", value=0.3, threshold=0.1, fired=True, symptom="", remedy="",
        ...     control="", before=[True, True], after=[True, False], advice="",
        ... )
        >>> finding.accuracy_before, finding.accuracy_after
        (1.0, 0.5)
    """

    name: str
    kind: str
    value: float
    threshold: float
    fired: bool
    symptom: str
    remedy: str
    control: str
    before: Sequence[bool]
    after: Sequence[bool]
    advice: str
    values: Mapping[str, Sequence[float]] = field(default_factory=dict)
    rows: Sequence[int] = field(default_factory=list)
    effect: float = 0.02
    blinding: bool = False

    @property
    def accuracy_before(self) -> float:
        """Accuracy under the control, in [0, 1]; only where the remedy was tried."""
        return sum(self.before) / len(self.before)

    @property
    def accuracy_after(self) -> float:
        """Accuracy under the remedied attack, in [0, 1]; only where it was tried."""
        return sum(self.after) / len(self.after)


@dataclass(frozen=True, kw_only=True)
class Cause:
    """A finding that was confirmed: the share of examples that its remedy wins, with the paired 95 % interval.

    Attributes:
        name, kind: those of the finding.
        gain: accuracy under the control minus accuracy under the remedy.
        low, high: bounds of ``gain``, corrected for the number of probes.
        p_value: of McNemar's exact one-sided test, corrected likewise.

    Example:
        >>> Cause(name="few steps", kind="weak attack", gain=0.1, low=0.08, high=0.12, p_value=0.001).gain
        0.1
    """

    name: str
    kind: str
    gain: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The audit's answer.

    Attributes:
        answer: ``"masked"``, ``"not masked"`` or ``"inconclusive"``.
        reason: the reason in one sentence, and for ``"inconclusive"`` what would settle it.
        causes: confirmed findings of kind ``"masking"``, strongest first.
        weaknesses: confirmed findings of kind ``"weak attack"``.

    Example:
        >>> Verdict(answer="not masked", reason="No remedy helps.").causes
        ()
    """

    answer: str
    reason: str
    causes: Sequence[Cause] = ()
    weaknesses: Sequence[Cause] = ()


@dataclass(frozen=True, kw_only=True)
class AttackResult:
    """One attack that was run.

    Attributes:
        name, settings: what it is called, and its settings in words.
        correct: per attacked example, still classified correctly.
        accuracy: the share of them.
        rows: the examples that were attacked, by number; empty means all.

    Example:
        >>> share = Proportion(count=1, total=2, low=0.1, high=0.9)
        >>> AttackResult(name="PGD", settings="steps 40", correct=[True, False], accuracy=share).accuracy.value
        0.5
    """

    name: str
    settings: str
    correct: Sequence[bool]
    accuracy: Proportion
    rows: Sequence[int] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A named line in a plot: ``y`` (accuracy in [0, 1]) over ``x`` (epsilon in [0, 1]).

    Example:
        >>> Curve(name="FGSM", x=[0.0, 0.1], y=[0.9, 0.7]).y[-1]
        0.7
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Counts per bin.

    Attributes:
        edges: of the bins; one more than ``counts``.
        marks: named positions that are drawn as lines.

    Example:
        >>> sum(Histogram(name="margin", edges=[0, 10, 20], counts=[5, 1]).counts)
        6
    """

    name: str
    edges: Sequence[float]
    counts: Sequence[int]
    marks: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Surface:
    """The loss on a plane through one example: log-odds against the true class, in nats.

    ``loss[i][j]`` is that of ``x + gradient[i] sign(g) + random[j] r``, cut to [0, 1]: g is the gradient of the loss
    in the image x, r has random signs. Steps are in units of pixels, which are in [0, 1]; the middle is x itself.

    Example:
        >>> Surface(index=7, gradient=[-0.1, 0.0, 0.1], random=[0.0], loss=[[-1.0], [0.5], [2.0]]).loss[1]
        [0.5]
    """

    index: int
    gradient: Sequence[float]
    random: Sequence[float]
    loss: Sequence[Sequence[float]]


@dataclass(frozen=True, kw_only=True)
class Example:
    """One example to look at: the clean and the adversarial image, and their classes.

    Attributes:
        index: its place among the audited images.
        shape: channels, height, width.
        clean, adversarial: the images as bytes of uint8 in that order, base64-encoded.
        label, prediction, adversarial_prediction: names of classes.
        attack: the name of the attack that found it, None where every attack failed.

    Example:
        >>> one = Example(
        ...     index=3, shape=[1, 1, 2], clean="CQk=", adversarial="CRM=", label="a", prediction="a",
        ...     adversarial_prediction="b", attack="FGSM",
        ... )
        >>> one.label != one.adversarial_prediction
        True
    """

    index: int
    shape: Sequence[int]
    clean: str
    adversarial: str
    label: str
    prediction: str
    adversarial_prediction: str
    attack: str | None
