"""Tables of the page, and how its numbers are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import binomtest


@dataclass
class Table:
    """A table with what a reader has to know about it."""

    title: str
    note: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)

    def markdown(self) -> str:
        """The table as Markdown, with its title as a heading."""
        lines = [f"## {self.title}", "", self.note, ""]
        lines += [f"| {' | '.join(self.columns)} |", "|" + " --- |" * len(self.columns)]
        lines += [f"| {' | '.join(row)} |" for row in self.rows]
        return "\n".join(lines) + "\n"


def rate(happened: np.ndarray) -> tuple[str, str]:
    """A share of streams and its Clopper–Pearson interval of 95%."""
    interval = binomtest(int(happened.sum()), len(happened)).proportion_ci(0.95)
    return f"{happened.mean():.2%}", f"{interval.low:.2%} to {interval.high:.2%}"


def delay(rows: np.ndarray) -> str:
    """Median and 90% quantile of numbers of rows; infinite where a stream had not been found when the simulation ended."""
    return " / ".join(
        f"{value:,.0f}" if np.isfinite(value) else "–" for value in np.quantile(rows, [0.5, 0.9], method="higher")
    )
