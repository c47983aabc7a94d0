"""The charts of the monitoring page: accuracy by day, and the evidence for a change by number of answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scipy.stats import binomtest

from headway.monitoring.record import Capital, MonitoringRecord
from headway.reporting.figures import BLUE, FONT_SIZE, GOLD, GREY, GRID, INK, RED, new_figure, plain_text
from headway.reporting.formatting import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Lines of scores that are drawn: those with the most evidence.
MOST_LINES = 4
STYLES = ((BLUE, "-"), (RED, "--"), (GOLD, "-."), (GREY, ":"))
#: Days with a name on the axis.
MOST_DAYS = 4
#: Width and height in inches: two fit beside each other on a page, and one on a phone.
SIZE = (5.0, 3.6)


def accuracy(record: MonitoringRecord) -> Figure:
    """Estimated accuracy by day, that of labelled answers with Wilson's intervals, and what was promised and is accepted."""
    figure, axes = _axes("accuracy")
    days = [day for day in record.days if day.rows]
    positions = range(len(days))
    promised = record.promised if record.promised is not None else record.reference.value
    axes.axhline(promised, color=GREY, linewidth=1.5, label="promised")
    axes.axhline(record.accepted, color=RED, linewidth=1.5, linestyle="--", label="accepted")
    estimated = [day.estimated for day in days if day.estimated is not None]
    axes.plot(positions, estimated, color=BLUE, marker="o", markersize=3, linewidth=1.5, label="estimated")
    labelled = False
    for position, day in enumerate(days):
        if rows := day.right + day.wrong:
            bounds = binomtest(day.right, rows).proportion_ci(0.95, method="wilson")
            axes.vlines(position, bounds.low, bounds.high, color=GOLD, linewidth=1.5)
            axes.plot(
                position, day.right / rows, "^", color=GOLD, markersize=5, label=None if labelled else "of labelled answers"
            )
            labelled = True
    step = max(1, -(-len(days) // MOST_DAYS))
    axes.set_xticks(list(positions)[::step], [shorten(day.day, 12) for day in days][::step], size=FONT_SIZE - 2)
    axes.set_xlim(-0.5, max(0.5, len(days) - 0.5))
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}%")
    _legend(figure)
    return figure


def evidence(capitals: tuple[Capital, ...]) -> Figure:
    """log10 of the capital of each bet by number of answers, and the line at which the change counts as shown."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = _axes("odds won")
    chosen = sorted(capitals, key=lambda one: one.threshold - one.highest)[:MOST_LINES]
    for one, (colour, line) in zip(chosen, STYLES, strict=False):
        rows = [row for row, _ in one.path]
        # Beyond twice the threshold the height says nothing more, and would flatten everything else.
        levels = [min(level, 2 * one.threshold) for _, level in one.path]
        axes.plot(rows, levels, color=colour, linestyle=line, linewidth=1.8, label=shorten(one.name, 20))
    if chosen:
        axes.axhline(
            max(one.threshold for one in chosen), color=INK, linewidth=1, linestyle=(0, (1, 1)), label="shown from here"
        )
    axes.set_xlabel("answers")
    axes.xaxis.set_major_locator(MaxNLocator(5, prune="upper"))  # a number at the right end would be cut
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{10**value:,g} : 1" if value % 1 == 0 and value >= 0 else "")
    _legend(figure)
    return figure


def _legend(figure: Figure) -> None:
    """A legend in two columns above the axes, as wide as the figure, because names may be long."""
    legend = figure.legend(
        loc="outside upper left", frameon=False, labelcolor=INK, fontsize=FONT_SIZE - 1, handlelength=1.6, ncols=2
    )
    plain_text(legend.get_texts())


def _axes(name: str) -> tuple[Figure, Axes]:
    figure = new_figure(*SIZE)
    axes = figure.subplots()
    axes.set_ylabel(name)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRID)
    axes.tick_params(colors=GREY, labelsize=FONT_SIZE - 1)
    return figure, axes
