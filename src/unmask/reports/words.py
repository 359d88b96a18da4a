"""The words of a report: the answer in one sentence, the rows of a comparison, the text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from unmask.reports.record import AuditRecord, Cause, Finding
from unmask.statistics import Proportion

SUMMARY_COLUMNS = ("model", "verdict", "clean accuracy", "claimed accuracy", "robust accuracy", "causes")
"""The columns of ``summary_rows``."""

COLUMNS = 80


def percent(share: float) -> str:
    """Return a share in per cent, to one decimal.

    Example:
        >>> percent(0.0294)
        '2.9 %'
    """
    return f"{100 * share:.1f} %"


def points(cause: Cause) -> str:
    """Return a gain in percentage points, with its interval.

    Example:
        >>> points(Cause(name="few steps", kind="weak attack", gain=0.1, low=0.08, high=0.12, p_value=0.001))
        '10.0 points (8.0 to 12.0)'
    """
    return f"{100 * cause.gain:.1f} points ({100 * cause.low:.1f} to {100 * cause.high:.1f})"


def bound(epsilon: float) -> str:
    """Return an epsilon as people write it: in 255ths where it is a whole number of them and no short decimal.

    Example:
        >>> bound(0.2), bound(8 / 255), bound(0.0123)
        ('0.2', '8/255', '0.0123')
    """
    steps = round(255 * epsilon)
    if abs(255 * epsilon - steps) < 1e-6 and abs(epsilon - round(epsilon, 3)) > 1e-9:
        return f"{steps}/255"
    return f"{epsilon:.4g}"


def quantity(count: int, noun: str) -> str:
    """Return a count with its noun.

    Example:
        >>> quantity(1, "attack"), quantity(7, "attack")
        ('1 attack', '7 attacks')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def plain(text: str) -> str:
    """Return the text on one line, without characters that would steer a terminal or cannot be drawn.

    Example:
        >>> plain("red\\x1b[31m\\nmodel")
        'red [31m model'
    """
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def listing(names: Sequence[str]) -> str:
    """Return names in one phrase.

    Example:
        >>> listing(["a", "b", "c"])
        'a, b and c'
    """
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def answer(record: AuditRecord) -> str:
    """Return the audit's result in one sentence, beginning with the verdict.

    Example:
        >>> from unmask.reports.record import Verdict
        >>> from unmask.statistics import Proportion
        >>> share = Proportion(count=9, total=10, low=0.55, high=0.99)
        >>> answer(AuditRecord(
        ...     model_name="net", data_name="digits", samples=10, classes=10, epsilon=0.1, reference="FGSM",
        ...     clean=share, claimed=share, robust=share, findings=[], attacks=[],
        ...     decision=Verdict(answer="not masked", reason=""),
        ... ))
        'Not masked: claimed accuracy 90.0 %, robust accuracy 90.0 % (95 % interval 55.0 to 99.0).'
    """
    known = "at most " if record.verdict == "inconclusive" else ""
    sentence = f"claimed accuracy {percent(record.claimed_accuracy)}, robust accuracy {known}{_interval(record.robust)}"
    if record.causes:
        sentence += f"; {'cause' if len(record.causes) == 1 else 'causes'}: {listing(record.causes)}"
    elif record.decision.weaknesses:
        sentence += f"; the reference attack is weak: {listing([one.name for one in record.decision.weaknesses])}"
    return f"{record.verdict.capitalize()}: {sentence}."


def summary_rows(records: Sequence[AuditRecord]) -> list[tuple[str, ...]]:
    """Return a row of text per record, with the columns ``SUMMARY_COLUMNS``; weaknesses are in brackets.

    Example:
        >>> summary_rows([])
        []
    """
    rows: list[tuple[str, ...]] = []
    for record in records:
        weak = [f"({cause.name})" for cause in record.decision.weaknesses]
        shares = (percent(record.clean_accuracy), percent(record.claimed_accuracy), str(record.robust))
        rows.append((record.model_name, record.verdict, *shares, ", ".join([*record.causes, *weak]) or "none"))
    return rows


def with_findings(causes: Sequence[Cause], findings: Sequence[Finding]) -> list[tuple[Cause, Finding]]:
    """Pair each confirmed cause with the finding that it came from.

    Raises:
        ValueError: a cause has no finding of its name.

    Example:
        >>> with_findings([], [])
        []
    """
    named = {finding.name: finding for finding in findings}
    for cause in causes:
        if cause.name not in named:
            raise ValueError(f"cause {cause.name!r}: expected a finding of that name, got {sorted(named)}")
    return [(cause, named[cause.name]) for cause in causes]


def unconfirmed(record: AuditRecord) -> list[Finding]:
    """Return the findings whose symptom is present but whose remedy was not shown to help.

    Example:
        >>> from unmask.reports.record import Verdict
        >>> from unmask.statistics import Proportion
        >>> share = Proportion(count=9, total=10, low=0.55, high=0.99)
        >>> record = AuditRecord(
        ...     model_name="net", data_name="digits", samples=10, classes=10, epsilon=0.1, reference="FGSM",
        ...     clean=share, claimed=share, robust=share, findings=[], attacks=[],
        ...     decision=Verdict(answer="not masked", reason=""),
        ... )
        >>> unconfirmed(record)
        []
    """
    confirmed = {cause.name for cause in (*record.decision.causes, *record.decision.weaknesses)}
    return [
        finding
        for finding in record.findings
        if finding.fired and finding.kind != "symptom" and finding.name not in confirmed
    ]


