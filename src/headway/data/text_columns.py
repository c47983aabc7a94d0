"""How much a column of an unknown file looks like texts, from its name and a sample of its values."""

from __future__ import annotations

import math
from collections.abc import Mapping

from headway.data.column_names import text_weight
from headway.data.column_values import ColumnValues, is_twin


def ranked(scores: Mapping[str, float]) -> dict[str, float]:
    """The positive scores, the highest first."""
    return {name: scores[name] for name in sorted(scores, key=lambda name: -scores[name]) if scores[name] > 0}


def text_scores(columns: Mapping[str, ColumnValues], label: str | None = None) -> dict[str, float]:
    """A score for each column as the text."""
    scores = {name: _text_score(name, column) for name, column in columns.items() if name != label}
    for name, column in columns.items():
        if scores.get(name) and column.markup > 0.5:
            others = (other for other in scores if other != name and scores[other] and columns[other].markup < 0.1)
            if any(is_twin(column.values, columns[other].values) for other in others):
                scores[name] *= 0.1
    return scores


def _text_score(name: str, column: ColumnValues) -> float:
    """More for more words, for values that differ, and for a usual name; 0 if the column holds codes or no words."""
    if not column.words or column.codes > 0.5 or column.distinct == 1:
        return 0.0
    variety = column.distinct / len(column.present)
    return math.log2(1 + column.words) * variety * column.fill * (1 - column.codes) * text_weight(name)
