"""The mistakes that a model is surest of, with their texts: they show what it does not understand, or rows with a wrong label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from headway.evaluation.metrics import likelihood_by_row
from headway.evaluation.predictions import Predictions

COUNT, EXCERPT = 50, 1_000


def worst_mistakes(predictions: Predictions, texts: Sequence[str], labels: Sequence[str]) -> list[dict[str, Any]]:
    """The wrongly labelled rows whose true label, which the model may not know, is the least likely, worst first, for JSON."""
    predicted = predictions.predicted
    sureness = predictions.probabilities.max(axis=1)
    surprise = np.where(predictions.correct, -np.inf, np.nan_to_num(likelihood_by_row(predictions), nan=np.inf))
    order = np.argsort(-surprise, kind="stable")[: min(COUNT, int((~predictions.correct).sum()))].tolist()
    return [
        {
            "id": predictions.ids[row],
            "label": labels[row],
            "predicted": predictions.classes[predicted[row]],
            "probability": None if np.isnan(sureness[row]) else round(float(sureness[row]), 6),  # JSON has no NaN
            "characters": len(texts[row]),
            "text": texts[row][:EXCERPT] + ("…" if len(texts[row]) > EXCERPT else ""),
        }
        for row in order
    ]
