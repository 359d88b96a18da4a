"""Two audits of the same images, before and after a change of the model: what was won, example by example."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unmask.reports.record import AuditRecord
from unmask.statistics import LEVEL, Proportion, paired_gain, proportion

MEASURES = ("clean", "claimed", "worst case")


@dataclass(frozen=True, kw_only=True)
class Change:
    """How an accuracy changed between two audits of the same images.

    Attributes:
        measure: ``"clean"``, ``"claimed"`` or ``"worst case"``; ``before`` and ``after`` are its two values.
        change: after minus before; ``low`` and ``high`` bound it, at 95 % for the three measures together.
        gained: how many examples are right after the change alone; ``lost``: before it alone.
        p_value: of McNemar's exact test, two-sided, corrected for the three measures.
    """

    measure: str
    before: Proportion
    after: Proportion
    change: float
    low: float
    high: float
    gained: int
    lost: int
    p_value: float

    def __str__(self) -> str:
        """In one sentence."""
        was, is_now = (f"{100 * share.value:.1f} %" for share in (self.before, self.after))
        interval = f"{100 * LEVEL:.0f} % interval {100 * self.low:+.1f} to {100 * self.high:+.1f} points"
        counts = f"{self.gained} of {self.before.total} images gained, {self.lost} lost"
        p_value = "p < 0.001" if self.p_value < 0.001 else f"p = {self.p_value:.3f}"
        if self.low > 0 or self.high < 0:
            said = f"accuracy {'rose' if self.change > 0 else 'fell'} from {was} to {is_now}"
        else:
            said = f"accuracy was {was} and is {is_now}, no clear change"
        return f"{self.measure}: {said} ({interval}, {p_value}; {counts})."


def compare(before: AuditRecord, after: AuditRecord) -> list[Change]:
    """The paired change of each measure, with intervals as ``verdict.paired_gain`` has them.

    Raises:
        ValueError: the audits are of other images or another epsilon, or too old to say what became of each image.

    Example:
        >>> from unmask.reports.record import Verdict
        >>> def record(count):
        ...     right = [place < count for place in range(100)]
        ...     share, same = proportion(count, 100), dict.fromkeys(MEASURES, right)
        ...     return AuditRecord(
        ...         subject="net", data="digits", samples=100, classes=10, epsilon=0.1, reference="FGSM", clean=share,
        ...         claimed=share, robust=share, decision=Verdict(answer="not masked", reason=""), findings=[],
        ...         attacks=[], correct=same, images_digest="ab",
        ...     )
        >>> str(compare(record(30), record(50))[2]).partition(" (")[0]
        'worst case: accuracy rose from 30.0 % to 50.0 %'
    """
    for record in (before, after):
        if not record.images_digest or set(MEASURES) - set(record.correct):
            raise ValueError(f"{record.subject}: the report does not say what became of each image; audit it again")
    if before.images_digest != after.images_digest:
        raise ValueError(
            f"images: expected two audits of the same images, got {_images(before)} and {_images(after)}, which differ "
            "in content or order"
        )
    if before.epsilon != after.epsilon:
        raise ValueError(f"epsilon: expected the same in both audits, got {before.epsilon:.6g} and {after.epsilon:.6g}")
    return [_change(measure, before.correct[measure], after.correct[measure]) for measure in MEASURES]


def cautions(before: AuditRecord, after: AuditRecord) -> list[str]:
    """What else differs between two audits, and so may be the reason of a change.

    Example:
        >>> from types import SimpleNamespace
        >>> one = SimpleNamespace(reference="FGSM", attacks=[], verdict="not masked")
        >>> cautions(one, SimpleNamespace(reference="PGD", attacks=[], verdict="not masked"))
        ['The claims are of different reference attacks: FGSM, and PGD.']
    """
    said = []
    if before.reference != after.reference:
        said.append(f"The claims are of different reference attacks: {before.reference}, and {after.reference}.")
    if _attacks(before) != _attacks(after):
        said.append("The worst cases are over different attacks.")
    for when, record in (("before", before), ("after", after)):
        if record.verdict == "inconclusive":
            said.append(f"The audit {when} the change is inconclusive: its worst case may be far above the truth.")
    return said


def _change(measure: str, before: Sequence[bool], after: Sequence[bool]) -> Change:
    won = paired_gain(after, before, comparisons=len(MEASURES))
    reverse = paired_gain(before, after, comparisons=len(MEASURES))
    pairs = list(zip(before, after, strict=True))
    return Change(
        measure=measure,
        before=proportion(sum(before), len(before)),
        after=proportion(sum(after), len(after)),
        change=won.gain,
        low=won.low,
        high=won.high,
        gained=pairs.count((False, True)),
        lost=pairs.count((True, False)),
        p_value=min(1.0, 2 * min(won.p_value, reverse.p_value)),
    )


def _attacks(record: AuditRecord) -> list[tuple[str, str]]:
    """Without the reference attack, which is spoken of by itself."""
    return [(one.name, one.settings) for one in record.attacks if one.name != "reference attack"]


def _images(record: AuditRecord) -> str:
    return f"{record.samples} of {record.data}"
