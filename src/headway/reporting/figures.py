"""The look of all figures: the palette, bar charts, and output as PNG and SVG. The same numbers always give the same bytes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from xml.etree import ElementTree

import numpy as np

from headway.reporting.formatting import shorten, width_in_ems

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

#: Every colour of the pages and figures, by name: on a light and on a dark screen. Blue is for or passed, red is against or
#: failed. Blue, red and gold stay apart under every form of colour blindness, and never stand alone: a mark, a line style or a
#: label says the same.
PALETTE = {
    "paper": ("#f6f7f8", "#14191e"),
    "card": ("#ffffff", "#1c2329"),
    "ink": ("#22303c", "#e3e8ec"),
    "grey": ("#5f6b77", "#98a4af"),
    "grid": ("#d9dee3", "#36414a"),
    "tint": ("#eef2f6", "#28323a"),
    "blue": ("#2166ac", "#66a6e3"),
    "red": ("#b8400e", "#ee7b52"),
    "gold": ("#e3a53a", "#f0cf78"),
}
INK, GREY, GRID, BLUE, RED, GOLD = (PALETTE[name][0] for name in ("ink", "grey", "grid", "blue", "red", "gold"))
#: Colours in Matplotlib's SVG, and the names by which a page can replace them on a dark screen. It draws frames in black.
VARIABLES = {light: f"--{name}" for name, (light, _) in PALETTE.items()} | {"#000000": "--ink"}
FONT_SIZE = 12


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """An empty figure. Width and height are in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def bar_chart(
    labels: Sequence[str],
    series: Sequence[Sequence[float]],
    notes: Sequence[str],
    width: float = 5.8,
    colours: Sequence[str] = (BLUE,),
    legend: Sequence[str] = (),
) -> Figure:
    """Horizontal bars, the first on top, with a note after each.

    The margins follow from the texts' approximate widths in any font: Matplotlib measures its own font, which has no
    Chinese or Arabic letters, while a page is shown in the browser's font.

    Args:
        series: the values, one sequence for each colour. They are stacked.
        width: in inches. The height follows from the number of bars.
        legend: names of the series.
    """
    labels = [shorten(label) for label in labels]
    height = 0.36 * len(labels) + 0.1 + 0.4 * bool(legend)
    figure = new_figure(width, height, layout=None)
    em = FONT_SIZE / 72 / width
    left, right = em * (max(map(width_in_ems, labels)) + 1), 1 - em * (max(map(width_in_ems, notes)) + 1)
    axes = figure.add_axes((left, 0.05 / height, right - left, (0.36 * len(labels)) / height))
    ends = np.zeros(len(labels))
    for values, colour, name in zip(series, colours, legend or [""] * len(series), strict=True):
        bars = axes.barh(range(len(labels)), values, left=ends, color=colour, height=0.62, label=name)
        ends = ends + values
    axes.bar_label(bars, notes, padding=7, color=GREY, size=FONT_SIZE, parse_math=False)
    axes.set_yticks(range(len(labels)), labels, color=INK, size=FONT_SIZE, parse_math=False)
    axes.tick_params(length=0, pad=7)
    axes.set(xlim=(0, max(ends.max(), 1e-9)), ylim=(len(labels) - 0.5, -0.5))
    axes.xaxis.set_visible(False)
    axes.spines[:].set_visible(False)
    if legend:
        legend_above(axes)
    return figure


def legend_above(axes: Axes) -> None:
    """A legend in one line above the axes."""
    placed: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 3, "borderaxespad": 0.2}
    axes.legend(frameon=False, labelcolor=INK, fontsize=FONT_SIZE, handlelength=1, **placed)


def plain_text(texts: Iterable[Text]) -> None:
    """Keep Matplotlib from reading a label with two dollar signs as a formula."""
    for text in texts:
        text.set_parse_math(False)


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, without Matplotlib's version in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # Letters that the bundled font lacks are drawn as boxes. The pages have the browser's fonts.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(path, dpi=120, metadata={"Software": None})


def to_svg(figure: Figure, name: str, description: str) -> str:
    """A figure as an SVG element for a page. Texts stay texts, and colours are the style sheet's variables.

    Args:
        name: unique on the page. Ids inside the SVG element are derived from it.
        description: text for screen readers.
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
    """Remove namespaces and the ids of groups, which would occur more than once on a page, and name the colours."""
    element.tag = element.tag.rpartition("}")[2]
    for key in list(element.attrib):
        value = element.attrib.pop(key)
        if key == "id" and element.tag == "g":
            continue
        if key == "style":
            for colour, variable in VARIABLES.items():
                value = value.replace(colour, f"var({variable})")
        element.attrib[key.rpartition("}")[2]] = value
