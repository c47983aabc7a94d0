"""The accuracy on rows without labels, estimated from the model's own confidence.

The confidence of a row is the probability p of its most likely class. On reference rows with labels it is recalibrated,

    P(right) = σ(a · logit p + b),

and the estimate is the mean of P(right) over the new rows.

**Valid for covariate shift only**: the texts may change in kind and proportion, but rows of the same confidence must be right
as often as they were in the reference. If the meaning of the labels changes, or texts come that the model is wrongly sure of,
the estimate is wrong, and its interval does not show it. Only labels can.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

#: Confidences are kept this far from 0 and 1, where the logit has no value.
EDGE = 1e-6
#: Standard deviations of the normal prior on a - 1 and b, that is, around "the confidence is right as it is".
PRIOR_SD = 1.0
#: Draws for the interval.
DRAWS = 2_000


@dataclass(frozen=True)
class Recalibration:
    """The posterior of a and b given reference rows, approximated by a normal distribution at its mode.

    Attributes:
        slope, intercept: a and b at the mode.
        covariance: of a and b, (2, 2).
    """

    slope: float
    intercept: float
    covariance: np.ndarray

    def probabilities(self, confidences: np.ndarray) -> np.ndarray:
        """P(right) at each confidence, float64, in its shape."""
        return np.asarray(expit(self.slope * _logit(confidences) + self.intercept))

    def draws(self, confidences: np.ndarray, seed: int) -> np.ndarray:
        """P(right) at each confidence for a and b drawn from the posterior, float64, (DRAWS, levels)."""
        mean = np.array([self.slope, self.intercept])
        slopes, intercepts = np.random.default_rng(seed).multivariate_normal(mean, self.covariance, DRAWS).T
        return np.asarray(expit(slopes[:, None] * _logit(confidences) + intercepts[:, None]))


@dataclass(frozen=True)
class AccuracyEstimate:
    """Accuracy without labels, with its interval; all from 0 to 1."""

    value: float
    low: float
    high: float


def recalibrate(confidences: np.ndarray, right: np.ndarray, wrong: np.ndarray) -> Recalibration:
    """Fit a and b by logistic regression with a prior around a = 1, b = 0 (Platt 1999; MacKay 1992 for the approximation).

    Because of the prior, a few dozen rows, or rows without an error, give finite values and a wide interval.

    Args:
        confidences: of each level, float, (levels,), from 0 to 1.
        right, wrong: numbers of reference rows at each level on which the model is right and wrong, int, (levels,).

    Raises:
        ValueError: there is no reference row.
    """
    rows = np.asarray(right) + np.asarray(wrong)
    used = rows > 0
    if not used.any():
        raise ValueError("recalibration needs at least one reference row")
    design = np.stack([_logit(np.asarray(confidences)[used]), np.ones(used.sum())], axis=1)  # (levels, 2)
    right, rows = np.asarray(right)[used], rows[used]
    start, precision = np.array([1.0, 0.0]), PRIOR_SD**-2
    values = start.copy()
    for _ in range(100):  # Newton's method; the steps are limited because the first ones may go too far
        probabilities = expit(design @ values)
        gradient = design.T @ (right - rows * probabilities) - precision * (values - start)
        curvature = (design.T * (rows * probabilities * (1 - probabilities))) @ design + precision * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        values += step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-10:
            break
    return Recalibration(float(values[0]), float(values[1]), np.linalg.inv(curvature))


def estimate_accuracy(
    confidences: np.ndarray, right: np.ndarray, wrong: np.ndarray, rows: np.ndarray, *, seed: int, alpha: float = 0.05
) -> AccuracyEstimate:
    """The accuracy on rows without labels, with an interval.

    The interval holds the uncertainty of the recalibration, by draws from the posterior of a and b, and that of the sample of
    rows, by the standard error of their mean. The posterior is used instead of a bootstrap of the reference, because without
    an error in the reference no resample has one either. It is not an anytime-valid interval: it is an estimate, for one look.

    Args:
        confidences: of each level, float, (levels,), from 0 to 1.
        right, wrong: reference rows at each level, int, (levels,); see :func:`recalibrate`.
        rows: numbers of new rows at each level, int, (levels,).
        seed: of the draws.
        alpha: probability outside of the interval.

    Raises:
        ValueError: there are no new rows, or no reference rows.
    """
    rows = np.asarray(rows)
    number = int(rows.sum())
    if not number:
        raise ValueError("an estimate needs at least one row")
    recalibration = recalibrate(confidences, right, wrong)
    used = rows > 0
    confidences, shares = np.asarray(confidences)[used], rows[used] / number
    drawn = recalibration.draws(confidences, seed)  # (DRAWS, levels)
    means = drawn @ shares
    errors = np.sqrt(np.maximum((drawn**2) @ shares - means**2, 0) / number)
    means = means + errors * np.random.default_rng([seed, 1]).standard_normal(DRAWS)
    value = float(recalibration.probabilities(confidences) @ shares)
    low, high = np.quantile(np.clip(means, 0, 1), [alpha / 2, 1 - alpha / 2])
    return AccuracyEstimate(value, min(float(low), value), max(float(high), value))


def _logit(confidences: np.ndarray) -> np.ndarray:
    """Log odds, float64, finite."""
    return np.asarray(logit(np.clip(np.asarray(confidences, dtype=np.float64), EDGE, 1 - EDGE)))
