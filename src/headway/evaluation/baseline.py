"""The linear baseline that an attention model is compared with: TF-IDF and logistic regression."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from headway.data.text.words import words
from headway.errors import HeadwayError
from headway.params import BaselineParams


def fit(texts: Sequence[str], labels: Sequence[int], params: BaselineParams) -> Pipeline:
    """Fit the baseline; HeadwayError if no word occurs in ``min_document_frequency`` texts."""
    baseline = make_pipeline(
        TfidfVectorizer(
            tokenizer=words,
            token_pattern=None,
            ngram_range=(1, params.max_ngram),
            min_df=params.min_document_frequency,
            sublinear_tf=True,
            dtype=np.float32,
        ),
        LogisticRegression(C=params.inverse_regularisation, max_iter=1_000),
    )
    try:
        return baseline.fit(texts, labels)
    except ValueError as error:
        raise HeadwayError(
            f"the linear baseline found no word in at least {params.min_document_frequency} training texts ({error}); "
            "add rows or lower baseline.min_document_frequency"
        ) from None


def predict_proba(baseline: Pipeline, texts: Sequence[str], n_classes: int) -> np.ndarray:
    """Class probabilities, float32, (texts, n_classes); a class without training rows has probability 0."""
    probabilities = np.zeros((len(texts), n_classes), dtype=np.float32)
    probabilities[:, baseline.classes_] = baseline.predict_proba(texts)
    return probabilities
