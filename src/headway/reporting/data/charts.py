"""The figures of the data page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from headway.reporting.figures import BLUE, GOLD, GREY, GRID, INK, RED, bar_chart, legend_above, new_figure
from headway.reporting.formatting import share

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

#: With more classes, their sizes are drawn by rank instead of one bar each.
MAX_BARS = 40
MAX_SCRIPTS = 8
#: Splits in their order, by the names that a page has for them.
SPLIT_NAMES = {"train": "training", "validation": "validation", "test": "test"}
SPLIT_COLOURS = {"train": BLUE, "validation": GOLD, "test": RED}


def rows_of_class(entry: Mapping[str, Any]) -> int:
    """Rows of a class in all splits."""
    return sum(entry[split] for split in SPLIT_NAMES)


def by_size(profile: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The classes, largest first; classes of equal size by label."""
    return sorted(profile["classes"], key=lambda entry: (-rows_of_class(entry), entry["label"]))


def class_figure(profile: Mapping[str, Any]) -> Figure:
    """Rows of each class by split. With more than ``MAX_BARS`` classes, their sizes by rank."""
    classes = by_size(profile)
    if len(classes) > MAX_BARS:
        return _rank_figure(classes)
    rows = [rows_of_class(entry) for entry in classes]
    total = max(sum(rows), 1)
    return bar_chart(
        [entry["label"] for entry in classes],
        [[entry[split] for entry in classes] for split in SPLIT_COLOURS],
        [f"{count:,}  ·  {share(count / total)}" for count in rows],
        width=12.2,
        colours=tuple(SPLIT_COLOURS.values()),
        legend=tuple(SPLIT_NAMES.values()),
    )


def length_figure(profile: Mapping[str, Any]) -> Figure:
    """Histogram of the texts' lengths on a logarithmic axis, with the median and the 95th percentile."""
    characters = profile["characters"]
    edges, counts = np.maximum(characters["edges"], 0.5), np.asarray(characters["counts"])
    figure = new_figure(5.8, 3.2)
    axes = figure.add_subplot()
    axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=BLUE, alpha=0.8)
    for key, name, colour in (("median", "median", INK), ("p95", "95th percentile", RED)):
        axes.axvline(max(characters[key], 0.5), color=colour, linewidth=1.5, label=f"{name}: {characters[key]:,.0f}")
    axes.set_xscale("log")
    _log_ticks(axes.xaxis)
    _style(axes, "characters", "texts")
    return figure


def script_figure(scripts: Mapping[str, float]) -> Figure:
    """Share of the rows by script, the largest first."""
    largest = sorted(scripts.items(), key=lambda item: (-item[1], item[0]))
    shown, rest = largest[:MAX_SCRIPTS], largest[MAX_SCRIPTS:]
    if rest:
        shown.append((f"{len(rest)} more", sum(value for _, value in rest)))
    return bar_chart([name for name, _ in shown], [[value for _, value in shown]], [share(value) for _, value in shown])


def duplicate_figure(duplicates: Mapping[str, int]) -> Figure:
    """Rows that are exact or near-duplicates of others."""
    rows = [duplicates["exact"], duplicates["near"]]
    notes = [f"{rows[0]:,} quarantined", f"{rows[1]:,} in {duplicates['near_groups']:,} groups"]
    return bar_chart(["exact duplicates", "near-duplicates"], [rows], notes)


def leakage_figure(leakage: Mapping[str, float]) -> Figure:
    """Share of the test rows with a near-duplicate in training: in a random split, and in this one."""
    before, after = leakage["random_split"], leakage["actual_split"]
    notes = [share(before), share(after)]
    return bar_chart(["random split", "this split"], [[before, 0], [0, after]], notes, colours=(RED, BLUE))


def quarantine_figure(rows_by_reason: Mapping[str, int]) -> Figure:
    """Quarantined rows by reason, the most frequent first."""
    reasons = sorted(((rows, reason) for reason, rows in rows_by_reason.items() if rows), reverse=True)
    rows = [rows for rows, _ in reasons]
    return bar_chart([reason for _, reason in reasons], [rows], [f"{count:,}" for count in rows])


def _rank_figure(classes: Sequence[Mapping[str, Any]]) -> Figure:
    figure = new_figure(12.2, 4.2)
    axes = figure.add_subplot()
    ranks = np.arange(1, len(classes) + 1)
    axes.plot(ranks, [rows_of_class(entry) for entry in classes], ".", color=BLUE, markersize=5, label="all rows")
    axes.plot(ranks, [entry["test"] or np.nan for entry in classes], ".", color=RED, markersize=5, label="test rows")
    axes.set_yscale("log")
    _log_ticks(axes.yaxis)
    axes.set_xlim(0.5, len(classes) + 0.5)
    _style(axes, f"rank of the class by its rows, 1 to {len(classes):,}", "rows")
    return figure


def _style(axes: Axes, x: str, y: str) -> None:
    """Quiet axes with a legend above them, and numbers with thousands separators."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRID)
    axes.tick_params(which="both", colors=GREY, length=0)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(x, color=GREY)
    axes.set_ylabel(y, color=GREY)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,.0f}")
    legend_above(axes)


def _log_ticks(axis: Axis) -> None:
    """Ticks at 1, 3, 10, 30 …; at other round numbers where fewer than two of these are in range."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1, 3)))
    axis.set_minor_locator(NullLocator())
