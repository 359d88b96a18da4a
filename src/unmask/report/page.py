"""One HTML page from audit records: all inline, no script, no request; names from users are text, never markup."""

from __future__ import annotations

import base64
import io
import re
import statistics
from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from unmask.record import AuditRecord, Cause, Finding, Specimen
from unmask.report import words

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from numpy.typing import NDArray


def render_page(records: Sequence[AuditRecord], *, title: str) -> str:
    """One self-contained HTML page about one model, or about several side by side.

    Equal records give equal pages. Matplotlib's settings are its defaults, whatever the user's are.

    Raises:
        ValueError: there is no record, or an image does not have the size that it says.

    Example:
        >>> render_page([], title="Nothing")
        Traceback (most recent call last):
        ValueError: records: expected at least one, got none
    """
    import matplotlib

    from unmask.report.plots import plot_claimed_against_robust

    if not records:
        raise ValueError("records: expected at least one, got none")
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        overview = _svg(plot_claimed_against_robust(records), "overview", " ".join(_fall(record) for record in records))
        sections = [_section(record, f"model-{number}") for number, record in enumerate(records, start=1)]
    return _template().render(
        title=title,
        css=Markup(_own("page.css")),
        columns=words.SUMMARY_COLUMNS,
        rows=words.summary_rows(records),
        overview=overview,
        sections=sections,
    )


def amplified(clean: NDArray[np.uint8], adversarial: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int]:
    """The change between two images around middle grey, and the whole factor by which it was amplified to be seen.

    Example:
        >>> import numpy as np
        >>> change, factor = amplified(np.array([9, 9], dtype=np.uint8), np.array([9, 19], dtype=np.uint8))
        >>> change.tolist(), factor
        ([128, 248], 12)
    """
    import numpy as np

    change = adversarial.astype(int) - clean.astype(int)
    factor = max(1, 127 // max(1, int(np.abs(change).max())))
    return np.clip(128 + factor * change, 0, 255).astype(np.uint8), factor


def _section(record: AuditRecord, anchor: str) -> dict[str, Any]:
    confirmed = words.pair([*record.decision.causes, *record.decision.weaknesses], record.findings)
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
        "specimens": [_strip(specimen) for specimen in record.specimens],
    }


def _pictures(record: AuditRecord, anchor: str, causes: Sequence[Cause]) -> dict[str, Any]:
    from unmask.report.plots import plot_accuracy_curves, plot_gains, plot_histogram

    gains = accuracy = None
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
    return {"gains": gains, "accuracy": accuracy, "histograms": histograms}


def _svg(axes: Axes, name: str, title: str) -> Markup:
    from matplotlib.figure import Figure

    from unmask.report.plots import to_svg

    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    return Markup(to_svg(figure, name=name, title=title))


def _fall(record: AuditRecord) -> str:
    return f"{record.subject}: claimed {record.claimed}, worst case {record.robust}."


def _strip(specimen: Specimen) -> dict[str, Any]:
    """What the template needs to show a specimen: three images as PNG data URIs, and the factor of the middle one."""
    clean = _pixels(specimen, specimen.clean)
    adversarial = _pixels(specimen, specimen.adversarial)
    change, factor = amplified(clean, adversarial)
    images = {"clean": clean, "change": change, "adversarial": adversarial}
    return {
        "specimen": specimen,
        "factor": factor,
        "largest": int(abs(adversarial.astype(int) - clean.astype(int)).max()),
        **{name: _png(image) for name, image in images.items()},
    }


def _pixels(specimen: Specimen, encoded: str) -> NDArray[np.uint8]:
    import numpy as np

    content, shape = base64.b64decode(encoded), tuple(specimen.shape)
    if len(shape) != 3 or len(content) != np.prod(shape):
        raise ValueError(
            f"specimen {specimen.index}: expected channels x height x width bytes, got {len(content)} for {shape}"
        )
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _png(image: NDArray[np.uint8]) -> str:
    """A data URI. Three channels are red, green and blue; of any other number the first is shown, in grey."""
    from PIL import Image

    picture = Image.fromarray(image.transpose(1, 2, 0) if len(image) == 3 else image[0])
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_unbroken
    )
    environment.filters |= {
        "percent": words.percent,
        "points": words.points,
        "bound": words.bound,
        "quantity": words.quantity,
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
    """How many examples only the remedy broke, and how many only the control broke."""
    pairs = list(zip(finding.before, finding.after, strict=True))
    return pairs.count((True, False)), pairs.count((False, True))
