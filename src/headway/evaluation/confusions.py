"""Which classes a model takes for which others: the most frequent confusions, with texts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from headway.data.text.excerpts import excerpt
from headway.evaluation.metrics import likelihood_by_row
from headway.evaluation.predictions import Predictions

#: Confusions that are kept, texts of each, and characters of each text.
COUNT, EXAMPLES, EXCERPT = 100, 3, 300


def top_confusions(predictions: Predictions, texts: Sequence[str], labels: Sequence[str]) -> list[dict[str, Any]]:
    """The pairs of a true and a predicted class that are most frequent, with the texts of which the model is surest, for JSON.

    ``share`` is the share of the true class's rows.
    """
    surprise = np.nan_to_num(likelihood_by_row(predictions), nan=np.inf)
    predicted = predictions.predicted
    rows_of: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row in sorted(np.flatnonzero(~predictions.correct).tolist(), key=lambda row: (-surprise[row], row)):
        rows_of[labels[row], predictions.classes[predicted[row]]].append(row)
    total = Counter(labels)
    largest = sorted(rows_of.items(), key=lambda item: (-len(item[1]), item[0]))[:COUNT]
    return [
        {
            "label": label,
            "predicted": other,
            "rows": len(rows),
            "share": round(len(rows) / total[label], 6),
            "examples": [
                {"id": predictions.ids[row], "characters": len(texts[row]), "text": excerpt(texts[row], EXCERPT)}
                for row in rows[:EXAMPLES]
            ],
        }
        for (label, other), rows in largest
    ]
