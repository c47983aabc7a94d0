"""Was the former champion better? A sequential test on labelled rows that both models answered.

Only discordant rows count, those that exactly one of the two gets right. Hypothesis: given all earlier rows, each discordant row
is one of the former champion's with a probability of at most 1/2, that is, it is no better. After b discordant rows for it and c
for the champion,

    capital = ∫ (2q)^b (2 (1 - q))^c dπ(q),    q from 1/2 to 1,

is a nonnegative supermartingale that starts at 1, so it ever reaches 1 / α with a probability of at most α (Ville's inequality).
π has most of its weight near 1/2, because successive champions are nearly equal. It is a grid of values of q, and the
statement holds for any such grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import logsumexp

from headway.monitoring.intervals import difference_interval

#: q of each alternative: 1/2 + v²/2 for v evenly spaced from 0 to 1.
SHARES = 0.5 + 0.5 * ((np.arange(200) + 0.5) / 200) ** 2
#: Rows of a block whose capitals are computed at once.
BLOCK = 1_000


@dataclass(frozen=True)
class Comparison:
    """The former champion against the champion.

    Attributes:
        rows: labelled rows that both answered.
        only_former, only_champion: discordant rows.
        capital_log10, maximum_log10: log10 of the capital against "the former champion is no better", now and at its highest.
        difference, low, high: accuracy of the former champion minus that of the champion, with an interval that holds it at all
            times at once.
    """

    rows: int
    only_former: int
    only_champion: int
    capital_log10: float
    maximum_log10: float
    difference: float
    low: float
    high: float


class Guard:
    """A sequential comparison of the former champion with the champion.

    Processing rows in one call or in any cuts gives identical floats, also with :meth:`state` and :meth:`from_state` in between.

    Args:
        thresholds: capitals whose first crossing is remembered, such as 1 / α.
    """

    def __init__(self, thresholds: Sequence[float] = ()) -> None:
        self.rows = self.only_former = self.only_champion = 0
        self.maximum_log10 = 0.0
        self._crossings: dict[float, int | None] = {float(threshold): None for threshold in thresholds}

    def update(self, former_right: np.ndarray, champion_right: np.ndarray) -> None:
        """Read the next labelled rows that both models answered.

        Args:
            former_right, champion_right: whether each model is right, bool, both (rows,).

        Raises:
            ValueError: the two have different lengths.
        """
        former_right, champion_right = np.asarray(former_right, dtype=bool), np.asarray(champion_right, dtype=bool)
        if former_right.shape != champion_right.shape:
            raise ValueError(f"{len(former_right)} answers of the former champion, {len(champion_right)} of the champion")
        discordant = np.flatnonzero(former_right != champion_right)
        for start in range(0, len(discordant), BLOCK):
            which = discordant[start : start + BLOCK]
            wins = self.only_former + np.cumsum(former_right[which])
            losses = self.only_champion + np.cumsum(champion_right[which])
            levels = log10_capital(wins, losses)
            self.maximum_log10 = max(self.maximum_log10, float(levels.max()))
            for threshold, crossed in self._crossings.items():
                reached = levels >= math.log10(threshold)
                if crossed is None and reached.any():
                    self._crossings[threshold] = self.rows + int(which[reached.argmax()]) + 1
            self.only_former, self.only_champion = int(wins[-1]), int(losses[-1])
        self.rows += len(former_right)

    def crossed_at(self, threshold: float) -> int | None:
        """The row, counted from 1, at which the capital first reached one of the ``thresholds``; None if it has not.

        Raises:
            KeyError: crossings of this threshold are not remembered.
        """
        return self._crossings[threshold]

    def comparison(self, alpha: float) -> Comparison:
        """What the rows so far show; the interval ever misses with a probability of at most ``alpha``."""
        wins, losses = self.only_former, self.only_champion
        low, high = difference_interval(wins, losses, self.rows - wins - losses, alpha)
        return Comparison(
            rows=self.rows,
            only_former=wins,
            only_champion=losses,
            capital_log10=float(log10_capital(np.array([wins]), np.array([losses]))[0]),
            maximum_log10=self.maximum_log10,
            difference=(wins - losses) / self.rows if self.rows else 0.0,
            low=low,
            high=high,
        )

    def state(self) -> dict[str, Any]:
        """Everything that :meth:`from_state` needs, as plain JSON."""
        return {
            "rows": self.rows,
            "only_former": self.only_former,
            "only_champion": self.only_champion,
            "maximum_log10": self.maximum_log10,
            "crossings": [[threshold, row] for threshold, row in self._crossings.items()],
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Guard:
        """The comparison that :meth:`state` describes."""
        guard = cls()
        guard.rows, guard.only_former, guard.only_champion = state["rows"], state["only_former"], state["only_champion"]
        guard.maximum_log10 = state["maximum_log10"]
        guard._crossings = dict(state["crossings"])
        return guard


def log10_capital(only_former: np.ndarray, only_champion: np.ndarray) -> np.ndarray:
    """log10 of the capital against "the former champion is no better", float64, in the shape of the counts."""
    wins, losses = np.asarray(only_former)[..., None], np.asarray(only_champion)[..., None]
    logs = wins * np.log(2 * SHARES) + losses * np.log(2 * (1 - SHARES))  # (…, grid)
    return np.asarray((logsumexp(logs, axis=-1) - math.log(len(SHARES))) / math.log(10))
