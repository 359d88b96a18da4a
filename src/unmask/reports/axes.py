"""The parts that the figures of an audit share: axes, legends and labels that stay legible 360 pixels wide."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, PercentFormatter
from matplotlib.transforms import ScaledTranslation

from unmask.reports.svg import BLACK, PALETTE
from unmask.reports.words import bound, plain

GREY = PALETTE["grey"]
# Inches. Narrow on purpose: on a screen of 360 pixels the text of a figure this wide is still 12 pixels high.
WIDTH = 3.75


def new_axes(height: float) -> Axes:
    """Return axes of a figure of its own, so many inches high.

    Example:
        >>> new_axes(2).figure.get_size_inches().tolist()
        [3.75, 2.0]
    """
    return Figure(figsize=(WIDTH, height), layout="constrained").add_subplot()


def frame(ax: Axes) -> None:
    """Remove the frame around a map.

    Example:
        >>> frame(ax := new_axes(2))
        >>> ax.spines["left"].get_visible()
        False
    """
    ax.spines[:].set_visible(False)
    ax.tick_params(color=GREY, width=0.8)


def trim(ax: Axes) -> Axes:
    """Remove the lines at the top and the right; return the same axes.

    Example:
        >>> trim(new_axes(2)).spines["top"].get_visible()
        False
    """
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set(color=GREY, linewidth=0.8)
    ax.tick_params(color=GREY, width=0.8)
    return ax


def short(text: str, length: int) -> str:
    """Return a user's text on one line and no longer than ``length``; a leading underscore would hide it from a legend.

    Example:
        >>> short("a name that is much too long", 11)
        'a nam… long'
    """
    text = plain(text)
    if len(text) > length:
        # Cut from the middle: names that are compared often begin alike and differ at the end.
        text = f"{text[: length // 2]}\N{HORIZONTAL ELLIPSIS}{text[length // 2 + 1 - length :]}"
    return f" {text}" if text.startswith("_") else text


def legend(ax: Axes, handles: Sequence[Artist], names: Sequence[str], *, above: float, left: float = 0.0) -> None:
    """Draw a legend over the axes, so many inches to their left; in columns if names are short.

    Example:
        >>> legend(ax := new_axes(2), ax.plot([0, 1]), ["PGD"], above=1.1)
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['PGD']
    """
    names = [short(name, 36) for name in names]
    beside = ScaledTranslation(-left, 0, ax.figure.dpi_scale_trans)
    legend = ax.legend(
        handles, names, loc="lower left", bbox_to_anchor=(0, above), bbox_transform=ax.transAxes + beside,
        ncols=_columns(names), columnspacing=1, handlelength=1.5, handletextpad=0.6, borderaxespad=0.2, fontsize=10,
        frameon=False,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)


def _columns(names: Sequence[str]) -> int:
    """Return the number of columns that fit: a character takes 5.7 points of the width, and a column's line 31."""
    widest = sorted(map(len, names), reverse=True)
    return next((n for n in (3, 2) if 5.7 * sum(widest[:n]) + 31 * n <= 72 * WIDTH - 5), 1)


def scale_epsilon(ax: Axes, values: Sequence[float]) -> None:
    """Set a logarithmic axis where the values span more than a factor of 30, linear around 0.

    Example:
        >>> scale_epsilon(ax := new_axes(2), [0.01, 1.0])
        >>> ax.get_xscale()
        'log'
    """
    positive = [value for value in values if value > 0]
    if not positive or max(positive) <= 30 * min(positive):
        return
    if min(values) <= 0:
        ax.set_xscale("symlog", linthresh=min(positive), linscale=0.5)
        ax.set_xlim(min(values), max(values))
    else:
        ax.set_xscale("log")
    plain_numbers(ax.xaxis)


def mark_epsilon(ax: Axes, epsilon: float) -> None:
    """Draw a line and a word at the epsilon that was audited.

    Example:
        >>> mark_epsilon(ax := new_axes(2), 0.1)
        >>> ax.texts[0].get_text()
        'audited: 0.1'
    """
    ax.axvline(epsilon, color=BLACK, linewidth=0.9)
    ax.text(epsilon, 1.02, f"audited: {bound(epsilon)}", transform=ax.get_xaxis_transform(), ha="center")


def percent_over_epsilon(ax: Axes) -> None:
    """Set the axes for accuracy in per cent over epsilon.

    Example:
        >>> percent_over_epsilon(ax := new_axes(2))
        >>> ax.get_xlabel(), ax.get_ylabel()
        ('epsilon', 'accuracy')
    """
    ax.set(xlabel="epsilon", ylabel="accuracy", ylim=(0, 1))
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))


def plain_numbers(axis: Axis) -> None:
    """Write 0.01 where matplotlib would set a power of ten as a formula, character by character.

    Example:
        >>> plain_numbers((ax := new_axes(2)).xaxis)
        >>> ax.xaxis.get_major_formatter()(0.01)
        '0.01'
    """
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def name_rows(ax: Axes, names: Sequence[str], figures: Sequence[str]) -> None:
    """Write each row's name above it, from the left, and its figures at its right: long names cost height, not width.

    Example:
        >>> name_rows(ax := new_axes(2), ["few steps"], ["+10.0"])
        >>> [text.get_text() for text in ax.texts]
        ['few steps', '+10.0']
    """
    ax.set_ylim(len(names) - 0.6, -0.75)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.grid(axis="x", color=GREY, alpha=0.25, linewidth=0.6)
    across = ax.get_yaxis_transform()
    for row, (name, figure) in enumerate(zip(names, figures, strict=True)):
        title = ax.text(0.015, row - 0.42, short(name, 36), transform=across, va="center", parse_math=False)
        # Names reach over the figures below them; were they part of the layout, they would push the axes aside.
        title.set(weight="bold", in_layout=False)
        ax.text(1.04, row, figure, transform=across, va="center", parse_math=False)
