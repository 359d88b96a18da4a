"""The comparison of two audits of the same images, before and after a change of the model, example by example."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unmask.reports.record import AuditRecord
from unmask.statistics import LEVEL, Proportion, paired_gain, proportion

__all__ = ["MEASURES", "Change", "cautions", "compare"]

MEASURES = ("clean", "claimed", "robust")
"""The accuracies that are compared."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """The change of an accuracy between two audits of the same images.

    Attributes:
        measure: ``"clean"``, ``"claimed"`` or ``"robust"``.
        before, after: the accuracy in the two audits.
        change: after minus before.
        low, high: bounds of ``change``, at 95 % for the three measures together.
        gained: the number of examples that are right after the change alone.
        lost: the number of examples that are right before it alone.
        p_value: of McNemar's exact test, two-sided, corrected for the three measures.

    Example:
        >>> share = proportion(9, 10)
        >>> same = Change(measure="clean", before=share, after=share, change=0.0, low=-0.3, high=0.3, gained=0, lost=0,
        ...               p_value=1.0)
        >>> str(same).partition(" (")[0]
        'clean accuracy was 90.0 % and is 90.0 %, no clear change'
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
        """Return the change in one sentence."""
        was, is_now = (f"{100 * share.value:.1f} %" for share in (self.before, self.after))
        interval = f"{100 * LEVEL:.0f} % interval {100 * self.low:+.1f} to {100 * self.high:+.1f} points"
        counts = f"{self.gained} of {self.before.total} images gained, {self.lost} lost"
        p_value = "p < 0.001" if self.p_value < 0.001 else f"p = {self.p_value:.3f}"
        if self.low > 0 or self.high < 0:
            said = f"{'rose' if self.change > 0 else 'fell'} from {was} to {is_now}"
        else:
            said = f"was {was} and is {is_now}, no clear change"
        return f"{self.measure} accuracy {said} ({interval}, {p_value}; {counts})."


def compare(before: AuditRecord, after: AuditRecord) -> list[Change]:
    """Return the paired change of each accuracy, with the intervals of ``statistics.paired_gain``.

    Raises:
        ValueError: the audits are of other images or another epsilon, or too old to hold outcomes per image.

    Example:
        >>> from unmask.reports.record import Verdict
        >>> def record(count):
        ...     right = [place < count for place in range(100)]
        ...     share, same = proportion(count, 100), dict.fromkeys(MEASURES, right)
        ...     return AuditRecord(
        ...         model_name="net", data_name="digits", samples=100, classes=10, epsilon=0.1, reference="FGSM",
        ...         clean=share, claimed=share, robust=share, findings=[], attacks=[], correct=same, images_digest="ab",
        ...         decision=Verdict(answer="not masked", reason=""),
        ...     )
        >>> str(compare(record(30), record(50))[2]).partition(" (")[0]
        'robust accuracy rose from 30.0 % to 50.0 %'
    """
    for record in (before, after):
        if not record.images_digest or set(MEASURES) - set(record.correct):
            raise ValueError(f"{record.model_name}: the report holds no outcomes per image; audit it again")
    if before.images_digest != after.images_digest:
        raise ValueError(
            f"images: expected two audits of the same images, got {_images(before)} and {_images(after)}, which differ "
            "in content or order"
        )
    if before.epsilon != after.epsilon:
        raise ValueError(f"epsilon: expected the same in both audits, got {before.epsilon:.6g} and {after.epsilon:.6g}")
    return [_change(measure, before.correct[measure], after.correct[measure]) for measure in MEASURES]


def cautions(before: AuditRecord, after: AuditRecord) -> list[str]:
    """Return the other differences between two audits, which may be the reason of a change, in sentences.

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
        said.append("The robust accuracies are under different attacks.")
    for when, record in (("before", before), ("after", after)):
        if record.verdict == "inconclusive":
            said.append(f"The audit {when} the change is inconclusive: its robust accuracy may be far above the truth.")
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
    """Return names and settings, without those of the reference attack, which is spoken of by itself."""
    return [(one.name, one.settings) for one in record.attacks if one.name != "reference attack"]


def _images(record: AuditRecord) -> str:
    return f"{record.samples} of {record.data_name}"
