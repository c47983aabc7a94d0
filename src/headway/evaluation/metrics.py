"""Metrics of a model, with a bootstrap interval of its accuracy; and the bootstrap, which the gate uses too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix as count_confusions
from sklearn.metrics import f1_score, precision_recall_fscore_support

from headway.evaluation.predictions import Predictions
from headway.params import EvaluationParams

CHUNK = 200


@dataclass(frozen=True)
class Interval:
    """An estimate and the bounds of its confidence interval."""

    value: float
    low: float
    high: float


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
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(values.mean()), float(low), float(high))


def evaluate(predictions: Predictions, params: EvaluationParams, seed: int) -> dict[str, Any]:
    """Metrics of a model on a split, as plain numbers for JSON, rounded to six places.

    Accuracy (with interval), macro F1 over the classes that have rows here, negative log-likelihood in nats a row, and
    precision, recall, F1 and rows by class.
    """
    every = list(range(len(predictions.classes)))
    labels, predicted = predictions.labels, predictions.predicted
    accuracy = bootstrap_mean(predictions.correct, params.confidence, params.bootstrap_samples, seed)
    precision, recall, f1, rows = precision_recall_fscore_support(labels, predicted, labels=every, zero_division=0)
    return {
        "rows": len(labels),
        "accuracy": round(accuracy.value, 6),
        "accuracy_low": round(accuracy.low, 6),
        "accuracy_high": round(accuracy.high, 6),
        "macro_f1": round(float(f1_score(labels, predicted, labels=np.unique(labels), average="macro", zero_division=0)), 6),
        "negative_log_likelihood": round(negative_log_likelihood(predictions), 6),
        "classes": {
            name: {
                "precision": round(float(precision[index]), 6),
                "recall": round(float(recall[index]), 6),
                "f1": round(float(f1[index]), 6),
                "rows": int(rows[index]),
            }
            for index, name in enumerate(predictions.classes)
        },
    }


def negative_log_likelihood(predictions: Predictions) -> float:
    """Mean of -log p(true label), in nats; a label that the model does not know (-1) has the smallest probability there is."""
    probabilities = np.asarray(predictions.probabilities, dtype=np.float64)
    probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
    labels = np.asarray(predictions.labels)
    of_truth = np.where(labels >= 0, probabilities[np.arange(len(labels)), labels], 0.0)
    return float(-np.log(np.clip(of_truth, np.finfo(np.float64).eps, 1)).mean())


def confusion_matrix(predictions: Predictions) -> np.ndarray:
    """Counts, shape (classes, classes): rows are true labels, columns predicted ones."""
    every = list(range(len(predictions.classes)))
    counts: np.ndarray = count_confusions(predictions.labels, predictions.predicted, labels=every)
    return counts
