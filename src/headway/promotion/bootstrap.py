"""Bootstrap intervals of what is no difference of counts: a mean over rows, macro F1 and negative log-likelihood."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from headway.evaluation.metrics import Interval, likelihood_by_row
from headway.evaluation.predictions import Predictions
from headway.params import GateParams
from headway.promotion.paired_predictions import Pair

CHUNK = 200


def bootstrap_mean(values: np.ndarray, confidence: float, samples: int, seed: int) -> Interval:
    """The mean of one number a row, with its percentile bootstrap interval (Efron & Tibshirani 1993, chapter 13).

    For the accuracy of a model give 0/1 by row. For the difference of two models on the same rows give the difference by
    row, -1, 0 or 1: resampling rows then resamples both models together, which is the paired bootstrap.

    Args:
        values: float, shape (rows,).
        confidence: coverage, as 0.95.
        samples: bootstrap resamples.
        seed: of the resampling.
    """
    values = np.asarray(values, dtype=np.float64)
    distinct, counts = np.unique(values, return_counts=True)
    random = np.random.default_rng(seed)
    if len(distinct) <= CHUNK:
        # Few distinct values: how often each is drawn is multinomial, which needs no row to be drawn at all.
        drawn = random.multinomial(len(values), counts / len(values), size=samples)  # (samples, distinct)
        means = drawn @ distinct / len(values)
    else:
        means = np.concatenate(
            [
                values[random.integers(0, len(values), (min(CHUNK, samples - start), len(values)))].mean(axis=1)
                for start in range(0, samples, CHUNK)
            ]
        )
    return _percentiles(float(values.mean()), means, confidence)


def macro_f1_difference(pair: Pair, policy: GateParams, seed: int) -> Interval:
    """Macro F1 of the first less that of the second, with its percentile interval; rows are resampled for both at once.

    The mean is over the classes that have rows, in each resample as in the whole (as the metric is defined). Rows are equal
    that have the same label and the same two guesses: how often each kind is drawn is multinomial.
    """
    kinds, counts = np.unique(np.stack([pair.truth, *pair.guesses]), axis=1, return_counts=True)
    truth, *guesses = (_one_hot(column, len(pair.classes)) for column in kinds)
    right = [truth.multiply(guess).tocsr() for guess in guesses]

    def difference(drawn: np.ndarray) -> np.ndarray:
        rows = drawn @ truth  # (samples, classes), as are all that follow
        present = rows > 0
        scores = [
            np.divide(2 * (drawn @ hit), rows + drawn @ guess, out=np.zeros(rows.shape), where=present)
            for guess, hit in zip(guesses, right, strict=True)
        ]
        return np.asarray((scores[0] - scores[1]).sum(axis=1) / np.maximum(present.sum(axis=1), 1))

    random = np.random.default_rng(seed)
    total, samples = int(counts.sum()), policy.bootstrap_samples
    chunks = [min(CHUNK, samples - start) for start in range(0, samples, CHUNK)]
    drawn = np.concatenate([difference(random.multinomial(total, counts / total, size)) for size in chunks])
    return _percentiles(float(difference(counts[None, :])[0]), drawn, policy.confidence)


def nll_difference(first: Predictions, second: Predictions, policy: GateParams, seed: int) -> Interval:
    """Negative log-likelihood of the first less that of the second, in nats a row, with its percentile interval."""
    return bootstrap_mean(
        likelihood_by_row(first) - likelihood_by_row(second), policy.confidence, policy.bootstrap_samples, seed
    )


def _percentiles(value: float, resamples: np.ndarray, confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    low, high = np.quantile(resamples, [tail, 1 - tail])
    return Interval(value, float(low), float(high))


def _one_hot(labels: np.ndarray, classes: int) -> csr_array:
    """0/1, shape (rows, classes); a row of zeros for the label -1."""
    known = np.flatnonzero(labels >= 0)
    return csr_array((np.ones(len(known)), (known, labels[known])), shape=(len(labels), classes))
