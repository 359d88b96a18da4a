"""The figures of an audit, and ``to_svg``, which makes any figure fit for a page.

Each ``plot_x`` draws what it is given and computes nothing. Colours follow Okabe and Ito (2008), so that colour-blind
readers can tell them apart, and keep a contrast of 3 : 1 on white and on black; each series has a marker of its own.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from xml.etree import ElementTree

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, PercentFormatter

from unmask.record import AuditRecord, Cause, Curve, Histogram
from unmask.report.words import bound, percent, plain, points

PALETTE = {"blue": "#0072b2", "vermilion": "#d55e00", "green": "#009e73", "purple": "#c0699a", "grey": "#7f7f7f"}
SERIES = BLUE, VERMILION, GREEN, PURPLE, GREY = tuple(PALETTE.values())
VERDICTS = {"masked": VERMILION, "not masked": BLUE}
BLACK = "#000000"
DASHES = ("-", "--", ":")
# Inches. Narrow on purpose: at 360 pixels the text of a figure this wide is still 10 pixels high.
WIDTH = 4.4


def plot_accuracy_curves(curves: Sequence[Curve], *, epsilon: float, chance: float, ax: Axes | None = None) -> Axes:
    """Draw accuracy over epsilon, one line per attack, with the audited epsilon and the level of guessing.

    The axis of epsilon is logarithmic where the curves span more than a factor of 30 (linear around an epsilon of 0).

    Raises:
        ValueError: there is no curve.

    Example:
        >>> fgsm = Curve(name="FGSM", x=[0.0, 0.1, 0.2], y=[0.99, 0.7, 0.4])
        >>> plot_accuracy_curves([fgsm], epsilon=0.2, chance=0.1).get_xlabel()
        'epsilon'
    """
    _expect_some("curves", curves)
    ax = _trim(ax or _new_axes(2.9 + 0.1 * len(curves)))
    lines: list[Artist] = []
    for number, curve in enumerate(curves):
        lines += ax.plot(
            curve.x, curve.y, color=SERIES[number % 5], marker="osD^v"[number % 5], markersize=4,
            linestyle=DASHES[number // 5 % 3], clip_on=False, zorder=3,
        )  # fmt: skip
    lines.append(ax.axhline(chance, color=GREY, linewidth=1.2, linestyle=(0, (1, 2))))
    _scale_epsilon(ax, [x for curve in curves for x in curve.x])
    ax.axvline(epsilon, color=BLACK, linewidth=0.9)
    ax.text(epsilon, 1.02, f"audited: {bound(epsilon)}", transform=ax.get_xaxis_transform(), ha="center")
    ax.set(xlabel="epsilon", ylabel="accuracy", ylim=(0, 1))
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    _legend(ax, lines, [*(curve.name for curve in curves), f"guessing: {percent(chance)}"], above=1.1)
    return ax


def plot_histogram(histogram: Histogram, *, ax: Axes | None = None) -> Axes:
    """Draw counts per bin with the named positions as vertical lines; counts that span decades get a log axis.

    A mark far outside the bins is named but not drawn, so that it does not squeeze the data.

    Example:
        >>> ax = plot_histogram(Histogram(name="margin", edges=[0, 10, 20], counts=[5, 1], marks={"rounds to 0": 16.6}))
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['rounds to 0: 16.6']
    """
    ax = _trim(ax or _new_axes(2.6 + 0.2 * len(histogram.marks)))
    edges, positive = histogram.edges, [count for count in histogram.counts if count > 0]
    spans_decades = bool(positive) and max(positive) > 20 * min(positive)
    # Half an example: on a log axis a bin of one example is still a bar.
    baseline = 0.5 if spans_decades else 0.0
    ax.stairs(histogram.counts, edges, baseline=baseline, fill=True, color=BLUE)
    if spans_decades:
        ax.set_yscale("log")
        _plain_numbers(ax.yaxis)
    reach = 0.25 * (edges[-1] - edges[0])
    lines: list[Artist] = []
    names = []
    for number, (name, position) in enumerate(histogram.marks.items()):
        if edges[0] - reach <= position <= edges[-1] + reach:
            lines.append(ax.axvline(position, linestyle=DASHES[number % 3], color=BLACK, linewidth=1.2))
            names.append(f"{name}: {position:g}")
        else:
            lines += ax.plot([], [], " ")
            names.append(f"{name}: {position:g} (outside)")
    ax.set(ylabel="examples", ylim=(baseline, None))
    ax.set_xlabel(_short(histogram.name, 48), parse_math=False)
    if lines:
        _legend(ax, lines, names, above=1.0)
    return ax


def plot_claimed_against_robust(records: Sequence[AuditRecord], *, ax: Axes | None = None) -> Axes:
    """Draw, one row per record, how far accuracy falls from what was claimed to the worst case, with 95 % intervals.

    Raises:
        ValueError: there is no record.

    Example:
        >>> plot_claimed_against_robust([])
        Traceback (most recent call last):
        ValueError: records: expected at least one, got none
    """
    _expect_some("records", records)
    ax = _trim(ax or _new_axes(1.0 + 0.55 * len(records)))
    for row, record in enumerate(records):
        colour = VERDICTS.get(record.verdict, GREY)
        claimed, robust = record.claimed_accuracy, record.robust_accuracy
        for share, height, alpha in ((record.claimed, 12, 0.25), (record.robust, 6, 0.45)):
            ax.hlines(row, share.low, share.high, color=colour, linewidth=height, alpha=alpha)
        ax.plot([claimed, robust], [row, row], color=colour, linewidth=1.2)
        ax.plot([claimed], [row], "|", color=colour, markersize=14, markeredgewidth=2, clip_on=False)
        ax.plot([robust], [row], "o", color=colour, markersize=7, clip_on=False)
    ax.set(xlim=(0, 1), xlabel="accuracy under attack")
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    falls = [f"{percent(one.claimed_accuracy)} \N{RIGHTWARDS ARROW} {percent(one.robust_accuracy)}" for one in records]
    _name_rows(ax, [record.subject for record in records], falls)
    keys = [
        *ax.plot([], [], "|", color=GREY, markersize=11, markeredgewidth=2),
        *ax.plot([], [], "o", color=GREY, markersize=7),
        *ax.plot([], [], color=GREY, alpha=0.35, linewidth=7, solid_capstyle="butt"),
    ]
    _legend(ax, keys, ["claimed", "worst case", "95 % interval"], above=1.0)
    return ax


def plot_gains(causes: Sequence[Cause], *, ax: Axes | None = None) -> Axes:
    """Draw how many points of accuracy each remedy wins over its equal-budget control, with intervals.

    Causes of masking are round, mere weaknesses of the attack are square.

    Raises:
        ValueError: there is no cause.

    Example:
        >>> cause = Cause(name="few steps", kind="weak attack", gain=0.1, low=0.08, high=0.12, p_value=0.001)
        >>> plot_gains([cause]).get_xlabel()
        'points of accuracy won by the remedy'
    """
    _expect_some("causes", causes)
    ax = _trim(ax or _new_axes(0.75 + 0.55 * len(causes)))
    for row, cause in enumerate(causes):
        colour, marker = (VERMILION, "o") if cause.kind == "masking" else (GREY, "s")
        ax.plot([100 * cause.low, 100 * cause.high], [row, row], color=colour, linewidth=1.8)
        ax.plot([100 * cause.gain], [row], marker, color=colour, markersize=6)
    ax.set_xlim(min(0, *(110 * cause.low for cause in causes)), max(1, *(110 * cause.high for cause in causes)))
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.set_xlabel("points of accuracy won by the remedy")
    _name_rows(ax, [cause.name for cause in causes], [points(cause).replace(" points", "") for cause in causes])
    return ax


def to_svg(figure: Figure, *, name: str, title: str) -> str:
    """The figure as an SVG element for a page: text stays text, in the page's font and colour; width 100 %.

    ``name`` begins every id, so that figures with different names can share a page; ``title`` is what a screen reader
    says in place of the picture. Equal figures give equal strings. Black becomes the page's text colour, and the
    colours of ``PALETTE`` what the page sets as ``--blue`` and so on.

    Example:
        >>> ax = plot_histogram(Histogram(name="margin", edges=[0, 10, 20], counts=[5, 1]))
        >>> to_svg(ax.get_figure(), name="margins", title="Most margins are below 10.")[:45]
        '<svg viewBox="0 0 316.8 187.2" width="100%" x'
    """
    drawing, title = _draw(figure), plain(title)
    used = set(re.findall(r'#([\w-]+)[")]', drawing))
    root = ElementTree.fromstring(drawing)
    for parent in list(root.iter()):
        # A style element in a page would style the whole page.
        for child in [child for child in parent if child.tag.endswith("}style")]:
            parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = _page_attributes(element.attrib, used, name)
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "width": "100%",
        "xmlns": "http://www.w3.org/2000/svg",
        "role": "img",
        "aria-label": title,
        "fill": "currentColor",
        "stroke-linejoin": "round",
        "stroke-linecap": "butt",
    }
    label = ElementTree.Element("title")
    label.text = title
    root.insert(0, label)
    return ElementTree.tostring(root, encoding="unicode")


def _draw(figure: Figure) -> str:
    """Matplotlib's own SVG of a figure, without a date or random ids."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "unmask"}), warnings.catch_warnings():
        # Matplotlib's font only serves the layout: the browser has the glyphs.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    return buffer.getvalue()


