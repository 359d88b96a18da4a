"""From findings to a verdict: the rule and its statistics, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from unmask.reports.record import Cause, Finding, Verdict
from unmask.statistics import PairedGain, Proportion, paired_gain, quantile

EFFECT = 0.02
"""What remains matters if it is more than this share of all examples."""


def decide(
    findings: Sequence[Finding],
    *,
    clean: Proportion,
    classes: int,
    claimed: Sequence[bool] | None = None,
    not_run: Mapping[str, str] | None = None,
    robust: Proportion | None = None,
) -> Verdict:
    """Apply the rule to all findings.

    A cause is confirmed when its symptom is present and its remedy gains more than the finding's ``effect``, by the
    lower end of the corrected interval, on the same examples: over the unrepaired attack of equal budget, and over what
    was claimed. The correction counts all findings, also those whose symptom is absent, whose remedy was not tried.
    The smaller of the two gains is reported. Any confirmed cause of kind ``"masking"`` makes the verdict ``"masked"``.
    It is ``"inconclusive"`` where a symptom is present and its own interval, uncorrected, does not rule the effect out
    (a correction would guard against finding causes, here it would excuse missing them), where gradient attacks are
    blind and no other attack settled the matter, where probes could not be run and something is left that could be
    masked, or where the model does no better than guessing; else ``"not masked"``.

    Args:
        claimed: per example, whether it is still classified correctly under the reference attack.
        not_run: probes that could not be run, and why.
        robust: accuracy in the worst case over all attacks.

    Example:
        >>> from unmask.statistics import proportion
        >>> decide([], clean=proportion(98, 100), classes=10).answer
        'not masked'
    """
    if clean.low <= 1 / classes:
        return Verdict(
            answer="inconclusive",
            reason=f"The model is right on {clean} of clean images, no better than guessing one of {classes} classes: "
            "there is no robustness to judge.",
            causes=[],
            weaknesses=[],
        )
    decisive = [finding for finding in findings if finding.kind != "symptom"]
    findings = [finding for finding in decisive if finding.fired]
    gains = {finding.name: _gain(finding, claimed, len(decisive)) for finding in findings}
    confirmed = [finding for finding in findings if gains[finding.name].low > finding.effect]
    causes = _ranked(confirmed, gains, "masking")
    weaknesses = _ranked(confirmed, gains, "weak attack")
    if causes:
        return Verdict(answer="masked", reason=_because(causes), causes=causes, weaknesses=weaknesses)
    if blind := [finding for finding in findings if finding.blinding]:
        reason = f"{blind[0].symptom} What was run in place of gradients settles nothing: ask more queries."
        return Verdict(answer="inconclusive", reason=reason, causes=[], weaknesses=weaknesses)
    doubtful = {finding.name: _gain(finding, claimed, 1) for finding in findings if finding.kind == "masking"}
    open_questions = [one for one in findings if one.name in doubtful and doubtful[one.name].high > one.effect]
    if open_questions:
        name = open_questions[0].name
        only_corrected = doubtful[name].low > open_questions[0].effect  # a correction alone keeps it from being settled
        gain, comparisons = (gains[name], len(decisive)) if only_corrected else (doubtful[name], 1)
        reason = _undecided(open_questions[0], gain, comparisons)
        return Verdict(answer="inconclusive", reason=reason, causes=[], weaknesses=weaknesses)
    if not_run:
        answer, reason = _without_all(not_run, robust)
        return Verdict(answer=answer, reason=reason, causes=[], weaknesses=weaknesses)
    return Verdict(answer="not masked", reason=_cleared(findings, doubtful), causes=[], weaknesses=weaknesses)


def _gain(finding: Finding, claimed: Sequence[bool] | None, comparisons: int) -> PairedGain:
    """Return the gain of the remedy over its control, or over what was claimed, whichever is less."""
    over = [finding.before]
    if claimed is not None:
        over.append([claimed[row] for row in finding.rows] if finding.rows else claimed)
    return min((paired_gain(held, finding.after, comparisons=comparisons) for held in over), key=lambda one: one.low)


def _ranked(findings: Sequence[Finding], gains: dict[str, PairedGain], kind: str) -> list[Cause]:
    causes = [
        Cause(
            name=finding.name,
            kind=kind,
            **{key: getattr(gains[finding.name], key) for key in ("gain", "low", "high", "p_value")},
        )
        for finding in findings
        if finding.kind == kind
    ]
    return sorted(causes, key=lambda cause: -cause.gain)


def _because(causes: Sequence[Cause]) -> str:
    first = causes[0]
    return (
        f"Repairing {first.name} takes a further {100 * first.gain:.1f} points of accuracy "
        f"({100 * first.low:.1f} to {100 * first.high:.1f}), over what was claimed and over an unrepaired attack of "
        "the same budget."
    )


def _undecided(finding: Finding, gain: PairedGain, comparisons: int) -> str:
    """Say what is open, and how many images would settle it: the half width must fall below the distance."""
    distance = max(abs(gain.gain - finding.effect), finding.effect / 4)
    z = quantile(comparisons)
    needed = math.ceil(z**2 * gain.variance / distance**2)
    return (
        f"The symptom of {finding.name} is present, and its remedy gains between {100 * gain.low:.1f} and "
        f"{100 * gain.high:.1f} points, which leaves open whether it is more than {100 * finding.effect:.0f}: "
        f"about {max(needed, len(finding.before) + 1):,} images would settle it, {len(finding.before):,} were used."
    )


def _cleared(findings: Sequence[Finding], gains: dict[str, PairedGain]) -> str:
    present = [finding for finding in findings if finding.kind == "masking"]
    if not present:
        return "No symptom of masking is present."
    reason = "; ".join(
        f"the symptom of {finding.name} is present, but its remedy gains only "
        f"{100 * gains[finding.name].gain:.1f} points (at most {100 * gains[finding.name].high:.1f})"
        for finding in present
    )
    return f"{reason[0].upper()}{reason[1:]}."


def _without_all(not_run: Mapping[str, str], robust: Proportion | None) -> tuple[str, str]:
    """The answer and its reason where some probes could not be run and the others found no masking."""
    if robust is not None and robust.high <= EFFECT:
        return "not masked", f"Of all images {robust} are left standing, too few for masking to matter."
    whys = ", ".join(dict.fromkeys(not_run.values()))
    rest = "what is left standing may be robust, or only out of reach of the attacks that could be run."
    return "inconclusive", f"{len(not_run)} checks could not be run ({whys}): {rest}"
