"""How much proof the next verdict on a test set takes: each spends a part of one risk, so that fifty do not promote noise."""

from __future__ import annotations

from functools import cache

#: Verdicts on one test set that are reckoned with. More may follow; their share falls faster from here on.
PLANNED = 50


def significance(verdict: int, budget: float, planned: int = PLANNED) -> float:
    """The one-sided significance level of the k-th verdict on a test set: budget · m / (k (k + m) H_m), with m verdicts planned.

    H_m = 1 + 1/2 + … + 1/m is the sum of m / (k (k + m)) over all k, so that all verdicts together, however many, spend the
    budget and no more. By the union bound, that is the most that the chance of any false promotion can be, however the verdicts
    depend on each other (they do: one champion, the same rows), as long as nobody picks candidates by their answers to these
    rows: until a first false promotion the champion stays, and all that comes back is "refused" (the argument behind Blum &
    Hardt 2015, "The Ladder"). The first verdicts on fresh rows, which are the ones most often given, get the larger shares;
    `make bench-gate` compares the schedule with others.

    Args:
        verdict: its number, from 1, among those on this test set.
        budget: the chance of any false promotion that is accepted, as 0.05.
        planned: 1 gives budget / (k (k + 1)).
    """
    return budget * planned / (verdict * (verdict + planned) * _harmonic(planned))


def election_significance(election: int, budget: float) -> float:
    """The one-sided significance level of the k-th election on a test set: of a model that is compared with the linear baseline
    alone, because there is no champion.

    The first gets half the budget, which is what a two-sided interval leaves it; all that follow share the other half, as
    verdicts share theirs.
    """
    return budget / 2 if election == 1 else significance(election - 1, budget / 2)


@cache
def _harmonic(terms: int) -> float:
    return sum(1 / term for term in range(1, terms + 1))
