"""``to_svg``: any figure of matplotlib as a drawing that belongs to a page, with the page's font and colours.

The colours follow Okabe and Ito (2008), so that colour-blind readers can tell them apart, and keep a contrast of 3 : 1
on white and on black.
"""

from __future__ import annotations

import io
import re
import warnings
from xml.etree import ElementTree

import matplotlib
from matplotlib.figure import Figure

from unmask.reports.words import plain

PALETTE = {"blue": "#0072b2", "vermilion": "#d55e00", "green": "#009e73", "purple": "#c0699a", "grey": "#7f7f7f"}
BLACK = "#000000"


def to_svg(figure: Figure, *, name: str, title: str) -> str:
    """Return the figure as an SVG element for a page: text stays text, in the page's font and colour; width 100 %.

    ``name`` begins every id, so that figures with different names can share a page; ``title`` is what a screen reader
    says in place of the picture. Equal figures give equal strings. Black becomes the page's text colour, and the
    colours of ``PALETTE`` what the page sets as ``--blue`` and so on.

    Example:
        >>> to_svg(Figure(figsize=(3.75, 2)), name="nothing", title="An empty figure")[:40]
        '<svg viewBox="0 0 270 144" width="100%" '
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
    """Return matplotlib's own SVG of a figure, without a date or random ids."""
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
