"""Realised accuracy, once labels come: has it fallen below what was promised?

This needs labelled rows whose selection and order do not depend on whether the model is right on the next one. If only
complaints come back, the accuracy on them says nothing about the accuracy on all rows.
:func:`headway.monitoring.intervals.accuracy_interval` estimates the accuracy itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from headway.monitoring.capital import BLOCK, Capital

#: The alternatives: the odds of an error, as multiples of those at the lowest accepted accuracy.
ODDS_OF_ERROR = (1.1, 1.25, 1.5, 2.0, 3.0, 5.0)


class LossMartingale(Capital):
    """Capital against "each next row is right with a probability of at least ``least``, given all earlier ones".

    An expert of accuracy q < least multiplies its capital by q / least if the row is right, and by (1 - q) / (1 - least) if it is
    wrong. Under the hypothesis the expected factor is at most 1, so the capital ever reaches 1 / α with a probability of at most
    α; see :mod:`headway.monitoring.capital`. The accuracy may move freely above ``least``.

    Args:
        least: the lowest accepted accuracy, between 0 and 1, such as the promised accuracy minus a margin. The promise is
            itself an estimate: the margin, or a lower bound in place of the estimate, has to cover its error.
        thresholds: capitals whose first crossing is remembered, such as 1 / α.

    Raises:
        ValueError: ``least`` is not between 0 and 1.
    """

    def __init__(self, least: float, thresholds: Sequence[float] = ()) -> None:
        super().__init__(len(ODDS_OF_ERROR), thresholds=thresholds)
        if not 0 < least < 1:
            raise ValueError(f"the lowest accepted accuracy is {least}; expected a number between 0 and 1")
        self.least = least

    def update(self, right: np.ndarray) -> None:
        """Bet on the next labelled rows: whether the model is right on each, bool, (rows,)."""
        odds = np.array(ODDS_OF_ERROR) * (1 - self.least) / self.least
        accuracy = 1 / (1 + odds)  # of each expert
        factors = np.stack([(1 - accuracy) / (1 - self.least), accuracy / self.least])  # (wrong or right, experts)
        for start in range(0, len(right), BLOCK):
            self.bet(factors[np.asarray(right[start : start + BLOCK], dtype=np.intp)])

    def state(self) -> dict[str, Any]:
        """Everything that :meth:`from_state` needs, as plain JSON."""
        return {**super().state(), "least": self.least}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The capital that :meth:`state` describes."""
        capital = super().from_state(state)
        capital.least = state["least"]
        return capital


def group_threshold(groups: int, alpha: float) -> float:
    """The capital at which one of several groups of rows, such as classes or slices, has a loss: groups / α.

    Each group has a :class:`LossMartingale` of its own, which bets on its rows alone. With this threshold the risk of ever having
    a false loss in any group is at most α, whether groups share rows or not (Bonferroni). The capitals all bet on rows in one
    order, so that their average is an e-process too; the largest capital says in addition which group it is.
    """
    return groups / alpha
