"""The statistics behind the gate, as functions of counts: rows that a model won against another, rows that it lost.

A model wins a row when it alone is right there. Rows on which both are right, or both wrong, say nothing of which is better.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.stats import binom, norm

from headway.evaluation.metrics import Interval

POWER = 0.8


def mcnemar(wins: ArrayLike, losses: ArrayLike) -> np.ndarray:
    """The exact one-sided McNemar test: the chance of so many wins or more, were a win as likely as a loss.

    Conditional on the rows that one model alone is right on, the wins are Binomial(wins + losses, 1/2) (McNemar 1947, "Note
    on the sampling error of the difference between correlated proportions"). 1 when there are none.
    """
    wins, losses = np.asarray(wins), np.asarray(losses)
    return np.asarray(binom.sf(wins - 1, wins + losses, 0.5))


def resampled(wins: int, losses: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """The paired bootstrap of wins less losses, without its luck: the distribution over all resamples, not some drawn ones.

    A resample's wins and losses are multinomial with the observed shares, so the difference is a sum of ``rows`` independent
    values of -1, 0 or 1. Its distribution is the Fourier transform of that value's characteristic function to the power of
    ``rows``; values further off than 9 standard deviations and 30 have no weight that a float64 would tell from rounding.

    Returns:
        The values, ascending, and the chance of each; both of the same length.
    """
    reach = math.ceil(9 * math.sqrt(wins + losses)) + 30
    size = 2 * reach + 1
    angle = 2 * np.pi * np.arange(reach + 1) / size  # the other half is the conjugate of this one
    one_row = (rows + (wins + losses) * (np.cos(angle) - 1) - 1j * (wins - losses) * np.sin(angle)) / rows
    all_rows = np.zeros(reach + 1, dtype=np.complex128)
    counts = np.abs(one_row) ** rows > 1e-30  # most are far below that, and complex powers are dear
    all_rows[counts] = one_row[counts] ** rows * np.exp(1j * (wins - losses) * angle[counts])
    chances = np.fft.fftshift(np.fft.irfft(all_rows, size))
    return wins - losses + np.arange(-reach, reach + 1), np.clip(chances, 0, None)


def accuracy_difference(wins: int, losses: int, rows: int, tail: float) -> Interval:
    """Accuracy gained, with its percentile bootstrap interval (Efron & Tibshirani 1993, chapter 13) over all resamples.

    Args:
        tail: the weight beyond each bound, as 0.025 for a 95% interval.
    """
    values, chances = resampled(wins, losses, rows)
    observed = wins - losses
    low = values[np.searchsorted(chances.cumsum(), tail)]
    high = values[len(values) - 1 - np.searchsorted(chances[::-1].cumsum(), tail)]
    return Interval(observed / rows, float(min(low, observed) / rows), float(max(high, observed) / rows))


def is_superior(wins: ArrayLike, losses: ArrayLike, rows: int, significance: float, minimum_gain: float) -> np.ndarray:
    """Whether a model is surely better, for one pair of counts or many: three conditions, all of which must hold.

    Of the first two McNemar is the stricter; the bootstrap's interval is what is shown, and may not contradict the verdict.

    - exact McNemar: p at most the significance level, one-sided
    - paired bootstrap: the bound that has this weight below it lies above 0
    - the observed gain is at least the minimum

    Returns:
        bool, in the shape of the counts.
    """
    wins, losses = np.broadcast_arrays(wins, losses)
    superior = np.asarray((mcnemar(wins, losses) <= significance) & ((wins - losses) / rows >= minimum_gain))
    superior[superior] = _lower_bounds(wins[superior], losses[superior], rows, significance) > 0
    return superior


def is_non_inferior(wins: ArrayLike, losses: ArrayLike, rows: int, significance: float, margin: float) -> np.ndarray:
    """Whether a model is surely not worse by the margin, for one pair of counts or many: two conditions, both of which must hold.

    - paired bootstrap: the bound that has this weight below it lies above the negative margin
    - the score test: p at most the significance level. It guards the bootstrap where two models seldom differ: of rows that
      none of them won or lost, every resample says that they are equal

    Returns:
        bool, in the shape of the counts.
    """
    wins, losses = np.broadcast_arrays(wins, losses)
    bounds = _lower_bounds(wins.ravel(), losses.ravel(), rows, significance).reshape(wins.shape)
    return np.asarray((bounds > -margin) & (score_test(wins, losses, rows, margin) <= significance))


def score_test(wins: ArrayLike, losses: ArrayLike, rows: int, margin: float) -> np.ndarray:
    """The p-value against "worse by the margin or more" (Tango 1998, "Equivalence test and confidence interval for the
    difference in proportions for the paired-sample design").

    The difference, in standard errors as they are under the hypothesis, where the share of lost rows is the likeliest that
    agrees with it. 1 where nothing can be said: without a margin, of models that never differ.
    """
    wins, losses = np.asarray(wins, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    difference = -margin
    linear = (2 * rows - wins + losses) * difference - wins - losses
    constant = -losses * difference * (1 - difference)
    lost = (np.sqrt(linear**2 - 8 * rows * constant) - linear) / (4 * rows)
    variance = rows * (2 * lost + difference * (1 - difference))
    with np.errstate(divide="ignore", invalid="ignore"):
        tail: np.ndarray = np.nan_to_num(norm.sf((wins - losses - rows * difference) / np.sqrt(variance)), nan=1.0)
        return tail


def _lower_bounds(wins: np.ndarray, losses: np.ndarray, rows: int, tail: float) -> np.ndarray:
    """The interval's lower bound for each pair of counts, computed once for equal ones; float, in the shape of the counts."""
    counts, which = np.unique(np.stack([wins, losses]), axis=1, return_inverse=True)
    bounds = [accuracy_difference(int(won), int(lost), rows, tail).low for won, lost in counts.T]
    return np.array(bounds, dtype=np.float64)[which.reshape(-1)]


def worse_by_more(wins: int, losses: int, rows: int, margin: float) -> float:
    """The p-value against "not worse by more than the margin": small where a model surely is.

    The larger of two, so that both must agree: of the bootstrap, the weight of differences no worse than the margin; and of
    exact McNemar, without a margin, which guards the bootstrap where rows are few.
    """
    values, chances = resampled(wins, losses, rows)
    return max(float(chances[values / rows >= -margin].sum()), float(mcnemar(losses, wins)))


def holm(p_values: ArrayLike) -> np.ndarray:
    """Adjusted p-values of a family of tests (Holm 1979, "A simple sequentially rejective multiple test procedure").

    Rejecting where the adjusted value is at most α keeps the chance of any false rejection at α, however the tests depend on
    each other.
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
    """The smallest true difference of accuracy at which a model passes on so many rows with 80% power.

    Without a margin solves n Δ² = (z_α √ψ + z_β √(ψ − Δ²))² for Δ (Connor 1987, "Sample size for testing differences in
    proportions for the paired-sample design"), where ψ is the share of rows on which one model alone is right. With one, what
    has to be seen is so much less, and its standard error is that of a model worse by the margin. A difference cannot exceed
    ψ: where it would have to, ψ grows with it. 1 when no difference would do.

    Args:
        significance: of the one-sided test.
        margin: by which a model may be worse; the result may then be below 0.
        minimum: the difference that has to be seen at least, however surely it is there.
    """
    z_alpha, z_beta = norm.isf(significance), norm.ppf(POWER)

    def excess(difference: float) -> float:
        share = max(disagreement, abs(difference), margin)
        seen = max(z_alpha * math.sqrt((share - margin**2) / rows) - margin, minimum)
        return float(difference - seen - z_beta * math.sqrt((share - difference**2) / rows))

    return 1.0 if excess(1.0) <= 0 else float(brentq(excess, 1e-9 - margin, 1.0))
