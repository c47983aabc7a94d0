"""Conformal p-values of a stream of rows after a reference sample: uniform and independent as long as nothing changes.

The score of a row says how unusual it is, quantised to levels 0 … K - 1. With s_1 … s_R the levels of the reference and
s_{R+1}, s_{R+2}, … those of the stream, the smoothed p-value of row n > R is

    p_n = (#{i < n: s_i > s_n} + θ_n (#{i < n: s_i = s_n} + 1)) / n,    θ_n uniform on (0, 1) and independent of everything.

If all rows are exchangeable, the p-values are exactly uniform on (0, 1) and independent of each other, whatever the score and
however coarse its levels (Vovk, Gammerman & Shafer 2005, "Algorithmic Learning in a Random World", chapters 2 and 8).
Exchangeability includes the reference: it must be rows that the model was not trained on, and the score must not be fitted to
the reference alone. Small p-values mean levels that are higher than usual, large ones lower than usual.

Only the number of rows at each level is kept, whatever the length of the stream.
"""

from __future__ import annotations

from typing import Any

import numpy as np

#: Rows that are compared with each other at once; more cost memory and time per row, fewer cost a cumulative sum more often.
CHUNK = 256


class ConformalStream:
    """The p-values of a stream of levels.

    Processing rows in one call or in any cuts gives identical floats, also with :meth:`state` and :meth:`from_state` in between.

    Args:
        reference: number of reference rows at each level, int, (K,).
        seed: of θ, from 0; streams of different scores need different seeds.

    Attributes:
        counts: number of rows so far at each level, reference included, int64, (K,).
        rows: number of rows so far, without the reference.

    Raises:
        ValueError: a count is negative, or there is no level.
    """

    def __init__(self, reference: np.ndarray, seed: int) -> None:
        self.counts = np.array(reference, dtype=np.int64)
        if self.counts.ndim != 1 or not len(self.counts) or (self.counts < 0).any():
            raise ValueError("expected the number of reference rows at each of at least one level")
        self.seed = seed
        self.rows = 0

    def p_values(self, levels: np.ndarray) -> np.ndarray:
        """The p-values of the next rows of the stream.

        Args:
            levels: int, (rows,), each from 0 to K - 1.

        Returns:
            float64, (rows,), above 0 and below 1.

        Raises:
            ValueError: a level is out of range.
        """
        levels = np.asarray(levels)
        if len(levels) and not (levels.min() >= 0 and levels.max() < len(self.counts)):
            raise ValueError(f"a level is out of range: expected 0 to {len(self.counts) - 1}")
        higher, equal = np.empty((2, len(levels)), dtype=np.int64)
        before = int(self.counts.sum())
        for start in range(0, len(levels), CHUNK):
            chunk = slice(start, start + CHUNK)
            higher[chunk], equal[chunk] = self._earlier(levels[chunk])
            self.counts += np.bincount(levels[chunk], minlength=len(self.counts))
        number = before + np.arange(1, len(levels) + 1)  # n: all rows up to this one, reference included
        theta = uniforms(self.seed, self.rows, len(levels))
        self.rows += len(levels)
        return np.asarray((higher + theta * (equal + 1)) / number)

    def _earlier(self, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of earlier rows with a higher and with the same level, int, each (rows,)."""
        up_to = np.cumsum(self.counts)
        higher, equal = up_to[-1] - up_to[levels], self.counts[levels]
        earlier, later = levels[None, :], levels[:, None]  # (rows, rows): the other rows of the chunk
        higher += np.tril(earlier > later, -1).sum(axis=1)
        equal += np.tril(earlier == later, -1).sum(axis=1)
        return higher, equal

    def state(self) -> dict[str, Any]:
        """Everything that :meth:`from_state` needs, as plain JSON."""
        return {"counts": self.counts.tolist(), "rows": self.rows, "seed": self.seed}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> ConformalStream:
        """The stream that :meth:`state` describes."""
        stream = cls(np.array(state["counts"], dtype=np.int64), state["seed"])
        stream.rows = state["rows"]
        return stream


def uniforms(seed: int, start: int, rows: int) -> np.ndarray:
    """Uniform numbers that depend on the seed and on the row's number only, float64, (rows,), above 0 and below 1.

    They come from the counter-based generator Philox (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), which
    makes four numbers of each value of its counter.

    Args:
        seed: from 0.
        start: number of the first row, from 0.
        rows: how many.
    """
    key = np.random.SeedSequence(seed).generate_state(2, np.uint64)
    block, skipped = divmod(start, 4)
    raw = np.random.Philox(key=key, counter=block).random_raw(skipped + rows)[skipped:]
    return np.asarray(((raw >> np.uint64(12)) + 0.5) * 2.0**-52)
