"""Do texts use other words than the test rows? A domain classifier, trained as texts come and judged by the texts after those.

Confidence, class and length can stay the same while people write about something else. So the test rows are divided in two. After
each number of texts in ``TRAINED_AT``, a naive Bayes classifier learns to tell the texts since the last one from the first half
of the test rows. From then on it scores every text by how much it looks like those recent ones, and the other half of the test
rows is the reference of that score. Given what a classifier was trained on, the other half and all later texts are exchangeable
if nothing changes, so the score is as good as any other for :mod:`headway.monitoring.conformal`.

A text is the set of its character trigrams, hashed, so that no language needs a splitter. Only numbers of texts with each hash
are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array

#: Numbers that trigrams are hashed to, and characters of a text that are read.
BUCKETS, HEAD = 2**13, 2_000
#: Texts after which a classifier is trained, on those since the last training. A change of the words that begins later than the
#: last one is noticed only as far as it is like one that was seen.
TRAINED_AT = (200, 1_500, 10_000, 80_000)
#: Steps of the grid of scores.
LEVELS = 4096
#: Standard errors by which the share of texts with a trigram must differ for it to count.
MIN_SCORE = 2.0
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 divided by the golden ratio (Knuth 1998, section 6.4)


def trigrams(texts: Sequence[str]) -> csr_array:
    """The hashed character trigrams of texts in small letters, a matrix of zeros and ones, (texts, BUCKETS)."""
    codes = [np.frombuffer(text[:HEAD].lower().encode("utf-32-le", "surrogatepass"), np.uint32) for text in texts]
    rows = np.repeat(np.arange(len(texts)), [len(one) for one in codes])
    flat = np.concatenate([*codes, np.empty(0, np.uint32)]).astype(np.uint64)
    packed = (flat[:-2] << np.uint64(42)) | (flat[1:-1] << np.uint64(21)) | flat[2:]  # a character has at most 21 bits
    buckets = (packed * _MULTIPLIER) >> np.uint64(64 - BUCKETS.bit_length() + 1)
    inside = rows[:-2] == rows[2:]
    pairs = np.unique(rows[:-2][inside] * BUCKETS + buckets[inside].astype(np.int64))
    starts = np.searchsorted(pairs, np.arange(len(texts) + 1) * BUCKETS)
    return csr_array((np.ones(len(pairs), np.float64), pairs % BUCKETS, starts), shape=(len(texts), BUCKETS))


def nothing_known(rows: int) -> csr_array:
    """Stands for the trigrams of texts that are not kept, (rows, BUCKETS)."""
    return csr_array((rows, BUCKETS), dtype=np.float64)


def name_of(trained_at: int) -> str:
    """The name of the score of the classifier that is trained after this number of texts."""
    return f"wording since {trained_at + 1:,}"


#: Names of the scores, and the number of texts before each.
STARTS = {name_of(texts): texts for texts in TRAINED_AT}


@dataclass(frozen=True)
class NewLevels:
    """Levels of one score for some of the texts of a batch.

    Attributes:
        name: of the score.
        texts: their places in the batch, int, (scored,).
        levels: int, (scored,), from 0 to LEVELS - 1.
    """

    name: str
    texts: np.ndarray
    levels: np.ndarray


class Wording:
    """The classifiers, trained one after the other.

    Reading texts in one call or in any cuts gives identical numbers, also with :meth:`state` and :meth:`restore` in between.

    Args:
        reference: trigrams of the test rows, (rows, BUCKETS); a row without any is passed over.
        seed: from which the halves of the test rows are drawn.

    Attributes:
        texts: that have been read.
    """

    def __init__(self, reference: csr_array, seed: int) -> None:
        reference = reference[np.flatnonzero(np.diff(reference.indptr))]  # such texts are passed over on both sides
        order = np.random.default_rng(seed).permutation(reference.shape[0])
        half = len(order) // 2
        first, self._second = reference[order[:half]], reference[order[half:]]
        self._first_rows, self._first_counts = half, _document_counts(first)
        self.texts = 0
        self._since, self._counts = 0, np.zeros(BUCKETS, np.int64)
        self._weights: dict[str, np.ndarray] = {}

    def reference(self, name: str) -> np.ndarray:
        """Number of rows of the second half of the test rows at each level of a score, int, (LEVELS,).

        Raises:
            KeyError: its classifier has not been trained yet.
        """
        return np.bincount(_levels(self._second, self._weights[name]), minlength=LEVELS)

    def read(self, found: csr_array) -> list[NewLevels]:
        """Read the trigrams of the next texts, (texts, BUCKETS); a text without any is passed over.

        Returns:
            their levels in each score whose classifier was trained before them.
        """
        places = np.flatnonzero(np.diff(found.indptr))
        levels: list[NewLevels] = []
        done = 0
        while done < len(places):
            until = next((texts for texts in TRAINED_AT if texts > self.texts), None)
            end = len(places) if until is None else min(len(places), done + until - self.texts)
            chosen = places[done:end]
            batch = found[chosen]
            levels += [NewLevels(name, chosen, _levels(batch, weights)) for name, weights in self._weights.items()]
            self.texts += len(chosen)
            done = end
            if until is not None:
                self._since += len(chosen)
                self._counts += _document_counts(batch)
            if self.texts == until:
                self._weights[name_of(until)] = _trained(self._counts, self._since, self._first_counts, self._first_rows)
                self._since, self._counts = 0, np.zeros(BUCKETS, np.int64)
        return levels

    def state(self) -> dict[str, Any]:
        """Everything that :meth:`restore` needs, as plain JSON."""
        return {
            "texts": self.texts,
            "since": self._since,
            "counts": self._counts.tolist() if self._since else [],
            "weights": {
                name: [[int(bucket), float(weights[bucket])] for bucket in np.flatnonzero(weights)]
                for name, weights in self._weights.items()
            },
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where another one of the same reference and seed was when :meth:`state` was called."""
        self.texts, self._since = state["texts"], state["since"]
        self._counts = np.array(state["counts"] or [0] * BUCKETS, np.int64)
        self._weights = {}
        for name, pairs in state["weights"].items():
            weights = np.zeros(BUCKETS)
            for bucket, weight in pairs:
                weights[bucket] = weight
            self._weights[name] = weights


