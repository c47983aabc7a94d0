"""Intervals that hold the truth at all times at once, so that they may be read after every row.

Both are confidence sequences by the method of mixtures (Robbins 1970, "Statistical methods related to the law of the iterated
logarithm"): a parameter is outside if a bet against it, the mean likelihood under a prior over its own likelihood, has made
1 / α. Both assume that the shares do not change over the rows that are counted; after a change, count anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq
from scipy.special import betaln, gammaln, xlog1py, xlogy


def accuracy_interval(right: int, wrong: int, alpha: float) -> tuple[float, float]:
    """An interval for the accuracy, from the numbers of rows on which the model was right and wrong.

    An accuracy m is outside if

        ∫ q^right (1 - q)^wrong dπ(q) / (m^right (1 - m)^wrong) ≥ 1 / α,    π = Beta(1/2, 1/2),

    which is what betting comes to for outcomes of 0 and 1 (Waudby-Smith & Ramdas 2023, "Estimating means of bounded random
    variables by betting").

    Args:
        right, wrong: counts.
        alpha: probability that the interval ever misses, for example 0.05.

    Returns:
        low and high, from 0 to 1, with the share of right rows between them; (0, 1) without rows.
    """
    mixture = float(betaln(right + 0.5, wrong + 0.5) - betaln(0.5, 0.5))

    def evidence(accuracy: float) -> float:
        return mixture - float(xlogy(right, accuracy) + xlog1py(wrong, -accuracy))

    share = right / (right + wrong) if right + wrong else 0.5
    return _bound(evidence, share, 0.0, alpha), _bound(evidence, share, 1.0, alpha)


def difference_interval(only_first: int, only_second: int, others: int, alpha: float) -> tuple[float, float]:
    """An interval for the accuracy of a first model minus that of a second one on the same rows.

    A row is one of three kinds: only the first model is right (share p), only the second one (share t), or both or none. A
    difference d is outside if even the best shares with p - t = d lose against the mixture over the Dirichlet prior with
    parameters 1/2:

        ∫ p^b t^c (1 - p - t)^e dπ(p, t) / max_t (t + d)^b t^c (1 - d - 2t)^e ≥ 1 / α

    for counts b, c and e of the three kinds.

    Args:
        only_first, only_second, others: counts of the three kinds of rows.
        alpha: probability that the interval ever misses, for example 0.05.

    Returns:
        low and high, from -1 to 1, with the observed difference between them; (-1, 1) without rows.
    """
    counts = np.array([only_first, only_second, others], dtype=np.float64)
    mixture = _dirichlet(counts + 0.5) - _dirichlet(np.full(3, 0.5))
    rows = only_first + only_second + others

    def evidence(difference: float) -> float:
        gain, of_gain, of_loss = abs(difference), only_first, only_second
        if difference < 0:  # the same with the models exchanged
            of_gain, of_loss = of_loss, of_gain
        # The best t solves 2 rows t² - linear t - of_loss gain (1 - gain) = 0, as in Tango 1998.
        linear = (of_gain + of_loss) * (1 - gain) - 2 * (of_loss + others) * gain
        root = math.sqrt(linear**2 + 8 * rows * of_loss * gain * (1 - gain))
        share = (linear + root) / (4 * rows) if rows else 0.0
        share = min(max(share, 0.0), (1 - gain) / 2)
        return mixture - float(
            xlogy(of_gain, share + gain) + xlogy(of_loss, share) + xlogy(others, max(1 - gain - 2 * share, 0.0))
        )

    observed = (only_first - only_second) / rows if rows else 0.0
    return _bound(evidence, observed, -1.0, alpha), _bound(evidence, observed, 1.0, alpha)


def _dirichlet(parameters: np.ndarray) -> float:
    """Logarithm of the Dirichlet distribution's normalising integral."""
    return float(gammaln(parameters).sum() - gammaln(parameters.sum()))


def _bound(evidence: Callable[[float], float], inside: float, end: float, alpha: float) -> float:
    """The value between ``inside`` and ``end`` at which the log evidence, which grows from one to the other, reaches 1 / α."""

    def excess(value: float) -> float:
        return evidence(value) + math.log(alpha)

    last = float(np.nextafter(end, inside))  # at the end itself the evidence may be infinite
    if excess(last) <= 0 or last == inside:
        return end
    return float(brentq(excess, inside, last, xtol=1e-15))