def symptoms(record: AuditRecord) -> list[Finding]:
    """Return the findings that are present and decide nothing by themselves.

    Example:
        >>> from unmask.reports.record import Finding
        >>> failing = Finding(
        ...     name="fails", kind="symptom", value=1.0, threshold=0.5, fired=True, symptom="", remedy="",
        ...     control="", before=[True], after=[False], advice="",
        ... )
        >>> from types import SimpleNamespace
        >>> [one.name for one in symptoms(SimpleNamespace(findings=[failing]))]
        ['fails']
    """
    return [finding for finding in record.findings if finding.fired and finding.kind == "symptom"]


def accuracy(correct: Sequence[bool]) -> str:
    """Return the accuracy under an attack of a finding, or that the attack was not tried.

    Example:
        >>> accuracy([True, False]), accuracy([])
        ('50.0 %', 'not tried: no symptom')
    """
    return percent(sum(correct) / len(correct)) if correct else "not tried: no symptom"


def differences(records: Sequence[AuditRecord]) -> str:
    """Return in one sentence the differences between audits that forbid a comparison; empty if there are none.

    Example:
        >>> from types import SimpleNamespace
        >>> one = SimpleNamespace(data_name="digits", samples=10, images_digest="0a", epsilon=0.1, reference="FGSM")
        >>> other = SimpleNamespace(data_name="digits", samples=10, images_digest="0a", epsilon=0.2, reference="PGD")
        >>> differences([one, other]), differences([one, one])
        ('These audits differ in epsilon (0.1 and 0.2) and in the reference attack: compare them with care.', '')
    """
    differ = []
    if len({(record.data_name, record.samples, record.images_digest) for record in records}) > 1:
        differ.append("in their images")
    if len(bounds := list(dict.fromkeys(bound(record.epsilon) for record in records))) > 1:
        differ.append(f"in epsilon ({listing(bounds)})")
    if len({record.reference for record in records}) > 1:
        differ.append("in the reference attack")
    return f"These audits differ {listing(differ)}: compare them with care." if differ else ""


def not_run(record: AuditRecord) -> list[str]:
    """Return the names of what could not be tried on the model, one text for each reason.

    Example:
        >>> from types import SimpleNamespace
        >>> not_run(SimpleNamespace(not_run={"few steps": "no gradients", "many steps": "no gradients"}))
        ['no gradients: few steps, many steps']
    """
    reasons = dict.fromkeys(record.not_run.values())
    return [
        f"{reason}: {', '.join(name for name, why in record.not_run.items() if why == reason)}" for reason in reasons
    ]


def as_text(record: AuditRecord) -> str:
    """Return the audit as plain text, 80 columns wide, for a terminal: no markup, no control characters.

    Example:
        >>> from unmask.reports.record import Verdict
        >>> from unmask.statistics import Proportion
        >>> share = Proportion(count=9, total=10, low=0.55, high=0.99)
        >>> record = AuditRecord(
        ...     model_name="net", data_name="digits", samples=10, classes=10, epsilon=0.1, reference="FGSM",
        ...     clean=share, claimed=share, robust=share, findings=[], attacks=[],
        ...     decision=Verdict(answer="not masked", reason=""),
        ... )
        >>> print(as_text(record).splitlines()[-1])
          robust accuracy   90.0 % (55.0 to 99.0)   under all 0 attacks
    """
    decision = record.decision
    blocks = [
        [plain(record.model_name), *_wrap(answer(record)), *_wrap(decision.reason)],
        _accuracies(record),
        _explained("Causes", with_findings(decision.causes, record.findings)),
        _explained("Weaknesses of the reference attack", with_findings(decision.weaknesses, record.findings)),
        _bullets("Symptoms whose remedy was not shown to help", [one.symptom for one in unconfirmed(record)]),
        _bullets("Further symptoms", [one.symptom for one in symptoms(record)]),
        _bullets("Not run", not_run(record)),
        _bullets("Notes", record.notes),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _interval(share: Proportion) -> str:
    return f"{percent(share.value)} (95 % interval {100 * share.low:.1f} to {100 * share.high:.1f})"


def _accuracies(record: AuditRecord) -> list[str]:
    shares = (
        ("clean accuracy", record.clean, "without attack"),
        ("claimed accuracy", record.claimed, f"under {plain(record.reference)}"),
        ("robust accuracy", record.robust, f"under all {quantity(len(record.attacks), 'attack')}"),
    )
    head = f"On {record.samples} images of {record.data_name}, L-infinity epsilon {bound(record.epsilon)}"
    lines = _wrap(f"{head} (95 % intervals)")
    for name, share, source in shares:
        figures = f"{percent(share.value):>7} ({100 * share.low:.1f} to {100 * share.high:.1f})"
        lines += _wrap(source, first=f"  {name:<17}{figures:<25}", rest=" " * 44)
    return lines


def _explained(heading: str, causes: Sequence[tuple[Cause, Finding]]) -> list[str]:
    return [heading, *(line for cause, finding in causes for line in _explain(cause, finding))] if causes else []


def _explain(cause: Cause, finding: Finding) -> Iterator[str]:
    before, after = accuracy(finding.before), accuracy(finding.after)
    yield from _wrap(f"{cause.name}: the remedy wins {points(cause)}", first="  ", rest="    ")
    for name, text in (
        ("symptom", finding.symptom),
        ("remedy", f"{finding.remedy}: accuracy {after}"),
        ("control", f"{finding.control}: accuracy {before}"),
        ("advice", finding.advice),
    ):
        yield from _wrap(text, first=f"    {name:<9}", rest=" " * 13)


def _bullets(heading: str, texts: Sequence[str]) -> list[str]:
    lines = [line for text in texts for line in _wrap(text, first="  - ", rest="    ")]
    return [heading, *lines] if lines else []


def _wrap(text: str, *, first: str = "", rest: str = "") -> list[str]:
    # break_on_hyphens would tear names such as "R-FGSM" and "PGD-100" apart.
    return textwrap.wrap(plain(text), COLUMNS, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)
