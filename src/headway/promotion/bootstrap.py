"""Percentile bootstrap intervals (Efron & Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13) of differences that
are not differences of counts: macro F1 and negative log-likelihood. For accuracy see :mod:`headway.promotion.paired_tests`.

Both models are resampled on the same rows (the paired bootstrap), so that what is hard for both cancels out.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from headway.evaluation.metrics import Interval, likelihood_by_row
from headway.evaluation.predictions import Predictions
from headway.params import GateParams
from headway.promotion.paired_predictions import PairedPredictions

#: Resamples computed at a time, which limits the memory.
CHUNK = 200


def bootstrap_mean(values: np.ndarray, confidence: float, samples: int, seed: int) -> Interval:
    """The mean of one number per row, with its percentile bootstrap interval.

    Args:
        values: float, shape (rows,). For the accuracy of one model, 0 or 1; for a difference of two models, -1, 0 or 1.
        confidence: coverage, for example 0.95.
        samples, seed: number of resamples, and the seed of their rows.
    """
    values = np.asarray(values, dtype=np.float64)
    distinct, counts = np.unique(values, return_counts=True)
    random = np.random.default_rng(seed)
    if len(distinct) <= CHUNK:
        # With few distinct values, how often each is drawn is multinomial, and no row needs to be drawn.
        drawn = random.multinomial(len(values), counts / len(values), size=samples)  # (samples, distinct)
        means = drawn @ distinct / len(values)
    else:
        means = np.concatenate(
            [
                values[random.integers(0, len(values), (min(CHUNK, samples - start), len(values)))].mean(axis=1)
                for start in range(0, samples, CHUNK)
            ]
        )
    return _percentile_interval(float(values.mean()), means, confidence)


def macro_f1_difference(pair: PairedPredictions, policy: GateParams, seed: int) -> Interval:
    """Macro F1 of the candidate minus that of the opponent, from -1 to 1, with its interval at ``gate.confidence``.

    In each resample, as in the whole, the mean is taken over the classes that have rows. Rows with the same label and the
    same two predictions are interchangeable, so how often each kind of row is drawn is multinomial.
    """
    kinds, counts = np.unique(np.stack([pair.labels, *pair.predicted]), axis=1, return_counts=True)
    labels, *predicted = (_one_hot(column, len(pair.classes)) for column in kinds)
    correct = [labels.multiply(one).tocsr() for one in predicted]

    def difference(drawn: np.ndarray) -> np.ndarray:
        rows = drawn @ labels  # (samples, classes), as are all that follow
        present = rows > 0
        scores = [
            np.divide(2 * (drawn @ hits), rows + drawn @ one, out=np.zeros(rows.shape), where=present)
            for one, hits in zip(predicted, correct, strict=True)
        ]
        return np.asarray((scores[0] - scores[1]).sum(axis=1) / np.maximum(present.sum(axis=1), 1))

    random = np.random.default_rng(seed)
    total, samples = int(counts.sum()), policy.bootstrap_samples
    chunks = [min(CHUNK, samples - start) for start in range(0, samples, CHUNK)]
    drawn = np.concatenate([difference(random.multinomial(total, counts / total, size)) for size in chunks])
    return _percentile_interval(float(difference(counts[None, :])[0]), drawn, policy.confidence)


def nll_difference(candidate: Predictions, opponent: Predictions, policy: GateParams, seed: int) -> Interval:
    """Mean negative log-likelihood of the candidate minus that of the opponent, in nats per row, with its interval.

    The predictions must be of the same rows in the same order.
    """
    by_row = likelihood_by_row(candidate) - likelihood_by_row(opponent)
    return bootstrap_mean(by_row, policy.confidence, policy.bootstrap_samples, seed)


def _percentile_interval(value: float, resamples: np.ndarray, confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    low, high = np.quantile(resamples, [tail, 1 - tail])
    return Interval(value, float(low), float(high))


def _one_hot(labels: np.ndarray, classes: int) -> csr_array:
    """0/1, shape (rows, classes); a row of zeros for the label -1."""
    known = np.flatnonzero(labels >= 0)
    return csr_array((np.ones(len(known)), (known, labels[known])), shape=(len(labels), classes))
