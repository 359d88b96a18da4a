"""Figures of a reproduction, drawn from its record alone, in the paper's axes, with its values marked."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#c0699a", "#7f7f7f", "#b8860b", "#56b4e9", "#000000")
MARKERS = "osD^v<>p"
DASHES = ("-", "--", ":")

IN_A_ROW = 3
"""Panels beside each other; more go on below, in rows as even as can be."""


def draw(record: Mapping[str, Any]) -> bytes:
    """Draw the figure of an artefact's record as SVG: the same bytes for the same record.

    Example:
        >>> series = {"ours": {"x": [1, 2], "mean": [3, 4], "low": [None, None], "high": [None, None]}}
        >>> series["ours"]["values"] = [[3], [4]]
        >>> panel = {"title": "t", "xlabel": "x", "ylabel": "y", "series": "", "xscale": "log", "yscale": "linear"}
        >>> panel |= {"marks": [], "level": "", "verticals": {}}
        >>> draw({"series": series, "panels": [panel], "profile": "smoke"})[:5]
        b'<?xml'
    """
    panels, images = record["panels"], record.get("images", {})
    count, height = len(panels or images), 5.0 if panels else 2.6
    lines = math.ceil(count / IN_A_ROW)
    columns = math.ceil(count / lines)
    figure = Figure(figsize=(max(5.2 * columns, 4), height * lines), layout="constrained")
    places = [figure.add_subplot(lines, columns, 1 + place) for place in range(count)]
    if panels:
        for axes, panel in zip(places, panels, strict=True):
            _panel(axes, panel, record["series"])
        _level(places, panels)
    else:
        for axes, (title, rows) in zip(places, images.items(), strict=True):
            axes.imshow(rows, cmap="gray_r", vmin=0, vmax=1)
            axes.set(title=title, xticks=[], yticks=[])
    if record["profile"] != "paper":
        figure.suptitle(f"profile {record['profile']}: shorter than the paper's runs")
    return _svg(figure)


def _level(places: Sequence[Axes], panels: Sequence[Mapping[str, Any]]) -> None:
    """Give panels of one level the scale of the widest; empty panels keep theirs."""
    for level in {panel["level"] for panel in panels} - {""}:
        alike = [axes for axes, panel in zip(places, panels, strict=True) if panel["level"] == level and axes.lines]
        limits = [axes.get_ylim() for axes in alike]
        for axes in alike:
            axes.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))


def _panel(axes: Axes, panel: Mapping[str, Any], series: Mapping[str, Any]) -> None:
    shown = {name: one for name, one in series.items() if name.startswith(panel["series"]) and one["x"]}
    for number, (name, one) in enumerate(shown.items()):
        _line(axes, name.removeprefix(panel["series"]).strip(" :"), one, number, panel.get("style", "line"))
    axes.set(xlabel=panel["xlabel"], ylabel=panel["ylabel"], xscale=panel["xscale"])
    if panel["yscale"] == "log" and any(value > 0 for one in shown.values() for value in one["mean"]):
        axes.set_yscale("log")
    for number, mark in enumerate(panel["marks"]):
        _mark(axes, mark, number)
    for label, x in panel["verticals"].items() if shown else ():
        axes.axvline(x, color="0.5", linewidth=1, linestyle="--", label=label)
    axes.set_title(panel["title"], fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    if not shown:
        axes.text(0.5, 0.5, "not run", transform=axes.transAxes, ha="center", color="0.5")
        if not panel["marks"]:
            axes.set(xticks=[], yticks=[])
    if shown or panel["marks"]:
        axes.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2)


def _line(axes: Axes, label: str, one: Mapping[str, Any], number: int, style: str) -> None:
    colour, marker = COLOURS[number % 8], MARKERS[number % 8]
    axes.plot(
        one["x"], one["mean"], color=colour, marker=marker, markersize=3.5, linewidth=1.2, label=label,
        linestyle=DASHES[number // 8 % 3] if style == "line" else "none",
    )  # fmt: skip
    low, high = zip(*((min(values), max(values)) for values in one["values"]), strict=True)
    if style == "line" and low != high:
        axes.fill_between(one["x"], low, high, color=colour, alpha=0.15, linewidth=0)


def _mark(axes: Axes, mark: Mapping[str, Any], number: int) -> None:
    """Draw a published value: a hatched area where it is a range, else a cross."""
    (x0, x1), (y0, y1) = mark["x"], mark["y"]
    label = f"published: {mark['label']}"
    if x0 == x1 and y0 == y1:
        axes.plot([x0], [y0], "x", color="black", markersize=8, markeredgewidth=2, label=label, zorder=5)
    elif x0 == x1 or y0 == y1:
        axes.plot([x0, x1], [y0, y1], color="black", linewidth=2, linestyle=DASHES[number % 3], label=label, zorder=5)
    else:
        area = Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, hatch="////", alpha=0.3, linewidth=0, label=label)
        axes.add_patch(area)
        axes.update_datalim([(x0, y0), (x1, y1)])
        axes.autoscale_view()


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "unmask", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
