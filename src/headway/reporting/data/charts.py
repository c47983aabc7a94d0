"""The figures of a data profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from headway.reporting.figures import ACCENT, GOLD, GREY, GRID, INK, MUTED, new_figure
from headway.reporting.formatting import share, shorten, width_in_ems

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: More classes than this are no longer drawn one by one.
MAX_BARS = 40
SPLIT_COLOURS = {"train": ACCENT, "validation": GOLD, "test": MUTED}
SPLIT_NAMES = {"train": "training", "validation": "validation", "test": "test"}

PIXELS_PER_INCH = 72
FONT_SIZE = 12
PLAIN: dict[str, Any] = {"size": FONT_SIZE, "parse_math": False}


def rows_of(entry: Mapping[str, Any]) -> int:
    """Rows of a class over all splits."""
    return sum(entry[split] for split in SPLIT_COLOURS)


def by_size(profile: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The classes, largest first, equal ones by label."""
    return sorted(profile["classes"], key=lambda entry: (-rows_of(entry), entry["label"]))


def class_figure(profile: Mapping[str, Any], width: float = 880) -> Figure:
    """Rows of each class by split; of more than ``MAX_BARS`` classes the sizes in order of rank."""
    classes = by_size(profile)
    if len(classes) > MAX_BARS:
        return _rank_figure(classes, width)
    rows = [rows_of(entry) for entry in classes]
    total = max(sum(rows), 1)
    return bar_figure(
        [entry["label"] for entry in classes],
        [[entry[split] for entry in classes] for split in SPLIT_COLOURS],
        [f"{count:,}  ·  {share(count / total)}" for count in rows],
        width,
        colours=tuple(SPLIT_COLOURS.values()),
        legend=tuple(SPLIT_NAMES.values()),
    )


def bar_figure(
    labels: Sequence[str],
    series: Sequence[Sequence[float]],
    notes: Sequence[str],
    width: float = 420,
    colours: Sequence[str] = (ACCENT,),
    legend: Sequence[str] = (),
) -> Figure:
    """Horizontal bars, the first on top, with a note behind each.

    Args:
        series: one sequence of values for each colour; they are stacked.
        width: in pixels; the height follows from the number of bars.
    """
    labels = [shorten(label) for label in labels]
    left = FONT_SIZE * max(map(width_in_ems, labels)) + 14
    right = FONT_SIZE * max(map(width_in_ems, notes)) + 12
    figure, axes = _canvas(width, 26 * len(labels) + 8 + 28 * bool(legend), left, right, top=4 + 28 * bool(legend), bottom=4)
    ends = np.zeros(len(labels))
    for values, colour in zip(series, colours, strict=True):
        axes.barh(range(len(labels)), values, left=ends, color=colour, height=0.62)
        ends = ends + values
    scale = max(ends.max(), 1e-9) / (width - left - right)
    for place, (label, note, end) in enumerate(zip(labels, notes, ends, strict=True)):
        axes.text(-8 * scale, place, label, ha="right", va="center_baseline", color=INK, **PLAIN)
        axes.text(end + 7 * scale, place, note, ha="left", va="center_baseline", color=GREY, **PLAIN)
    axes.set(xlim=(0, scale * (width - left - right)), ylim=(len(labels) - 0.5, -0.5))
    axes.set_axis_off()
    for place, (name, colour) in enumerate(zip(legend, colours, strict=False)):
        x, y = left + 100 * place, 1 - 14 / (figure.get_figheight() * PIXELS_PER_INCH)
        figure.text(x / width, y, "■", color=colour, va="center_baseline", **PLAIN)
        figure.text((x + 16) / width, y, name, color=INK, va="center_baseline", **PLAIN)
    return figure


def length_figure(profile: Mapping[str, Any], width: float = 420) -> Figure:
    """Histogram of the texts' lengths in characters on a logarithmic axis, with the median and the 95th percentile."""
    characters = profile["characters"]
    edges, counts = np.maximum(characters["edges"], 0.5), np.asarray(characters["counts"])
    figure, axes = _canvas(width, 230, left=58, right=14, top=34, bottom=44)
    axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=ACCENT, alpha=0.8)
    axes.set_xscale("log")
    for key, words, colour in (("median", "median: {:,.0f}", INK), ("p95", "95% have up to {:,.0f}", MUTED)):
        value = characters[key]
        axes.axvline(max(value, 0.5), color=colour, linewidth=1.5, label=words.format(value))
    _legend(axes)
    axes.set_xticks(_log_ticks(edges[0], edges[-1]))
    _whole_numbers(axes.xaxis)
    _whole_numbers(axes.yaxis)
    axes.minorticks_off()
    axes.set_xlabel("characters", color=GREY, **PLAIN)
    axes.set_ylabel("texts", color=GREY, **PLAIN)
    return figure


def _rank_figure(classes: Sequence[Mapping[str, Any]], width: float) -> Figure:
    figure, axes = _canvas(width, 300, left=66, right=16, top=34, bottom=44)
    ranks = np.arange(1, len(classes) + 1)
    rows = np.array([rows_of(entry) for entry in classes], dtype=float)
    tested = np.array([entry["test"] or np.nan for entry in classes])
    axes.plot(ranks, rows, ".", color=ACCENT, markersize=5, label="all rows")
    axes.plot(ranks, tested, ".", color=MUTED, markersize=5, label="test rows")
    axes.set_yscale("log")
    axes.set_yticks(_log_ticks(*axes.get_ylim()))
    axes.set_xlim(0.5, len(classes) + 0.5)
    axes.minorticks_off()
    _whole_numbers(axes.xaxis)
    _whole_numbers(axes.yaxis)
    axes.set_xlabel(f"rank of the class by its rows, 1 to {len(classes):,}", color=GREY, **PLAIN)
    axes.set_ylabel("rows", color=GREY, **PLAIN)
    _legend(axes)
    return figure


def _canvas(width: float, height: float, left: float, right: float, top: float, bottom: float) -> tuple[Figure, Axes]:
    """A figure and its axes, sizes and margins in pixels: no font is measured, so that each browser may take its own."""
    figure = new_figure(width / PIXELS_PER_INCH, height / PIXELS_PER_INCH, layout=None)
    axes = figure.add_axes((left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height))
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRID)
    axes.tick_params(colors=GREY, length=0, labelsize=FONT_SIZE - 1)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _legend(axes: Axes) -> None:
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=2,
        frameon=False,
        labelcolor=INK,
        fontsize=FONT_SIZE,
        borderaxespad=0.2,
        handlelength=1,
        markerscale=2,
    )


def _log_ticks(low: float, high: float) -> list[float]:
    """Round numbers between two, every power of ten or, when these are few, some in between; else the two themselves."""
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 5, 7)):
        ticks = [step * 10.0**power for power in range(12) for step in steps]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) > 2:
            return inside
    return [low, high]


def _whole_numbers(axis: Any) -> None:
    """Ticks with thousands separated, and none between 0 and 1, where no rank and no number of rows is."""
    axis.set_major_formatter(lambda value, _: "" if 0 < value < 1 else f"{value:,.0f}")
