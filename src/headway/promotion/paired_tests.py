"""Tests for the difference of two models' accuracies on the same n rows, as functions of counts.

Only discordant rows count: ``wins`` (b) are rows that the candidate alone gets right, ``losses`` (c) rows that its opponent
alone gets right. The observed difference of accuracies is (b - c) / n, and ψ = (b + c) / n is the disagreement. Where counts
can be arrays, results have their shape, and all other arguments are the same for every pair of counts.

- *Superiority* needs exact McNemar at the given level, a bootstrap bound above 0, and a minimum gain: :func:`is_superior`.
- *Non-inferiority* with margin δ needs a bootstrap bound above -δ and Tango's score test: :func:`is_non_inferior`.
- *Slices* are tested the other way round, for a loss of more than the margin, with Holm's correction: :func:`worse_by_more`.
- *Power* follows from the same formulas: :func:`detectable_difference`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.stats import binom, norm

from headway.evaluation.metrics import Interval

#: Probability with which a detectable difference is detected.
POWER = 0.8


def mcnemar(wins: ArrayLike, losses: ArrayLike) -> np.ndarray:
    """The p-value of the exact one-sided McNemar test: P(X ≥ wins) for X ~ Binomial(wins + losses, 1/2).

    Given the number of discordant rows, wins are as likely as losses if both models are equally accurate (McNemar 1947,
    "Note on the sampling error of the difference between correlated proportions or percentages"). 1 if there are no
    discordant rows.
    """
    wins, losses = np.asarray(wins), np.asarray(losses)
    return np.asarray(binom.sf(wins - 1, wins + losses, 0.5))


def bootstrap_distribution(wins: int, losses: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """The paired bootstrap's exact distribution of wins - losses, over all resamples instead of a random sample of them.

    A resample draws rows with replacement, so wins - losses is the sum of ``rows`` independent values of -1, 0 or 1 with the
    observed shares. Its distribution is the Fourier transform of that value's characteristic function to the power of
    ``rows``. Values further away than 9 standard deviations plus 30 have no weight within the precision of a float64.

    Returns:
        The values, ascending, and the probability of each; both of the same length.
    """
    reach = math.ceil(9 * math.sqrt(wins + losses)) + 30
    size = 2 * reach + 1
    angle = 2 * np.pi * np.arange(reach + 1) / size  # the other half is the complex conjugate
    one_row = (rows + (wins + losses) * (np.cos(angle) - 1) - 1j * (wins - losses) * np.sin(angle)) / rows
    all_rows = np.zeros(reach + 1, dtype=np.complex128)
    matters = np.abs(one_row) ** rows > 1e-30  # most values are far below that, and complex powers are slow
    all_rows[matters] = one_row[matters] ** rows * np.exp(1j * (wins - losses) * angle[matters])
    probabilities = np.fft.fftshift(np.fft.irfft(all_rows, size))
    return wins - losses + np.arange(-reach, reach + 1), np.clip(probabilities, 0, None)


def accuracy_difference(wins: int, losses: int, rows: int, tail: float) -> Interval:
    """The difference of accuracies with its percentile bootstrap interval (Efron & Tibshirani 1993, chapter 13).

    Args:
        wins, losses, rows: counts, see the module.
        tail: probability beyond each bound, for example 0.025 for a 95% interval.
    """
    values, probabilities = bootstrap_distribution(wins, losses, rows)
    observed = wins - losses
    low = values[np.searchsorted(probabilities.cumsum(), tail)]
    high = values[len(values) - 1 - np.searchsorted(probabilities[::-1].cumsum(), tail)]
    return Interval(observed / rows, float(min(low, observed) / rows), float(max(high, observed) / rows))


def is_superior(wins: ArrayLike, losses: ArrayLike, rows: int, significance: float, minimum_gain: float) -> np.ndarray:
    """Whether the candidate is more accurate. All three conditions must hold:

    - exact McNemar, one-sided: p ≤ ``significance``
    - paired bootstrap: the lower bound with ``significance`` below it is above 0
    - the observed gain is at least ``minimum_gain``

    McNemar is the stricter of the first two. The bootstrap interval is what people see, so it must not contradict the
    result.
    """
    wins, losses = np.broadcast_arrays(wins, losses)
    superior = np.asarray((mcnemar(wins, losses) <= significance) & ((wins - losses) / rows >= minimum_gain))
    superior[superior] = _lower_bounds(wins[superior], losses[superior], rows, significance) > 0
    return superior


def is_non_inferior(wins: ArrayLike, losses: ArrayLike, rows: int, significance: float, margin: float) -> np.ndarray:
    """Whether the candidate is less than ``margin`` worse in accuracy. Both conditions must hold:

    - paired bootstrap: the lower bound with ``significance`` below it is above ``-margin``
    - Tango's score test: p ≤ ``significance``

    The score test is needed where two models rarely disagree: without discordant rows every resample shows a difference of
    exactly 0, however few rows there are.
    """
    wins, losses = np.broadcast_arrays(wins, losses)
    bounds = _lower_bounds(wins.ravel(), losses.ravel(), rows, significance).reshape(wins.shape)
    return np.asarray((bounds > -margin) & (score_test(wins, losses, rows, margin) <= significance))


def score_test(wins: ArrayLike, losses: ArrayLike, rows: int, margin: float) -> np.ndarray:
    """The p-value of Tango's score test against "worse by the margin or more" (Tango 1998, "Equivalence test and confidence
    interval for the difference in proportions for the paired-sample design").

    The statistic is the difference plus the margin, in standard errors under the hypothesis, where the share of lost rows is
    its maximum likelihood estimate. 1 if undefined: without a margin, for models that never disagree.
    """
    wins, losses = np.asarray(wins, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    difference = -margin
    linear = (2 * rows - wins + losses) * difference - wins - losses
    constant = -losses * difference * (1 - difference)
    lost = (np.sqrt(linear**2 - 8 * rows * constant) - linear) / (4 * rows)
    variance = rows * (2 * lost + difference * (1 - difference))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.nan_to_num(norm.sf((wins - losses - rows * difference) / np.sqrt(variance)), nan=1.0))


def worse_by_more(wins: int, losses: int, rows: int, margin: float) -> float:
    """The p-value against "not worse by more than the margin": small if the candidate is worse by more.

    The larger of two p-values: the bootstrap weight of differences that are no worse than the margin, and exact McNemar
    without a margin, which protects against the bootstrap's overconfidence on few rows.
    """
    values, probabilities = bootstrap_distribution(wins, losses, rows)
    return max(float(probabilities[values / rows >= -margin].sum()), float(mcnemar(losses, wins)))


def holm(p_values: ArrayLike) -> np.ndarray:
    """Adjusted p-values of a family of tests (Holm 1979, "A simple sequentially rejective multiple test procedure").

    Rejecting where the adjusted value is at most α keeps the probability of any false rejection at or below α, however the
    tests depend on each other.
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p_values, kind="stable")
    steps = p_values[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def detectable_difference(
    rows: int, disagreement: float, significance: float, margin: float = 0.0, minimum: float = -1.0
) -> float:
    """The smallest true difference of accuracies at which a candidate passes with 80% power.

    Without a margin it solves n Δ² = (z_α √ψ + z_β √(ψ - Δ²))² for Δ (Connor 1987, "Sample size for testing differences in
    proportions for the paired-sample design"). With a margin, the observed difference may be lower by the margin, and its
    standard error is that of a model that is worse by the margin. A difference cannot exceed the disagreement ψ, so ψ grows
    with it where needed.

    Args:
        rows: n.
        disagreement: ψ, from 0 to 1.
        significance: α of the one-sided test.
        margin: by how much a candidate may be worse; the result can then be negative.
        minimum: smallest observed difference that passes, whatever its significance.

    Returns:
        Δ, from -1 to 1; 1 if no difference would pass.
    """
    z_alpha, z_beta = norm.isf(significance), norm.ppf(POWER)

    def excess(difference: float) -> float:
        share = max(disagreement, abs(difference), margin)
        needed = max(z_alpha * math.sqrt((share - margin**2) / rows) - margin, minimum)
        return float(difference - needed - z_beta * math.sqrt((share - difference**2) / rows))

    return 1.0 if excess(1.0) <= 0 else float(brentq(excess, 1e-9 - margin, 1.0))


def _lower_bounds(wins: np.ndarray, losses: np.ndarray, rows: int, tail: float) -> np.ndarray:
    """The interval's lower bound for each pair of counts, float, in the shape of the counts; equal pairs are computed once."""
    counts, which = np.unique(np.stack([wins, losses]), axis=1, return_inverse=True)
    bounds = [accuracy_difference(int(won), int(lost), rows, tail).low for won, lost in counts.T]
    return np.array(bounds, dtype=np.float64)[which.reshape(-1)]
