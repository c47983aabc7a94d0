"""Metrics of many bootstrap resamples at once.

A resample is represented by how often it draws each row, and metrics are computed as weighted sums over the rows: each function
takes weights, float32, (rows, samples), and returns, for every resample, exactly the metric on its rows. Intervals are computed
elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from scipy.sparse import csr_array

from headway.evaluation.calibration import BINS, confidences
from headway.evaluation.predictions import Predictions

#: Weights in memory at a time: resamples times rows.
CELLS = 1 << 22

Statistics = Callable[[np.ndarray], Mapping[str, np.ndarray]]


def draws(rows: int, samples: int, seed: int) -> Iterator[np.ndarray]:
    """Weights of the resamples in batches, float32, (rows, samples of the batch); every column sums to ``rows``."""
    random = np.random.default_rng(seed)
    at_once = max(1, CELLS // max(1, rows))
    for start in range(0, samples, at_once):
        n = min(at_once, samples - start)
        cell = random.integers(0, rows, (n, rows)) + rows * np.arange(n)[:, None]
        counts = np.bincount(cell.ravel(), minlength=n * rows).reshape(n, rows)
        yield np.ascontiguousarray(counts.T, dtype=np.float32)


def resample(statistics: Statistics, rows: int, samples: int, seed: int) -> dict[str, np.ndarray]:
    """Statistics of many resamples; ``statistics`` maps weights, (rows, samples), to arrays whose last axis is the resample."""
    parts = [statistics(weights) for weights in draws(rows, samples, seed)]
    return {name: np.concatenate([part[name] for part in parts], axis=-1) for name in parts[0]}


def by_class(labels: np.ndarray, predicted: np.ndarray, n_classes: int, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall and F1 of each class, each (classes, samples), NaN where undefined; macro and weighted F1, (samples,).

    The macro mean is over the classes with rows in the resample, among them labels unknown to the model (-1), with an F1 of 0.
    """
    true = _sums(np.where(labels < 0, n_classes, labels), n_classes + 1, weights)
    n_predicted = _sums(predicted, n_classes + 1, weights)
    right = _sums(predicted, n_classes + 1, weights * (predicted == labels)[:, None])
    with np.errstate(invalid="ignore"):
        precision, recall, f1 = right / n_predicted, right / true, 2 * right / (true + n_predicted)
    f1_of_present = np.where(true > 0, f1, 0)
    return {
        "precision": precision[:n_classes],
        "recall": recall[:n_classes],
        "f1": f1[:n_classes],
        "macro_f1": f1_of_present.sum(axis=0) / (true > 0).sum(axis=0),
        "weighted_f1": (f1_of_present * true).sum(axis=0) / true.sum(axis=0),
    }


def means(values: Mapping[str, np.ndarray], weights: np.ndarray) -> dict[str, np.ndarray]:
    """Means of one value per row, (samples,)."""
    return {name: value.astype(np.float32) @ weights / len(value) for name, value in values.items()}


def calibration_error(predictions: Predictions, weights: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Expected calibration error, (samples,), with bins from each resample; see :mod:`headway.evaluation.calibration`."""
    confidence = confidences(predictions)
    order = np.argsort(confidence, kind="stable")
    ascending, drawn, rows = confidence[order], weights[order], len(confidence)
    first_of_equal = np.searchsorted(ascending, ascending, side="left")
    up_to = np.cumsum(drawn, axis=0)  # draws of a row and the rows before it
    gap = (predictions.correct[order] - ascending)[:, None] * drawn
    gaps = np.concatenate([np.zeros((1, weights.shape[1])), np.cumsum(gap, axis=0, dtype=np.float64)])
    inner = [first_of_equal[(up_to <= index * rows // bins).sum(axis=0)] for index in range(1, bins)]
    ends = np.zeros(weights.shape[1], dtype=np.int64)
    edges = np.stack([ends, *inner, ends + rows])  # (bins + 1, samples)
    return np.asarray(np.abs(np.diff(np.take_along_axis(gaps, edges, axis=0), axis=0)).sum(axis=0) / rows)


def ranking(predictions: Predictions, weights: np.ndarray) -> dict[str, np.ndarray]:
    """ROC-AUC and average precision, each (samples,), NaN where undefined.

    For two classes they are those of the second; for more, the mean over the classes with rows, one against the rest.
    """
    sums, counts = np.zeros((2, weights.shape[1])), np.zeros((2, weights.shape[1]))  # of both metrics
    for index in ranked_classes(predictions):
        values = _rank_metrics(-predictions.probabilities[:, index], predictions.labels == index, weights)
        sums += np.nan_to_num(values)
        counts += np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return dict(zip(("roc_auc", "average_precision"), sums / counts, strict=True))


def ranked_classes(predictions: Predictions) -> list[int]:
    """The classes by whose probability rows are ranked: the second of two, else all classes with rows."""
    present = np.unique(predictions.labels[predictions.labels >= 0]).tolist()
    return [index for index in present if index == 1 or len(predictions.classes) != 2]


def _rank_metrics(negated: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """ROC-AUC (share of pairs in the right order, ties counting half) and average precision of one class, (2, samples).

    ``negated`` is minus the score of each row, and ``positive`` whether it is of the class, each (rows,).
    """
    order = np.argsort(negated, kind="stable")
    negated, positive, drawn = negated[order], positive[order], weights[order]
    up_to_row = np.concatenate([np.zeros((1, weights.shape[1]), np.float32), np.cumsum(drawn, axis=0)])
    # The thresholds are the distinct scores of positive rows, descending; each of these is (thresholds, samples).
    limits, starts = np.unique(negated[positive], return_index=True)
    found = np.add.reduceat(drawn[positive], starts, axis=0).astype(np.float64)  # draws of positives with that score
    above, up_to = (up_to_row[np.searchsorted(negated, limits, side)] for side in ("left", "right"))  # draws of all rows
    true_up_to = np.cumsum(found, axis=0)
    positives = true_up_to[-1]
    negatives = len(weights) - positives
    false_above = above - (true_up_to - found)
    false_at = up_to - above - found
    with np.errstate(invalid="ignore", divide="ignore"):
        auc = (found * (negatives - false_above - false_at / 2)).sum(axis=0) / (positives * negatives)
        precision = np.where(found > 0, true_up_to / up_to, 0)
        return np.stack([auc, (found * precision).sum(axis=0) / positives])


def _sums(group: np.ndarray, groups: int, weights: np.ndarray) -> np.ndarray:
    """Sums of the weights over the rows of each group, float64, (groups, samples)."""
    rows = np.arange(len(group))
    membership = csr_array((np.ones(len(group), np.float32), (group, rows)), shape=(groups, len(group)))
    return np.asarray(membership @ weights, dtype=np.float64)
