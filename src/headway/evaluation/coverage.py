"""How accurate a model is when it answers only the texts of which it is surest."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import binomtest

from headway.evaluation.calibration import confidences
from headway.evaluation.predictions import Predictions

#: Shares of the rows to answer, from all to the surest twentieth.
SHARES = np.arange(20, 0, -1) / 20


def coverage_curve(predictions: Predictions, confidence: float) -> list[dict[str, Any]]:
    """Accuracy of the rows whose confidence reaches a threshold, from the lowest threshold to the highest, for JSON.

    Each point has the threshold, the share and the number of rows that reach it, and their accuracy with Wilson's interval
    (Wilson 1927) at level ``confidence``. Rows with a probability that is NaN are never answered. Equal confidences are
    answered together, so there may be fewer points than ``SHARES``.
    """
    finite = np.isfinite(predictions.probabilities).all(axis=1)
    surest = np.sort(confidences(predictions)[finite])[::-1]
    points: dict[int, dict[str, Any]] = {}
    for share in SHARES if len(surest) else ():
        threshold = surest[max(1, round(share * len(surest))) - 1]
        answered = finite & (confidences(predictions) >= threshold)
        rows, right = int(answered.sum()), int(predictions.correct[answered].sum())
        bounds = binomtest(right, rows).proportion_ci(confidence, method="wilson")
        numbers = {"coverage": rows / len(finite), "accuracy": right / rows}
        numbers |= {"accuracy_low": bounds.low, "accuracy_high": bounds.high}
        # The threshold is not rounded: another one would answer other rows.
        points[rows] = {"rows": rows, "threshold": float(threshold)} | {
            name: round(float(value), 6) for name, value in numbers.items()
        }
    return list(points.values())
