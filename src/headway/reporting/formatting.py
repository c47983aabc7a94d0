"""Test metrics, as records keep them, in the form in which pages and tables show them; what is absent is said to be absent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from headway.evaluation.headlines import HEADLINES

ABSENT = "absent"
#: What is no metric among the numbers.
COUNTS = {"rows", "positive_class"}
ENDINGS = ("_low", "_high")


class Measured(NamedTuple):
    """A number with its interval, None where there is none."""

    name: str
    value: float | None
    low: float | None
    high: float | None

    @property
    def shown(self) -> str:
        return shown(self.value)

    @property
    def interval(self) -> str:
        return interval(self.low, self.high)


def measured(scores: Mapping[str, Any]) -> list[Measured]:
    """The metrics of one model: every number that stands at the top, with the interval that stands beside it."""
    return [
        Measured(readable(name), value, scores.get(f"{name}_low"), scores.get(f"{name}_high"))
        for name, value in scores.items()
        if name not in COUNTS and not name.endswith(ENDINGS) and (value is None or isinstance(value, int | float))
    ]


def readable(name: str) -> str:
    return HEADLINES.get(name, name.replace("_", " "))


def shown(value: float | None) -> str:
    if value is None:
        return ABSENT
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if abs(value) >= 10 else f"{value:.4f}"


def interval(low: float | None, high: float | None) -> str:
    return ABSENT if low is None or high is None else f"{shown(low)} to {shown(high)}"
