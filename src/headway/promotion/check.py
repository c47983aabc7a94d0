"""The result of one check of the gate, and how its numbers are written. Light to import: no statistics here."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Base class of a decision and its parts: immutable, without unknown keys, finite numbers only."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Check(Frozen):
    """One check of the gate, with one sentence that explains it.

    ``value`` is what was measured, None if it could not be computed; ``low`` and ``high`` bound its confidence interval, None if
    it has none; ``threshold`` is what it was compared with, None if nothing limits it; ``details`` are further numbers.
    """

    name: str
    passed: bool
    value: float | None = None
    low: float | None = None
    high: float | None = None
    threshold: float | None = None
    explanation: str
    details: dict[str, Any] = {}

    @property
    def confidence(self) -> float | None:
        """Two-sided coverage of the interval around a difference of accuracies, from 0 to 1; None for other checks."""
        significance = self.details.get("significance")
        return None if significance is None else 1 - 2 * significance


def points(share: float, sign: bool = True) -> str:
    """A share, or a difference of two, in percentage points: "+2.40 points"."""
    return f"{signed(100 * share, 2) if sign else f'{100 * share:.2f}'} points"


def signed(value: float, digits: int) -> str:
    """A number with its sign, a true minus where negative."""
    return f"{value:+.{digits}f}".replace("-", "−")
