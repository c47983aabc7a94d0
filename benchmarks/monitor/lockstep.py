"""The conformal martingale of many streams at once, one row of each at a time; a test holds it against the package's own."""

from __future__ import annotations

import numpy as np

from headway.monitoring.capital import reserve
from headway.monitoring.martingale import JUMP, bets

#: The factor of each expert is a polynomial of degree 2 in p - 1/2; its coefficients follow from three values, (experts, 3).
POWERS = np.array([[1.0, x, x * x] for x in (-0.5, 0.0, 0.5)])
COEFFICIENTS = np.linalg.solve(POWERS, bets(np.array([0.0, 0.5, 1.0]))).T


class Lockstep:
    """Capitals of many streams.

    Attributes:
        rows: number of rows of each stream so far.
        capital: float64, (streams,).
    """

    def __init__(self, streams: int) -> None:
        self.rows = 0
        self.capital = np.ones(streams)
        self._in_play = np.zeros((len(COEFFICIENTS), streams))
        self._total = np.zeros(streams)
        self._powers = np.ones((3, streams))
        self._factors = np.empty_like(self._in_play)
        self._sum = np.ones(len(COEFFICIENTS))

    def step(self, p_values: np.ndarray) -> np.ndarray:
        """Bet on the next row of each stream, (streams,); returns the capitals."""
        before, after = reserve(self.rows), reserve(self.rows + 1)
        np.subtract(p_values, 0.5, out=self._powers[1])
        np.square(self._powers[1], out=self._powers[2])
        np.matmul(COEFFICIENTS, self._powers, out=self._factors)
        self._in_play *= 1 - JUMP
        self._in_play += (JUMP * self._total + before - after) / len(COEFFICIENTS)
        self._in_play *= self._factors
        np.matmul(self._sum, self._in_play, out=self._total)
        np.add(self._total, after, out=self.capital)
        self.rows += 1
        return self.capital

    def kept(self, which: np.ndarray) -> Lockstep:
        """Some of the streams, bool, (streams,), to be continued on their own."""
        kept = Lockstep(int(which.sum()))
        kept.rows = self.rows
        kept.capital, kept._total = self.capital[which], self._total[which]
        kept._in_play = np.ascontiguousarray(self._in_play[:, which])
        return kept