def _page_attributes(attributes: dict[str, str], used: set[str], name: str) -> dict[str, str]:
    """Drop namespaces and ids that nothing refers to, prefix the others, and let the page decide on font and colour."""
    kept = {}
    for key, value in attributes.items():
        if key == "id":
            if value not in used:
                continue
            value = f"{name}-{value}"
        elif key == "style":
            value = re.sub(r"(font-family: |px )'[^;]*", r"\1var(--figure-font, sans-serif)", value)
            value = value.replace(BLACK, "currentColor")
            for colour, code in PALETTE.items():
                value = value.replace(code, f"var(--{colour}, {code})")
        elif key == "clip-path" or key.endswith("href"):
            value = value.replace("#", f"#{name}-")
        kept[key.rpartition("}")[2]] = value
    return kept


def _expect_some(name: str, values: Sequence[object]) -> None:
    if not values:
        raise ValueError(f"{name}: expected at least one, got none")


def _new_axes(height: float) -> Axes:
    return Figure(figsize=(WIDTH, height), layout="constrained").add_subplot()


def _trim(ax: Axes) -> Axes:
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set(color=GREY, linewidth=0.8)
    ax.tick_params(color=GREY, width=0.8)
    return ax


def _short(text: str, length: int) -> str:
    """A user's text on one line and no longer than ``length``; a leading underscore would hide it from a legend."""
    text = plain(text)
    if len(text) > length:
        # Cut from the middle: names that are compared often begin alike and differ at the end.
        text = f"{text[: length // 2]}\N{HORIZONTAL ELLIPSIS}{text[length // 2 + 1 - length :]}"
    return f" {text}" if text.startswith("_") else text