def _document_counts(found: csr_array) -> np.ndarray:
    """Number of texts that each trigram is in, int, (BUCKETS,)."""
    return np.bincount(found.indices, minlength=BUCKETS).astype(np.int64)


def _trained(now: np.ndarray, rows_now: int, before: np.ndarray, rows_before: int) -> np.ndarray:
    """The logarithm of how much more often a trigram is in recent texts, where that is no chance, float, (BUCKETS,)."""
    pooled = (now + before + 1) / (rows_now + rows_before + 2)
    error = np.sqrt(pooled * (1 - pooled) * (1 / max(1, rows_now) + 1 / max(1, rows_before)))
    share_now, share_before = (now + 0.5) / (rows_now + 1), (before + 0.5) / (rows_before + 1)
    differs = np.abs(share_now - share_before) >= MIN_SCORE * error
    # Six decimals, so that the stored ones are exactly those that are used.
    return np.where(differs, np.round(np.log(share_now / share_before), 6), 0.0)


def _levels(found: csr_array, weights: np.ndarray) -> np.ndarray:
    """The sum of the weights of each text, divided by the root of the number of its trigrams, on a grid, int, (texts,)."""
    sizes = np.maximum(1, np.diff(found.indptr))
    scores = np.asarray(found @ weights) / np.sqrt(sizes)
    return np.asarray(np.clip(((0.5 + np.arctan(scores) / np.pi) * LEVELS).astype(np.int64), 0, LEVELS - 1))
