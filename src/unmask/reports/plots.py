"""The figures of an audit: each ``plot_x`` draws what it is given and computes nothing; each series has its marker."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from unmask.reports.axes import (
    WIDTH,
    frame,
    legend,
    mark_epsilon,
    name_rows,
    new_axes,
    percent_over_epsilon,
    plain_numbers,
    scale_epsilon,
    short,
    trim,
)
from unmask.reports.record import AuditRecord, Cause, Curve, Histogram, Surface
from unmask.reports.svg import BLACK, PALETTE
from unmask.reports.words import percent, points

SERIES = BLUE, VERMILION, GREEN, PURPLE, GREY = tuple(PALETTE.values())
VERDICTS = {"masked": VERMILION, "not masked": BLUE}
# On a map of colours, where the page's own ink would change with the mode.
DARK, LIGHT = "#1c1f23", "#ffffff"
DASHES = ("-", "--", ":")


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
    ax = trim(ax or new_axes(2.9 + 0.1 * len(curves)))
    lines: list[Artist] = []
    for number, curve in enumerate(curves):
        lines += ax.plot(
            curve.x, curve.y, color=SERIES[number % 5], marker="osD^v"[number % 5], markersize=4,
            linestyle=DASHES[number // 5 % 3], clip_on=False, zorder=3,
        )  # fmt: skip
    lines.append(ax.axhline(chance, color=GREY, linewidth=1.2, linestyle=(0, (1, 2))))
    scale_epsilon(ax, [x for curve in curves for x in curve.x])
    mark_epsilon(ax, epsilon)
    percent_over_epsilon(ax)
    legend(ax, lines, [*(curve.name for curve in curves), f"guessing: {percent(chance)}"], above=1.1, left=0.5)
    return ax


def plot_models_over_epsilon(records: Sequence[AuditRecord], *, ax: Axes | None = None) -> Axes:
    """Draw for each model the lowest of its curves over epsilon, and dashed the first, usually the reference attack's.

    Where the two part, the first is above the truth. Models without a curve are left out.

    Raises:
        ValueError: no model has a curve.

    Example:
        >>> from types import SimpleNamespace
        >>> curves = [Curve(name="FGSM", x=[0.0, 0.1], y=[0.9, 0.7]), Curve(name="PGD", x=[0.0, 0.1], y=[0.9, 0.2])]
        >>> ax = plot_models_over_epsilon([SimpleNamespace(model_name="net", curves=curves, epsilon=0.1)])
        >>> [line.get_ydata().tolist() for line in ax.get_lines()[:2]]
        [[0.9, 0.7], [0.9, 0.2]]
    """
    drawn = [record for record in records if record.curves]
    _expect_some("curves", drawn)
    ax = trim(ax or new_axes(2.7 + 0.17 * len(drawn)))
    lines: list[Artist] = []
    for number, record in enumerate(drawn):
        colour, marker = SERIES[number % 5], "osD^v"[(number + number // 5) % 5]
        first = record.curves[0]
        ax.plot(first.x, first.y, color=colour, linestyle="--", linewidth=1.2, clip_on=False)
        x, y = lowest(record.curves)
        lines += ax.plot(x, y, color=colour, marker=marker, markersize=4, clip_on=False, zorder=3)
    scale_epsilon(ax, [x for record in drawn for curve in record.curves for x in curve.x])
    if len({record.epsilon for record in drawn}) == 1:
        mark_epsilon(ax, drawn[0].epsilon)
    percent_over_epsilon(ax)
    legend(ax, lines, [record.model_name for record in drawn], above=1.1, left=0.5)
    return ax


def lowest(curves: Sequence[Curve]) -> tuple[list[float], list[float]]:
    """At each epsilon that all curves have, the lowest accuracy of any.

    Example:
        >>> lowest([Curve(name="a", x=[0.0, 0.1], y=[0.9, 0.5]), Curve(name="b", x=[0.0, 0.1, 0.2], y=[0.9, 0.3, 0.1])])
        ([0.0, 0.1], [0.9, 0.3])
    """
    at = [dict(zip(curve.x, curve.y, strict=True)) for curve in curves]
    shared = [x for x in curves[0].x if all(x in one for one in at)]
    return shared, [min(one[x] for one in at) for x in shared]


def plot_histogram(histogram: Histogram, *, ax: Axes | None = None) -> Axes:
    """Draw counts per bin with the named positions as vertical lines; counts that span decades get a log axis.

    A mark far outside the bins is named but not drawn, so that it does not squeeze the data.

    Example:
        >>> ax = plot_histogram(Histogram(name="margin", edges=[0, 10, 20], counts=[5, 1], marks={"rounds to 0": 16.6}))
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['rounds to 0: 16.6']
    """
    ax = trim(ax or new_axes(2.6 + 0.2 * len(histogram.marks)))
    edges, positive = histogram.edges, [count for count in histogram.counts if count > 0]
    spans_decades = bool(positive) and max(positive) > 20 * min(positive)
    # Half an example: on a log axis a bin of one example is still a bar.
    baseline = 0.5 if spans_decades else 0.0
    ax.stairs(histogram.counts, edges, baseline=baseline, fill=True, color=BLUE)
    if spans_decades:
        ax.set_yscale("log")
        plain_numbers(ax.yaxis)
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
    ax.set_xlabel(short(histogram.name, 40), parse_math=False)
    if lines:
        legend(ax, lines, names, above=1.0, left=0.4)
    return ax


def plot_surfaces(surfaces: Sequence[Surface], *, figure: Figure | None = None) -> Axes:
    """Draw the loss around each image as a map, darker being lower, all on one scale; returns the first map's axes.

    A cross marks the image itself, a white line where the log-odds are 0: there the true class has probability 1/2.

    Raises:
        ValueError: there is no surface.

    Example:
        >>> steps = [-0.1, 0.0, 0.1]
        >>> flat = Surface(index=7, gradient=steps, random=steps, loss=[[-1.0] * 3, [0.5] * 3, [2.0] * 3])
        >>> plot_surfaces([flat]).get_title()
        'example 7'
    """
    _expect_some("surfaces", surfaces)
    figure = figure or Figure(figsize=(WIDTH, 1.2 + 2.9 / max(2, len(surfaces))), layout="constrained")
    axes = figure.subplots(1, len(surfaces), sharey=True, squeeze=False)[0]
    losses = [value for one in surfaces for line in one.loss for value in line]
    for ax, one in zip(axes, surfaces, strict=True):
        reach = (one.random[0], one.random[-1], one.gradient[0], one.gradient[-1])
        drawn = ax.imshow(
            one.loss, extent=reach, origin="lower", aspect="auto", cmap="cividis", vmin=min(losses), vmax=max(losses),
            interpolation="none",
        )  # fmt: skip
        values = [value for line in one.loss for value in line]
        if min(values) < 0 < max(values):
            for colour, width in ((DARK, 2.6), (LIGHT, 1.3)):
                ax.contour(one.random, one.gradient, one.loss, levels=[0], colors=colour, linewidths=width)
        for colour, width in ((DARK, 2.6), (LIGHT, 1.3)):
            ax.plot([0], [0], "+", color=colour, markersize=9 + width, markeredgewidth=width)
        ax.set_xticks(reach[:2], ["\N{MINUS SIGN}ε", "ε"])
        ax.set_yticks([reach[2], 0, reach[3]], ["\N{MINUS SIGN}ε", "0", "ε"])
        ax.set_title(f"example {one.index}", fontsize=10)
        frame(ax)
    axes[0].set_ylabel("along the gradient")
    axes[len(axes) // 2].set_xlabel("along random signs")
    bar = figure.colorbar(drawn, ax=list(axes), orientation="horizontal", aspect=40, pad=0.03)
    bar.set_label("log-odds against the true class, in nats")
    bar.outline.set_visible(False)
    first: Axes = axes[0]
    return first


def plot_claimed_against_robust(records: Sequence[AuditRecord], *, ax: Axes | None = None) -> Axes:
    """Draw, one row per record, how far accuracy falls from the claimed to the robust accuracy, with 95 % intervals.

    Raises:
        ValueError: there is no record.

    Example:
        >>> plot_claimed_against_robust([])
        Traceback (most recent call last):
        ValueError: records: expected at least one, got none
    """
    _expect_some("records", records)
    ax = trim(ax or new_axes(1.0 + 0.55 * len(records)))
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
    name_rows(ax, [record.model_name for record in records], falls)
    keys = [
        *ax.plot([], [], "|", color=GREY, markersize=11, markeredgewidth=2),
        *ax.plot([], [], "o", color=GREY, markersize=7),
        *ax.plot([], [], color=GREY, alpha=0.35, linewidth=7, solid_capstyle="butt"),
    ]
    legend(ax, keys, ["claimed accuracy", "robust accuracy", "95 % interval"], above=1.0)
    return ax


def plot_gains(causes: Sequence[Cause], *, ax: Axes | None = None) -> Axes:
    """Draw how many points of accuracy each remedy wins over its equal-budget control, with intervals.

    Causes of masking are round, mere weaknesses of the attack are square.

    Raises:
        ValueError: there is no cause.

    Example:
        >>> cause = Cause(name="few steps", kind="weak attack", gain=0.1, low=0.08, high=0.12, p_value=0.001)
        >>> plot_gains([cause]).get_xlabel()
        'points won by the remedy'
    """
    _expect_some("causes", causes)
    ax = trim(ax or new_axes(0.75 + 0.55 * len(causes)))
    for row, cause in enumerate(causes):
        colour, marker = (VERMILION, "o") if cause.kind == "masking" else (GREY, "s")
        ax.plot([100 * cause.low, 100 * cause.high], [row, row], color=colour, linewidth=1.8)
        ax.plot([100 * cause.gain], [row], marker, color=colour, markersize=6)
    ax.set_xlim(min(0, *(110 * cause.low for cause in causes)), max(1, *(110 * cause.high for cause in causes)))
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.set_xlabel("points won by the remedy")
    name_rows(ax, [cause.name for cause in causes], [points(cause).replace(" points", "") for cause in causes])
    return ax


def _expect_some(name: str, values: Sequence[object]) -> None:
    if not values:
        raise ValueError(f"{name}: expected at least one, got none")