def _legend(ax: Axes, handles: Sequence[Artist], names: Sequence[str], *, above: float) -> None:
    """A legend over the axes, where it covers nothing: in columns where the names are short."""
    names = [_short(name, 44) for name in names]
    legend = ax.legend(
        handles, names, loc="lower left", bbox_to_anchor=(0, above), columnspacing=1.5, borderaxespad=0.2,
        ncols=max(1, min(3, 60 // (6 + max(len(name) for name in names)))), fontsize=9, frameon=False,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)


def _scale_epsilon(ax: Axes, values: Sequence[float]) -> None:
    positive = [value for value in values if value > 0]
    if not positive or max(positive) <= 30 * min(positive):
        return
    if min(values) <= 0:
        ax.set_xscale("symlog", linthresh=min(positive), linscale=0.5)
        ax.set_xlim(min(values), max(values))
    else:
        ax.set_xscale("log")
    _plain_numbers(ax.xaxis)


def _plain_numbers(axis: Axis) -> None:
    """Write 0.01 where matplotlib would set a power of ten as a formula, character by character."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _name_rows(ax: Axes, names: Sequence[str], figures: Sequence[str]) -> None:
    """Each row's name above it, from the left, and its figures at its right: long names cost height, not width."""
    ax.set_ylim(len(names) - 0.6, -0.75)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.grid(axis="x", color=GREY, alpha=0.25, linewidth=0.6)
    across = ax.get_yaxis_transform()
    for row, (name, figure) in enumerate(zip(names, figures, strict=True)):
        title = ax.text(0.015, row - 0.42, _short(name, 42), transform=across, va="center", parse_math=False)
        # Names reach over the figures below them; were they part of the layout, they would push the axes aside.
        title.set(weight="bold", in_layout=False)
        ax.text(1.04, row, figure, transform=across, va="center", parse_math=False)
