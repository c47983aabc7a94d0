"""Are the probabilities as sure as they are right: calibration error and Brier score."""

from __future__ import annotations

import numpy as np

from headway.evaluation.predictions import Predictions

BINS = 15


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
    distance: np.ndarray = np.square(probabilities).sum(axis=1) - 2 * of_truth + 1
    return distance / 2 if probabilities.shape[1] == 2 else distance
