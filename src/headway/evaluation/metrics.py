"""Metrics of a model with bootstrap confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import f1_score, precision_recall_fscore_support

from headway.evaluation import resampling
from headway.evaluation.calibration import brier_by_row, errors_if_calibrated, expected_calibration_error
from headway.evaluation.headlines import HEADLINES
from headway.evaluation.predictions import Predictions
from headway.params import EvaluationParams

OF_CLASS = ("precision", "recall", "f1")


@dataclass(frozen=True)
class Interval:
    """An estimate and the bounds of its confidence interval."""

    value: float
    low: float
    high: float


def evaluate(predictions: Predictions, params: EvaluationParams, seed: int) -> dict[str, Any]:
    """Metrics of a model on a split, as numbers for JSON.

    Each metric in ``HEADLINES`` comes with its interval, as ``accuracy``, ``accuracy_low`` and ``accuracy_high``:

    - macro F1 is the mean over the classes with rows in the split; weighted F1 weights them by their rows
    - for two classes, ROC-AUC and average precision rank rows by the probability of ``positive_class``, the second class; for
      more classes they are the mean over the classes with rows, one against the rest, and ``positive_class`` is None
    - negative log-likelihood is in nats per row; for calibration error and Brier score see
      :mod:`headway.evaluation.calibration`

    Intervals are percentiles of bootstrap resamples in which the metric is defined, except for the calibration error; see
    :func:`_calibration_error_interval`. Numbers are rounded to six places, and None where undefined, because rows are missing
    or a probability is NaN.
    """
    labels, predicted, n_classes = predictions.labels, predictions.predicted, len(predictions.classes)
    by_row = {
        "accuracy": predictions.correct,
        "negative_log_likelihood": likelihood_by_row(predictions),
        "brier_score": brier_by_row(predictions),
    }

    def statistics(weights: np.ndarray) -> dict[str, np.ndarray]:
        return {
            **resampling.by_class(labels, predicted, n_classes, weights),
            **resampling.means(by_row, weights),
            **resampling.ranking(predictions, weights),
            "expected_calibration_error": resampling.calibration_error(predictions, weights),
        }

    resamples = resampling.resample(statistics, len(labels), params.bootstrap_samples, seed)
    ranked = resampling.ranking(predictions, np.ones((len(labels), 1), np.float32))
    undefined = not np.isfinite(predictions.probabilities).all()
    present = np.unique(labels)
    values = {
        "macro_f1": f1_score(labels, predicted, labels=present, average="macro", zero_division=0),
        "weighted_f1": f1_score(labels, predicted, labels=present, average="weighted", zero_division=0),
        **{name: math.nan if undefined else value[0] for name, value in ranked.items()},
        **{name: value.mean() for name, value in by_row.items()},
    }
    intervals = {name: _interval(float(value), resamples[name], params.confidence) for name, value in values.items()}
    intervals["expected_calibration_error"] = _calibration_error_interval(
        predictions, resamples["expected_calibration_error"], params, seed
    )
    return {
        "rows": len(labels),
        **_plain({name: intervals[name] for name in HEADLINES}),
        "positive_class": predictions.classes[1] if n_classes == 2 else None,
        "classes": _by_class(predictions, resamples, params.confidence),
    }


def evaluate_slices(
    predictions: Predictions, slices: Mapping[str, np.ndarray], params: EvaluationParams, seed: int
) -> dict[str, dict[str, Any]]:
    """Rows, accuracy and macro F1 of each slice, a mask over the rows, with intervals, for JSON.

    Macro F1 is None for a slice of one label: its mean would be of that label's F1 alone, which only counts missed rows.
    ``small`` marks a slice with fewer than ``min_slice_rows`` rows, whose interval is too wide to draw conclusions. A slice
    without rows has no values.
    """
    predicted = predictions.predicted
    return {name: _of_slice(predictions.labels[mask], predicted[mask], params, seed) for name, mask in slices.items()}


def _of_slice(labels: np.ndarray, predicted: np.ndarray, params: EvaluationParams, seed: int) -> dict[str, Any]:
    if not len(labels):
        undefined = dict.fromkeys(("accuracy", "macro_f1"), Interval(math.nan, math.nan, math.nan))
        return {"rows": 0, "small": True, **_plain(undefined)}
    present, own = np.unique(np.stack([labels, predicted]), return_inverse=True)  # renumbered: a slice may have few classes
    own_labels, own_predicted = own.reshape(2, -1)
    correct = labels == predicted
    of_rows = np.unique(labels)
    several = len(of_rows) > 1

    def statistics(weights: np.ndarray) -> dict[str, np.ndarray]:
        f1 = resampling.by_class(own_labels, own_predicted, len(present), weights)
        return {**f1, **resampling.means({"accuracy": correct}, weights)}

    resamples = resampling.resample(statistics, len(labels), params.bootstrap_samples, seed)
    values = {
        "accuracy": correct.mean(),
        "macro_f1": f1_score(labels, predicted, labels=of_rows, average="macro", zero_division=0) if several else math.nan,
    }
    intervals = {name: _interval(float(value), resamples[name], params.confidence) for name, value in values.items()}
    return {"rows": len(labels), "small": len(labels) < params.min_slice_rows, **_plain(intervals)}


def _by_class(predictions: Predictions, resamples: Mapping[str, np.ndarray], confidence: float) -> dict[str, dict[str, Any]]:
    every = list(range(len(predictions.classes)))
    *values, rows = precision_recall_fscore_support(
        predictions.labels, predictions.predicted, labels=every, zero_division=np.nan
    )
    return {
        name: _plain(
            {
                metric: _interval(float(value[index]), resamples[metric][index], confidence)
                for metric, value in zip(OF_CLASS, values, strict=True)
            }
        )
        | {"rows": int(rows[index])}
        for index, name in enumerate(predictions.classes)
    }


def _interval(value: float, resamples: np.ndarray, confidence: float) -> Interval:
    """An estimate with percentiles of its resamples; all NaN if it is undefined."""
    defined = resamples[np.isfinite(resamples)]
    if math.isnan(value) or not len(defined):
        return Interval(math.nan, math.nan, math.nan)
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, float(low), float(high))


def _calibration_error_interval(
    predictions: Predictions, resamples: np.ndarray, params: EvaluationParams, seed: int
) -> Interval:
    """The calibration error with its interval, which may lie below the estimate.

    Sampling biases a sum of absolute gaps upwards, and resampling does so again. The basic bootstrap reflects the percentiles
    about the estimate, which removes most of this bias (Davison & Hinkley 1997, "Bootstrap Methods and their Application",
    5.2.1). The lower bound is 0 if a calibrated model would show as large an error by chance.
    """
    value = expected_calibration_error(predictions)
    percentiles = _interval(value, resamples, params.confidence)
    if math.isnan(percentiles.value):
        return percentiles
    if_calibrated = errors_if_calibrated(predictions, params.bootstrap_samples, seed)
    significant = value > np.quantile(if_calibrated, (1 + params.confidence) / 2)
    low = max(0.0, 2 * value - percentiles.high) if significant else 0.0
    return Interval(value, low, max(0.0, 2 * value - percentiles.low))


def _plain(intervals: Mapping[str, Interval]) -> dict[str, float | None]:
    """Intervals as numbers for JSON, three per name, None for NaN."""
    numbers: dict[str, float] = {}
    for name, interval in intervals.items():
        numbers |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return {name: None if math.isnan(value) else round(value, 6) for name, value in numbers.items()}


def likelihood_by_row(predictions: Predictions) -> np.ndarray:
    """-log p(true label) of each row, in nats, float64, (rows,).

    A label unknown to the model (-1) has the smallest representable probability.
    """
    probabilities = np.asarray(predictions.probabilities, dtype=np.float64)
    probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
    labels = np.asarray(predictions.labels)
    of_truth = np.where(labels >= 0, probabilities[np.arange(len(labels)), labels], 0.0)
    return np.asarray(-np.log(np.clip(of_truth, np.finfo(np.float64).eps, 1)))
