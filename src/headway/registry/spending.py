"""How much proof the next verdict on a test set takes: each spends a part of one risk, so that fifty do not promote noise."""

from __future__ import annotations

import math


def significance(verdict: int, budget: float) -> float:
    """The one-sided significance level of the k-th verdict on a test set: budget · (1/√k − 1/√(k+1)).

    The levels telescope: k verdicts have spent budget · (1 − 1/√(k+1)), never all of it. By the union bound, the chance that
    any verdict promotes a model that is no better than its champion is at most the budget, however the verdicts depend on
    each other (they do: one champion, the same rows), as long as nobody picks candidates by their answers to these rows:
    until a first false promotion, the champion is fixed and all that comes back is "refused" (the argument of Blum & Hardt
    2015, "The Ladder"). Of the schedules that `make bench-gate` compares it loses the least at the first verdicts
    for what it keeps at the fiftieth.

    Args:
        verdict: its number, from 1, among those on this test set.
        budget: the chance of any false promotion that is accepted, as 0.05.
    """
    return budget * (1 / math.sqrt(verdict) - 1 / math.sqrt(verdict + 1))
