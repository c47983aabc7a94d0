"""How well a quick linear model predicts the values of columns from the texts beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from headway.data.column_values import UNSPACED_CHARACTER
from headway.data.text.words import words

ROWS = 1_000
CHARACTERS = 1_000  # read of each text
CLASSES = 30  # the most frequent ones
LEAST_ROWS = 3  # of a class; also the number of folds
FEATURES = 1 << 14
HALF_TRUSTED = 60  # rows with which a result counts half


def skills(texts: Sequence[str], columns: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Balanced accuracy of naive Bayes over hashed words in three folds, per column: 0 is chance, 1 is perfect.

    Results from few rows are drawn towards 0.
    """
    from sklearn.feature_extraction.text import HashingVectorizer

    if not columns:
        return {}
    step = max(1, len(texts) // ROWS)
    some = [text[:CHARACTERS] for text in texts[::step]]
    unspaced = sum(len(UNSPACED_CHARACTER.findall(text)) for text in some) > 0.3 * sum(map(len, some))
    parts: dict[str, Any] = (
        {"analyzer": "char", "ngram_range": (1, 2)} if unspaced else {"tokenizer": words, "token_pattern": None}
    )
    features = HashingVectorizer(n_features=FEATURES, alternate_sign=False, **parts).transform(some)
    return {name: _skill(features, values[::step]) for name, values in columns.items()}


def _skill(features: object, values: Sequence[str]) -> float:
    from sklearn.metrics import recall_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.naive_bayes import ComplementNB

    counts = Counter(value for value in values if value.strip())
    kept = {value for value, count in counts.most_common(CLASSES) if count >= LEAST_ROWS}
    rows = [row for row, value in enumerate(values) if value in kept]
    if len(kept) < 2:
        return 0.0
    truth = np.array([values[row] for row in rows])
    folds = StratifiedKFold(LEAST_ROWS, shuffle=True, random_state=0)
    found = cross_val_predict(ComplementNB(), features[rows], truth, cv=folds)  # type: ignore[index]
    chance = 1 / len(kept)
    skill = (recall_score(truth, found, average="macro") - chance) / (1 - chance)
    return float(max(0.0, skill) * len(rows) / (len(rows) + HALF_TRUSTED))
