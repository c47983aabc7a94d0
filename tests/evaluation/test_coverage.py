"""Accuracy of the rows that a model is surest of."""

import numpy as np
import pytest

from headway.evaluation.coverage import coverage_curve
from headway.evaluation.predictions import Predictions
from tests.evaluation.test_resampling import some


def test_each_point_is_the_accuracy_of_the_rows_above_its_threshold():
    predictions = some(200, 3, seed=2)
    confidence = predictions.probabilities.max(axis=1)
    points = coverage_curve(predictions, 0.95)
    for point in points:
        answered = confidence >= np.float32(point["threshold"]) - 1e-6
        assert point["rows"] == answered.sum()
        assert point["coverage"] == pytest.approx(answered.mean(), abs=1e-6)
        assert point["accuracy"] == pytest.approx(predictions.correct[answered].mean(), abs=1e-6)
        assert point["accuracy_low"] <= point["accuracy"] <= point["accuracy_high"]
    assert points[0]["coverage"] == 1
    assert [point["rows"] for point in points] == sorted({point["rows"] for point in points}, reverse=True)


def test_a_row_without_probabilities_is_never_answered():
    predictions = some(20, 2, seed=1)
    predictions.probabilities[:5] = np.nan
    assert coverage_curve(predictions, 0.95)[0]["coverage"] == 0.75
    predictions.probabilities[:] = np.nan
    assert coverage_curve(predictions, 0.95) == []


def test_a_single_row_makes_a_single_point():
    one = Predictions(["a"], np.array([0]), np.array([[0.9, 0.1]], np.float32), ["x", "y"])
    (point,) = coverage_curve(one, 0.95)
    assert (point["rows"], point["coverage"], point["accuracy"]) == (1, 1, 1)
