"""The linear baseline that an attention model is compared with: TF-IDF and logistic regression."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from headway.errors import HeadwayError
from headway.params import BaselineParams

# Words as in scikit-learn's default pattern, and single letters. In scripts without spaces between words (Thai, Lao, Burmese,
# Khmer, Japanese, Chinese) every character is a word.
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
TOKEN = rf"[{UNSPACED}]|[^\W{UNSPACED}]+"


def fit(texts: Sequence[str], labels: Sequence[int], params: BaselineParams) -> Pipeline:
    """Fit the baseline; HeadwayError if no word occurs in ``min_document_frequency`` texts."""
    baseline = make_pipeline(
        TfidfVectorizer(
            token_pattern=TOKEN,
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
