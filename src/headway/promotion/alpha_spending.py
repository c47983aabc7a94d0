r"""Significance levels for repeated looks at one test set: each look spends a part of one risk budget.

The k-th look is tested one-sided at the level

    α_k = α · m / (k (k + m) H_m),   H_m = 1 + 1/2 + … + 1/m,

with α the budget and m the number of looks that are planned for. H_m is the sum of m / (k (k + m)) over all k ≥ 1, so that
all looks together, however many there are, spend exactly α.

By the union bound, the probability of any false promotion is then at most α, however the looks depend on each other (they
do: one champion, the same rows). This requires that candidates are not chosen by their results on these rows. Until a first
false promotion the champion stays and every answer is "refused", so the answers do not guide the choice either (the argument
behind Blum & Hardt 2015, "The Ladder: A reliable leaderboard for machine learning competitions").

Spending a fixed budget over looks is due to Lan & DeMets 1983, "Discrete sequential boundaries for clinical trials"; here no
joint distribution of the looks is assumed. Early looks get the larger shares, because most test sets are looked at a few
times only. ``make bench-gate`` compares this schedule with others.
"""

from __future__ import annotations

from functools import cache

#: Looks at one test set that are planned for (m). More may follow; their share falls faster from there on.
PLANNED_LOOKS = 50


def significance(look: int, budget: float, planned: int = PLANNED_LOOKS) -> float:
    """The one-sided level α_k of the k-th comparison with a champion on one test set.

    Args:
        look: k, from 1.
        budget: α, the accepted probability of any false promotion, for example 0.05.
        planned: m; 1 gives α / (k (k + 1)).
    """
    return budget * planned / (look * (look + planned) * _harmonic(planned))


def first_promotion_significance(look: int, budget: float) -> float:
    """The one-sided level of the k-th look at one test set while there is no champion.

    Such a candidate is compared with the linear baseline only. The first look gets α/2, the one-sided level of a two-sided
    interval with coverage 1 − α; all later looks share the other half, by the schedule of :func:`significance`.
    """
    return budget / 2 if look == 1 else significance(look - 1, budget / 2)


@cache
def _harmonic(terms: int) -> float:
    return sum(1 / term for term in range(1, terms + 1))
