"""Are the probabilities as sure as they are right: calibration error, Brier score, and the temperature that mends them."""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.special import softmax

from headway.evaluation.predictions import Predictions

BINS = 15
#: Weight of the belief that the probabilities are right as they are; it decides only where rows are few, or never wrong.
PRIOR = 1.0
#: Inverse temperatures that are looked at.
LEAST, MOST = 0.01, 100.0


def expected_calibration_error(predictions: Predictions, bins: int = BINS) -> float:
    """The mean gap between how sure the likeliest class is and how often it is right, from 0 to 1.

    Rows are binned by the probability of their likeliest class (Naeini, Cooper & Hauskrecht 2015, "Obtaining Well Calibrated
    Probabilities Using Bayesian Binning"), about equally many in each bin, which is less biased than bins of equal width
    (Roelofs et al. 2022, "Mitigating Bias in Calibration Error Estimation"). Equal probabilities are never parted, so the
    order of the rows does not matter.

    Args:
        bins: at most so many.
    """
    confidence = confidences(predictions)
    bin_of = bins_of(confidence, bins)
    gaps = np.bincount(bin_of, weights=predictions.correct - confidence)
    return float(np.abs(gaps).sum() / len(confidence))


def errors_if_calibrated(predictions: Predictions, samples: int, seed: int, bins: int = BINS) -> np.ndarray:
    """Calibration errors that these rows would show if each were right exactly as often as it is sure, (samples,).

    They are above 0, for chance alone leaves gaps; an error among them is no evidence against the model (Bröcker & Smith 2007,
    "Increasing the Reliability of Reliability Diagrams").
    """
    confidence = confidences(predictions)
    order = np.argsort(confidence, kind="stable")
    starts = np.flatnonzero(np.diff(bins_of(confidence, bins)[order], prepend=-1))
    random = np.random.default_rng(seed)
    errors = np.empty(samples)
    for sample in range(samples):
        gap = (random.random(len(order)) < confidence[order]) - confidence[order]
        errors[sample] = np.abs(np.add.reduceat(gap, starts)).sum() / len(order)
    return errors


def bins_of(confidence: np.ndarray, bins: int) -> np.ndarray:
    """The bin of each row, int, shape (rows,): as many rows in each as equal values allow, from the least sure upwards."""
    ascending = np.sort(confidence)
    edges = np.unique(ascending[np.arange(1, bins) * len(ascending) // bins])
    return np.searchsorted(edges, confidence, side="right")


def confidences(predictions: Predictions) -> np.ndarray:
    """The probability of each row's likeliest class, float64, shape (rows,)."""
    return np.asarray(predictions.probabilities.max(axis=1), dtype=np.float64)


def brier_by_row(predictions: Predictions) -> np.ndarray:
    """Squared distance of each row's probabilities from the truth, float64, shape (rows,).

    The sum over all classes (Brier 1950, "Verification of Forecasts Expressed in Terms of Probability"), from 0 to 2; of two
    classes half of that, as is usual, from 0 to 1. A label that the model does not know (-1) is a class of probability 0.
    """
    probabilities = np.asarray(predictions.probabilities, dtype=np.float64)
    labels = np.asarray(predictions.labels)
    of_truth = np.where(labels >= 0, probabilities[np.arange(len(labels)), labels], 0.0)
    distance = np.square(probabilities).sum(axis=1) - 2 * of_truth + 1
    return distance / 2 if probabilities.shape[1] == 2 else distance


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature T that makes the labels likeliest under softmax(logits / T) (Guo et al. 2017, "On Calibration of Modern
    Neural Networks").

    The negative log-likelihood is convex in 1/T, so its minimum is where the slope is 0. A weak prior on 1/T = 1 keeps rows
    that are few, or all right, from making the model infinitely sure.

    Args:
        logits: or log-probabilities, shape (rows, classes); of validation rows, never of training or test rows.
        labels: int, shape (rows,), each a class.
    """
    logits = np.asarray(logits, dtype=np.float64)
    of_truth = logits[np.arange(len(labels)), labels].sum()

    def slope(inverse: float) -> float:
        expected = (softmax(inverse * logits, axis=1) * logits).sum()
        return float(expected - of_truth + 2 * PRIOR * (inverse - 1))

    if slope(LEAST) >= 0:
        return 1 / LEAST
    if slope(MOST) <= 0:
        return 1 / MOST
    return float(1 / brentq(slope, LEAST, MOST))
