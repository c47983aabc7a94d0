"""Comparisons in rounds: contests run one after the other in each round, so that a busy machine slows all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

from rich.console import Console
from rich.table import Table

SPEEDS = ("documents/s", "lowest", "highest")


def alternated(contests: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each contest by round, after a round that warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in contests}
    for counted in [False] + [True] * rounds:
        for name, contest in contests.items():
            started = time.perf_counter()
            contest()
            if counted:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def speeds(rows: int, seconds: list[float]) -> list[str]:
    """Rows per second: median, lowest and highest of all rounds, as in SPEEDS."""
    found = [rows / value for value in seconds]
    return [f"{value:.0f}" for value in (statistics.median(found), min(found), max(found))]


def ratio(first: list[float], second: list[float]) -> float:
    """Median over the rounds of the first time divided by the second."""
    return statistics.median(one / other for one, other in zip(first, second, strict=True))


def print_table(console: Console, table: Table) -> None:
    """Print a table whose columns after the first are numbers."""
    table.title_justify = table.caption_justify = "left"
    for column in table.columns[1:]:
        column.justify = "right"
    console.print(table)
