"""The capital of a bettor against a null hypothesis: an e-process that detects a change at any time.

Row by row, several experts bet. Expert k multiplies what it holds by a factor f_k ≥ 0 whose expectation, given all earlier rows,
is at most 1 as long as the null hypothesis is true. So the sum is a nonnegative supermartingale that starts at 1, and by
Ville's inequality

    P(the capital ever reaches 1 / α) ≤ α,

however long it runs, however often somebody looks, and whatever makes them stop.

**When the change comes is not known.** Experts that bet from the first row lose most of their capital before a late change. So
the capital is a mixture over the row of the change: a reserve pays a share into the game at every row,

    reserve after n rows  r(n) = 1 / (1 + ln(1 + n / HORIZON)),    paid in at row n:  r(n - 1) - r(n),

in equal parts to the experts. Experts that started at different rows receive the same factors, so their sums are all that has
to be kept. The reserve falls so slowly that a change after a million rows still finds a tenth of it (a mixture with
r(n) = a / (n + a) would have spent 99.97% for a = 300), and a late change takes little longer to detect than an early one;
``benchmarks/monitor.md`` has the delays.

**Jumping** moves a share of what is in play from each expert to all of them equally, before each bet (the Simple Jumper of Vovk
et al. 2021, "Retrain or not retrain: Conformal test martingales for change-point detection"). It keeps every expert solvent
for a change of another kind.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

#: Rows after which the reserve has fallen to 1 / (1 + ln 2), 59%. Between 100 and 300 the delays differ by less than a sixth.
HORIZON = 200
#: The bets end for good when the capital has reached this. More evidence would change nothing, and floats have limits.
CEILING = 1e100
#: Rows whose factors are computed at once, so that memory does not grow with the number of rows in a call.
BLOCK = 4_096
#: The trajectory has at most this number of points.
MAX_POINTS = 400


def reserve(rows: int) -> float:
    """The part of the initial capital 1 that has not been put into play after a number of rows."""
    return 1.0 / (1.0 + math.log1p(rows / HORIZON))


class Capital:
    """Capital of a mixture of experts over the moment of a change.

    Processing rows in one call or in any cuts gives identical floats, also with :meth:`state` and :meth:`from_state` in between.

    Args:
        experts: number of experts.
        jump: share of what is in play that is distributed anew among the experts before each bet, from 0 to 1.
        thresholds: capitals whose first crossing is remembered, such as 1 / α.

    Attributes:
        rows: number of rows so far.
        value: the capital now, reserve included; above 0.
        maximum: the highest capital so far, 1 at the start. Its inverse is an anytime-valid p-value.
        trajectory: (row, log10 of the capital after that row), at most ``MAX_POINTS``, evenly spaced from row 0.
    """

    def __init__(self, experts: int, jump: float = 0.0, thresholds: Sequence[float] = ()) -> None:
        self.jump = jump
        self.rows = 0
        self.value = 1.0
        self.maximum = 1.0
        self.trajectory: list[tuple[int, float]] = [(0, 0.0)]
        self._in_play = [0.0] * experts
        self._spacing = 1
        self._crossings: dict[float, int | None] = {float(threshold): None for threshold in thresholds}

    def bet(self, factors: np.ndarray) -> None:
        """Bet on rows in their order.

        Args:
            factors: of each row and expert, float, (rows, experts), at least 0.

        Raises:
            ValueError: a factor is negative or NaN, or there is not one for each expert.
        """
        if factors.ndim != 2 or factors.shape[1] != len(self._in_play):
            raise ValueError(f"factors have shape {factors.shape}; expected (rows, {len(self._in_play)})")
        if not (factors >= 0).all():
            raise ValueError("a factor is negative or NaN")
        experts, keep = len(self._in_play), 1.0 - self.jump
        in_play, total, left = self._in_play, math.fsum(self._in_play), reserve(self.rows)
        for row, of_row in enumerate(factors.tolist(), start=self.rows + 1):
            if self.value < CEILING:
                before, left = left, reserve(row)
                added = (self.jump * total + before - left) / experts
                in_play = [(held * keep + added) * factor for held, factor in zip(in_play, of_row, strict=True)]
                total = math.fsum(in_play)  # exact, unlike sum, whose result depends on the version of Python
                self.value = left + total
                if self.value > self.maximum:
                    self._rise(row)
            if row % self._spacing == 0:
                self._record(row)
        self._in_play = in_play
        self.rows += len(factors)

    def crossed_at(self, threshold: float) -> int | None:
        """The row, counted from 1, at which the capital first reached one of the ``thresholds``; None if it has not.

        Raises:
            KeyError: crossings of this threshold are not remembered.
        """
        return self._crossings[threshold]

    def state(self) -> dict[str, Any]:
        """Everything that :meth:`from_state` needs, as plain JSON."""
        return {
            "jump": self.jump,
            "rows": self.rows,
            "value": self.value,
            "maximum": self.maximum,
            "in_play": list(self._in_play),
            "spacing": self._spacing,
            "trajectory": [list(point) for point in self.trajectory],
            "crossings": [[threshold, row] for threshold, row in self._crossings.items()],
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The capital that :meth:`state` describes."""
        capital = cls.__new__(cls)
        Capital.__init__(capital, len(state["in_play"]), state["jump"])
        capital.rows, capital.value, capital.maximum = state["rows"], state["value"], state["maximum"]
        capital._in_play, capital._spacing = list(state["in_play"]), state["spacing"]
        capital.trajectory = [(row, level) for row, level in state["trajectory"]]
        capital._crossings = dict(state["crossings"])
        return capital

    def _rise(self, row: int) -> None:
        """Note a new maximum, and the thresholds that it reaches."""
        self.maximum = self.value
        for threshold, crossed in self._crossings.items():
            if crossed is None and self.value >= threshold:
                self._crossings[threshold] = row

    def _record(self, row: int) -> None:
        """Add a point to the trajectory; if there are too many, keep every second one."""
        self.trajectory.append((row, math.log10(self.value)))
        if len(self.trajectory) > MAX_POINTS:
            self._spacing *= 2
            self.trajectory = [point for point in self.trajectory if point[0] % self._spacing == 0]
