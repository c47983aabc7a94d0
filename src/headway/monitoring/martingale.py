"""Bets against the uniformity of conformal p-values, and one alarm from several scores.

Every expert bets with a density on (0, 1), so its expected factor is exactly 1 while p is uniform:

    tilt    1 + ε (p - 1/2),          ε = ±1/2, ±1, ±2     p-values became larger or smaller
    spread  1 + η (12 (p - 1/2)² - 1),    η = ±1/2         they moved to both ends, or to the middle

±2 is the steepest tilt that never goes below 0. Where all rows shift strongly, it needs two thirds of the rows that ±1 needs;
where a tenth of the rows shift, ±1/2 halves what the steeper ones need. Without the spread bets, texts that became both shorter
and longer would never be found. One jumping rate is enough, because the mixture over the row of the change
(:mod:`headway.monitoring.capital`) does what several rates are meant for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from headway.monitoring.capital import BLOCK, Capital

TILTS = (-2.0, -1.0, -0.5, 0.5, 1.0, 2.0)
SPREADS = (-0.5, 0.5)
JUMP = 0.001


def bets(p_values: np.ndarray) -> np.ndarray:
    """The factors of all experts for p-values, float64, (rows, experts)."""
    centred = (np.asarray(p_values, dtype=np.float64) - 0.5)[:, None]
    tilt = 1.0 + np.array(TILTS) * centred
    spread = 1.0 + np.array(SPREADS) * (12.0 * centred * centred - 1.0)
    return np.concatenate([tilt, spread], axis=1)


class ConformalMartingale(Capital):
    """Capital from bets on the p-values of one score: a nonnegative martingale while the rows are exchangeable.

    Args:
        thresholds: capitals whose first crossing is remembered, see :func:`thresholds`.
    """

    def __init__(self, thresholds: Sequence[float] = ()) -> None:
        super().__init__(len(TILTS) + len(SPREADS), JUMP, thresholds)

    def update(self, p_values: np.ndarray) -> None:
        """Bet on the p-values of the next rows, float, (rows,), each from 0 to 1."""
        for start in range(0, len(p_values), BLOCK):
            self.bet(bets(p_values[start : start + BLOCK]))


def thresholds(weights: Mapping[str, float], alpha: float) -> dict[str, float]:
    """The capital at which each score alarms: 1 / (w α), so that the risk of any false alarm is at most α (Ville in each, union).

    Each capital is a martingale with respect to the p-values of its own score, but not given those of the other scores, so it is
    not known whether their average is an e-process (Choe & Ramdas 2024, "Combining evidence across filtrations"). Therefore each
    score has its share w of the risk. This costs almost nothing: the weighted average can reach 1 / α only if the largest capital
    does, which then has to grow by a factor of 1 / w more, and under drift it grows exponentially.

    Args:
        weights: share of the risk of each score, above 0; they sum to at most 1.
        alpha: risk of any false alarm over the whole term, between 0 and 1.

    Raises:
        ValueError: the weights or α are out of range.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}; expected a number between 0 and 1")
    if not all(weight > 0 for weight in weights.values()) or sum(weights.values()) > 1 + 1e-9:
        raise ValueError("weights must be above 0 and sum to at most 1")
    return {name: 1 / (weight * alpha) for name, weight in weights.items()}
