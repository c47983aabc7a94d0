"""How figures look and leave: one palette, one factory, and output in which the same numbers give the same bytes."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, ACCENT, MUTED = "#22303c", "#2166ac", "#b2182b"
GOLD, GREY, GRID = "#e3a53a", "#6b7783", "#d9dee3"
#: What Matplotlib draws frames and ticks with.
BLACK = "#000000"
#: What a page calls each colour, so that its style sheet can choose another one in the dark.
VARIABLES = {
    INK: "--ink",
    ACCENT: "--accent",
    MUTED: "--muted",
    GOLD: "--gold",
    GREY: "--grey",
    GRID: "--grid",
    BLACK: "--ink",
}


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """An empty figure that belongs to no window; width and height in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, without date and version."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # Scripts that the bundled font lacks are drawn as boxes; the metrics carry the names.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(path, dpi=120, metadata={"Software": None})


def to_svg(figure: Figure, name: str, description: str) -> str:
    """A figure as an SVG element to stand in a page: text stays text, a pixel is a 72nd of an inch, colours are variables.

    Args:
        name: one of its own for each figure of a page; what the figure refers to within itself is called after it.
        description: read out instead of the figure.
    """
    import matplotlib

    file = io.BytesIO()
    with warnings.catch_warnings(), matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    root = ElementTree.fromstring(file.getvalue())
    for element in root.iter():
        _make_inline(element)
    for child in root.findall("metadata") + [child for child in root.findall("defs") if child.find("style") is not None]:
        root.remove(child)
    _, _, width, height = root.attrib["viewBox"].split()
    root.attrib |= {"width": width, "height": height, "role": "img", "aria-label": description}
    return ElementTree.tostring(root, encoding="unicode")


def _make_inline(element: ElementTree.Element) -> None:
    """Drop what a page neither needs nor may hold twice: namespaces and the ids of groups; name the colours."""
    element.tag = element.tag.rpartition("}")[2]
    for key in list(element.attrib):
        value = element.attrib.pop(key)
        if key == "id" and element.tag == "g":
            continue
        if key == "style":
            for colour, variable in VARIABLES.items():
                value = value.replace(colour, f"var({variable})")
        element.attrib[key.rpartition("}")[2]] = value
