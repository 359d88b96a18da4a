"""Figures of a report: scales that fit the data, names that cannot break them, SVG that fits a page."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from records import inconclusive, margins, masked, not_masked, surface
from unmask.reports.plots import (
    plot_accuracy_curves,
    plot_claimed_against_robust,
    plot_gains,
    plot_histogram,
    plot_models_over_epsilon,
    plot_surfaces,
)
from unmask.reports.record import Cause, Curve, Histogram
from unmask.reports.svg import PALETTE, to_svg


def test_svg_keeps_text_as_text_and_takes_font_and_ink_from_the_page() -> None:
    ax = plot_accuracy_curves(masked().curves, epsilon=0.25, chance=0.1)
    svg = to_svg(ax.get_figure(), name="first", title="A & B")  # type: ignore[arg-type]
    root = ElementTree.fromstring(svg)
    texts = [element.text for element in root.iter() if element.tag.endswith("}text")]
    assert {"FGSM, cross entropy", "audited: 0.25", "guessing: 10.0 %", "epsilon"} <= set(texts)
    assert root.attrib["aria-label"] == root[0].text == "A & B"
    assert root.attrib["width"] == "100%"
    assert "height" not in root.attrib
    assert "var(--blue, #0072b2)" in svg
    assert not re.search(r"<\?xml|<!DOCTYPE|<style|DejaVu|#000000|<metadata", svg)


def test_svg_ids_start_with_the_name_and_equal_figures_are_equal() -> None:
    def ids(svg: str) -> set[str]:
        return set(re.findall(r' id="([^"]+)"', svg))

    first, again, other = (
        to_svg(plot_histogram(margins(38, 18)).get_figure(), name=name, title="Margins")  # type: ignore[arg-type]
        for name in ("one", "one", "two")
    )
    assert first == again
    assert all(value.startswith("one-") for value in ids(first))
    assert not ids(first) & ids(other)


def luminance(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize("colour", PALETTE.values())
def test_colours_read_on_white_and_on_black(colour: str) -> None:
    assert 1.05 / (luminance(colour) + 0.05) >= 3
    assert (luminance(colour) + 0.05) / 0.05 >= 3


@pytest.mark.parametrize(
    ("x", "scale"),
    [([0.0, 0.1, 0.2, 0.3], "linear"), ([0.001, 0.01, 0.1], "log"), ([0.0, 0.001, 0.1], "symlog"), ([0.0], "linear")],
)
def test_epsilon_is_drawn_on_the_scale_it_spans(x: list[float], scale: str) -> None:
    curve = Curve(name="FGSM", x=x, y=[0.5] * len(x))
    assert plot_accuracy_curves([curve], epsilon=0.1, chance=0.1).get_xscale() == scale


@pytest.mark.parametrize(("counts", "scale"), [([5, 9, 0], "linear"), ([1, 900, 0], "log"), ([0, 0, 0], "linear")])
def test_counts_that_span_decades_get_a_log_axis(counts: list[int], scale: str) -> None:
    assert plot_histogram(Histogram(name="m", edges=[0, 1, 2, 3], counts=counts)).get_yscale() == scale


def test_a_far_mark_is_named_without_squeezing_the_data() -> None:
    ax = plot_histogram(
        Histogram(name="m", edges=[0, 6, 12], counts=[2, 3], marks={"rounds": 13.0, "underflow": 104.0})
    )
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["rounds: 13", "underflow: 104 (outside)"]
    assert ax.get_xlim()[1] < 20


def test_figures_draw_into_the_axes_they_are_given() -> None:
    ax = Figure().add_subplot()
    assert plot_gains(masked().decision.causes, ax=ax) is ax
    assert plot_claimed_against_robust(
        [masked(), not_masked(), inconclusive()], ax=Figure().add_subplot()
    ).get_xlim() == (0, 1)


def test_gains_are_drawn_in_points_with_their_intervals() -> None:
    cause = Cause(name="few steps", kind="masking", gain=0.1, low=-0.02, high=0.12, p_value=0.2)
    ax = plot_gains([cause])
    interval, middle, zero = (np.asarray(line.get_xdata(), dtype=float) for line in ax.lines)
    np.testing.assert_allclose(interval, [-2, 12])
    np.testing.assert_allclose([*middle, *zero], [10, 0, 0])
    assert ax.get_xlim()[0] < -2


def test_a_surface_is_drawn_the_right_way_round() -> None:
    ax = plot_surfaces([surface(3, 40.0)])
    (image,) = ax.get_images()
    assert image.origin == "lower"
    assert tuple(image.get_extent()) == (-0.25, 0.25, -0.25, 0.25)
    np.testing.assert_array_equal(image.get_array(), surface(3, 40.0).loss)


def test_surfaces_share_one_scale_of_colours() -> None:
    figure = plot_surfaces([surface(3, 40.0), surface(7, 4.0)]).get_figure()
    assert isinstance(figure, Figure)
    scales = {ax.get_images()[0].get_clim() for ax in figure.axes if ax.get_images()}
    assert len(scales) == 1


def test_a_surface_that_is_flat_or_never_0_is_drawn() -> None:
    flat = replace(surface(3, 0.0), loss=[[-7.0] * 21] * 21)
    svg = to_svg(plot_surfaces([flat]).get_figure(), name="flat", title="Flat")  # type: ignore[arg-type]
    assert "example 3" in svg


def test_models_over_epsilon_leaves_out_who_has_no_curve() -> None:
    ax = plot_models_over_epsilon([masked(), not_masked(), inconclusive()])
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [masked().model_name, not_masked().model_name]


@pytest.mark.parametrize("draw", [plot_gains, plot_claimed_against_robust, plot_surfaces, plot_models_over_epsilon])
def test_nothing_to_draw_is_an_error(draw) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="expected at least one, got none"):
        draw([])


def test_no_curves_are_an_error() -> None:
    with pytest.raises(ValueError, match="curves: expected at least one, got none"):
        plot_accuracy_curves([], epsilon=0.1, chance=0.1)


@pytest.mark.parametrize("name", ["$x_1$", "_hidden", "模型", "a\nb\x1b[0m", "n" * 200, ""])
def test_any_name_can_be_drawn(name: str) -> None:
    ax = plot_accuracy_curves([Curve(name=name, x=[0, 1], y=[1, 0])], epsilon=0.5, chance=0.1)
    svg = to_svg(ax.get_figure(), name="figure", title=name)  # type: ignore[arg-type]
    texts = [element.text or "" for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("}text")]
    start = "".join(name.split())[:1]
    assert any(text.strip().startswith(start) and len(text) <= 36 for text in texts)
