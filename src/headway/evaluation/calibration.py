"""Calibration error and Brier score of predicted probabilities."""

from __future__ import annotations

import numpy as np

from headway.evaluation.predictions import Predictions

BINS = 15


def expected_calibration_error(predictions: Predictions, bins: int = BINS) -> float:
    """Expected calibration error: the mean gap between confidence and accuracy over bins of rows, from 0 to 1.

    Rows are binned by confidence, the probability of their most likely class (Naeini, Cooper & Hauskrecht 2015, "Obtaining Well
    Calibrated Probabilities Using Bayesian Binning"), with about equally many rows per bin, which is less biased than bins of
    equal width (Roelofs et al. 2022, "Mitigating Bias in Calibration Error Estimation"). Equal confidences share a bin, so the
    order of the rows does not matter.
    """
    confidence = confidences(predictions)
    bin_of = bins_of(confidence, bins)
    gaps = np.bincount(bin_of, weights=predictions.correct - confidence)
    return float(np.abs(gaps).sum() / len(confidence))


def errors_if_calibrated(predictions: Predictions, samples: int, seed: int, bins: int = BINS) -> np.ndarray:
    """Calibration errors of a calibrated model with these confidences, (samples,): each row's label is drawn from its confidence.

    They are above 0, because chance alone leaves gaps. A calibration error in their range is no evidence of miscalibration
    (Bröcker & Smith 2007, "Increasing the Reliability of Reliability Diagrams").
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
    """Bin of each row, int, (rows,), in ascending order of confidence; bins have equally many rows, as far as ties allow."""
    ascending = np.sort(confidence)
    edges = np.unique(ascending[np.arange(1, bins) * len(ascending) // bins])
    return np.searchsorted(edges, confidence, side="right")


def confidences(predictions: Predictions) -> np.ndarray:
    """Probability of each row's most likely class, float64, (rows,)."""
    return np.asarray(predictions.probabilities.max(axis=1), dtype=np.float64)


def brier_by_row(predictions: Predictions) -> np.ndarray:
    """Brier score of each row: the squared distance of its probabilities from the true label's one-hot vector, float64, (rows,).

    It is summed over classes (Brier 1950, "Verification of Forecasts Expressed in Terms of Probability"), from 0 to 2; for two
    classes it is halved, as is usual, from 0 to 1. A label unknown to the model (-1) counts as a class of probability 0.
    """
    probabilities = np.asarray(predictions.probabilities, dtype=np.float64)
    labels = np.asarray(predictions.labels)
    of_truth = np.where(labels >= 0, probabilities[np.arange(len(labels)), labels], 0.0)
    distance: np.ndarray = np.square(probabilities).sum(axis=1) - 2 * of_truth + 1
    return distance / 2 if probabilities.shape[1] == 2 else distance
