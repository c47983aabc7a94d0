"""The wrong predictions that a model is most confident of, with their texts: they show its weaknesses, or wrong labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from headway.data.text.excerpts import excerpt
from headway.evaluation.metrics import likelihood_by_row
from headway.evaluation.predictions import Predictions

COUNT, EXCERPT = 50, 1_000


def worst_mistakes(predictions: Predictions, texts: Sequence[str], labels: Sequence[str]) -> list[dict[str, Any]]:
    """The wrongly predicted rows whose true label has the lowest probability, worst first, for JSON."""
    predicted = predictions.predicted
    confidence = predictions.probabilities.max(axis=1)
    surprise = np.where(predictions.correct, -np.inf, np.nan_to_num(likelihood_by_row(predictions), nan=np.inf))
    order = np.argsort(-surprise, kind="stable")[: min(COUNT, int((~predictions.correct).sum()))].tolist()
    return [
        {
            "id": predictions.ids[row],
            "label": labels[row],
            "predicted": predictions.classes[predicted[row]],
            "probability": None if np.isnan(confidence[row]) else round(float(confidence[row]), 6),  # JSON has no NaN
            "characters": len(texts[row]),
            "text": excerpt(texts[row], EXCERPT),
        }
        for row in order
    ]
