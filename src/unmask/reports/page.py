"""One HTML page from audit records: all inline, no request, one script; names from users are text, never markup."""

from __future__ import annotations

import base64
import hashlib
import re
import statistics
from collections import Counter
from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from unmask.reports import words
from unmask.reports.record import AuditRecord, Cause, Finding, Surface

if TYPE_CHECKING:
    from matplotlib.axes import Axes

IMAGES = 1_000_000
"""Characters that the images of all examples may take of a page; the models share it."""


def render_page(records: Sequence[AuditRecord], *, title: str) -> str:
    """Return one self-contained HTML page about one model, or about several side by side.

    Equal records give equal pages. Matplotlib's settings are its defaults, whatever the user's are.

    Raises:
        ValueError: there is no record, or an image does not have the size that it says.

    Example:
        >>> render_page([], title="Nothing")
        Traceback (most recent call last):
        ValueError: records: expected at least one, got none
    """
    import matplotlib

    from unmask.reports.plots import plot_claimed_against_robust, plot_models_over_epsilon

    if not records:
        raise ValueError("records: expected at least one, got none")
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        overview = _svg(
            plot_claimed_against_robust(records), "overview", " ".join(_accuracies(record) for record in records)
        )
        curves = None
        if len(records) > 1 and any(record.curves for record in records):
            said = f"Accuracy over epsilon, of {words.listing([one.model_name for one in records if one.curves])}."
            curves = _svg(plot_models_over_epsilon(records), "models-over-epsilon", said)
        share = IMAGES // len(records)
        sections = [_section(record, f"model-{number}", share) for number, record in enumerate(records, start=1)]
    script = _own("page.js")
    return _template().render(
        title=title,
        css=Markup(_own("page.css")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        columns=words.SUMMARY_COLUMNS,
        rows=words.summary_rows(records),
        overview=overview,
        curves=curves,
        ends=_ends(records),
        differences=words.differences(records),
        sections=sections,
    )


def _section(record: AuditRecord, anchor: str, size: int) -> dict[str, Any]:
    from unmask.reports.images import fitting

    shown = fitting(record.examples, size)
    confirmed = words.with_findings([*record.decision.causes, *record.decision.weaknesses], record.findings)
    causes = confirmed[: len(record.decision.causes)]
    verdict, _, sentence = words.answer(record).partition(": ")
    return {
        "record": record,
        "anchor": anchor,
        "verdict": verdict,
        "sentence": sentence,
        "groups": [("Causes", causes), ("Weaknesses of the reference attack", confirmed[len(causes) :])],
        "unconfirmed": words.unconfirmed(record),
        "symptoms": words.symptoms(record),
        "not_run": words.not_run(record),
        "silent": [finding for finding in record.findings if not finding.fired],
        "strongest_first": sorted(record.attacks, key=lambda attack: attack.accuracy.value),
        "pictures": _pictures(record, anchor, [cause for cause, _ in confirmed]),
        "shown": shown,
        "found_by": Counter(one.example.attack for one in shown if one.example.attack is not None),
    }


def _pictures(record: AuditRecord, anchor: str, causes: Sequence[Cause]) -> dict[str, Any]:
    from unmask.reports.plots import plot_accuracy_curves, plot_gains, plot_histogram, plot_surfaces

    gains = accuracy = surfaces = None
    if causes:
        said = " ".join(f"{cause.name}: {words.points(cause)}." for cause in causes)
        gains = _svg(plot_gains(causes), f"{anchor}-gains", f"Points of accuracy won by each remedy. {said}")
    if record.curves:
        ends = " ".join(f"{one.name}: {words.percent(one.y[-1])} at {one.x[-1]:g}." for one in record.curves)
        axes = plot_accuracy_curves(record.curves, epsilon=record.epsilon, chance=1 / record.classes)
        accuracy = _svg(axes, f"{anchor}-accuracy", f"Accuracy over epsilon. {ends}")
    histograms = []
    for number, one in enumerate(record.histograms):
        marks = " ".join(f"{name} at {position:g}." for name, position in one.marks.items())
        span = f"{sum(one.counts)} examples from {one.edges[0]:.3g} to {one.edges[-1]:.3g}."
        picture = _svg(plot_histogram(one), f"{anchor}-histogram-{number}", f"Histogram of {one.name}: {span} {marks}")
        histograms.append((one, picture))
    if record.surfaces:
        ranges = " ".join(_range(one) for one in record.surfaces)
        surfaces = _svg(plot_surfaces(record.surfaces), f"{anchor}-surfaces", f"Log-odds around images. {ranges}")
    return {"gains": gains, "accuracy": accuracy, "histograms": histograms, "surfaces": surfaces}


def _svg(axes: Axes, name: str, title: str) -> Markup:
    from matplotlib.figure import Figure

    from unmask.reports.svg import to_svg

    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    return Markup(to_svg(figure, name=name, title=title))


def _range(surface: Surface) -> str:
    values = [value for line in surface.loss for value in line]
    middle = surface.loss[len(surface.loss) // 2][len(surface.random) // 2]
    return f"Example {surface.index}: {middle:.4g} nats at the image, {min(values):.4g} to {max(values):.4g} around it."


def _ends(records: Sequence[AuditRecord]) -> list[tuple[str, str, str, str]]:
    """Return for each model and epsilon its name, the epsilon, the lowest of the curves, and the first."""
    from unmask.reports.plots import lowest

    rows = []
    for record in records:
        if record.curves:
            first = dict(zip(record.curves[0].x, record.curves[0].y, strict=True))
            for x, y in zip(*lowest(record.curves), strict=True):
                rows.append((record.model_name, f"{x:.4g}", words.percent(y), words.percent(first[x])))
    return rows


def _accuracies(record: AuditRecord) -> str:
    return f"{record.model_name}: claimed accuracy {record.claimed}, robust accuracy {record.robust}."


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_unbroken
    )
    environment.filters |= {
        "percent": words.percent,
        "points": words.points,
        "bound": words.bound,
        "quantity": words.quantity,
        "accuracy": words.accuracy,
        "duration": _duration,
        "probability": lambda value: "p < 0.001" if value < 0.001 else f"p = {value:.3f}",
        "figure": lambda value: f"{value:.4g}",
        "won": _won,
        "spread": lambda values: [min(values), statistics.median(values), max(values)],
    }
    return environment.from_string(_own("page.html"))


def _unbroken(value: object) -> object:
    """Keep a number and its per cent sign on one line; markup, which is a string of another type, stays as it is."""
    return re.sub(r"(?<=\d) (?=%)", "\N{NO-BREAK SPACE}", value) if type(value) is str else value


def _own(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _won(finding: Finding) -> tuple[int, int]:
    """Count the examples that only the remedy broke, and those that only the control broke."""
    pairs = list(zip(finding.before, finding.after, strict=True))
    return pairs.count((True, False)), pairs.count((False, True))
