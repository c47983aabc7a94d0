"""Accuracy without labels: right under covariate shift, with an interval that holds it, and finite for any reference."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from headway.monitoring.accuracy_estimate import PRIOR_SD, estimate_accuracy, recalibrate

#: The middle of each of 256 levels between 1/2 and 1.
CONFIDENCES = 0.5 + (np.arange(256) + 0.5) / 512


def levels_of(random: np.random.Generator, rows: int, mean: float) -> np.ndarray:
    """Levels of rows whose confidence has log odds around a mean."""
    confidence = expit(np.abs(random.normal(mean, 1.0, rows)))
    return np.clip(((confidence - 0.5) * 512).astype(int), 0, 255)


def counts(levels: np.ndarray) -> np.ndarray:
    return np.bincount(levels, minlength=256)


def overconfident(levels: np.ndarray) -> np.ndarray:
    """P(right) of a model whose log odds are twice as large as they should be."""
    return expit(0.5 * logit(CONFIDENCES[levels]))


def reference(random: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    levels = levels_of(random, rows, 3.0)
    right = random.random(rows) < overconfident(levels)
    return counts(levels[right]), counts(levels[~right])


def test_the_fit_is_logistic_regression_once_the_prior_hardly_counts() -> None:
    right, wrong = reference(np.random.default_rng(1), 200_000)
    fitted = recalibrate(CONFIDENCES, right, wrong)
    x = np.concatenate([logit(CONFIDENCES)] * 2)[:, None]
    y = np.repeat([1, 0], 256)
    plain = LogisticRegression(C=1e9, tol=1e-8).fit(x, y, sample_weight=np.concatenate([right, wrong]))
    assert fitted.slope == pytest.approx(plain.coef_[0, 0], abs=1e-3)
    assert fitted.intercept == pytest.approx(plain.intercept_[0], abs=2e-3)
    assert fitted.slope == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("rows", [1, 5, 60])
def test_few_rows_and_no_errors_give_the_mode_of_the_posterior(rows: int) -> None:
    right = counts(levels_of(np.random.default_rng(2), rows, 3.0))
    fitted = recalibrate(CONFIDENCES, right, np.zeros(256, dtype=int))

    def loss(values: np.ndarray) -> float:
        fit = right @ np.logaddexp(0, -(values[0] * logit(CONFIDENCES) + values[1]))
        return float(fit + ((values - [1, 0]) ** 2).sum() / (2 * PRIOR_SD**2))

    best = minimize(loss, [1.0, 0.0], tol=1e-12).x
    assert [fitted.slope, fitted.intercept] == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize("mean", [1.0, 2.0, 4.0])
def test_the_estimate_follows_a_covariate_shift(mean: float) -> None:
    random = np.random.default_rng(3)
    right, wrong = reference(random, 20_000)
    levels = levels_of(random, 50_000, mean)
    estimate = estimate_accuracy(CONFIDENCES, right, wrong, counts(levels), seed=1)
    assert estimate.value == pytest.approx(overconfident(levels).mean(), abs=0.01)
    assert abs(CONFIDENCES[levels].mean() - overconfident(levels).mean()) > 0.02, "the plain confidence is off"


@pytest.mark.parametrize(("reference_rows", "rows"), [(60, 500), (50_000, 30), (2_500, 5_000)])
def test_the_interval_holds_the_accuracy_as_often_as_stated(reference_rows: int, rows: int) -> None:
    """In the first case nearly all uncertainty is in the recalibration, in the second one nearly all is in the few new rows."""
    random, held = np.random.default_rng(4), 0
    truth = overconfident(levels_of(random, 1_000_000, 1.5)).mean()
    for seed in range(150):
        right, wrong = reference(random, reference_rows)
        estimate = estimate_accuracy(CONFIDENCES, right, wrong, counts(levels_of(random, rows, 1.5)), seed=seed, alpha=0.2)
        held += estimate.low <= truth <= estimate.high
    assert 150 * 0.72 <= held <= 150 * 0.92


def test_a_reference_without_errors_leaves_a_wide_interval() -> None:
    right = counts(levels_of(np.random.default_rng(5), 60, 3.0))
    estimate = estimate_accuracy(CONFIDENCES, right, np.zeros(256, dtype=int), right, seed=1)
    assert 0.02 < estimate.high - estimate.low < 0.3
    assert 0.9 < estimate.low <= estimate.value <= estimate.high <= 1


def test_confidences_of_zero_and_one_are_finite() -> None:
    estimate = estimate_accuracy(np.array([0.0, 1.0]), np.array([0, 9]), np.array([1, 1]), np.array([5, 5]), seed=1)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


def test_the_same_seed_gives_the_same_interval() -> None:
    right, wrong = reference(np.random.default_rng(6), 200)
    first, same, other = (estimate_accuracy(CONFIDENCES, right, wrong, right, seed=seed) for seed in (1, 1, 2))
    assert first == same
    assert first.value == other.value
    assert first != other


def test_no_rows_and_no_reference_are_refused() -> None:
    some, none = np.array([1]), np.array([0])
    with pytest.raises(ValueError, match="at least one reference row"):
        estimate_accuracy(np.array([0.9]), none, none, some, seed=1)
    with pytest.raises(ValueError, match="at least one row"):
        estimate_accuracy(np.array([0.9]), some, some, none, seed=1)
