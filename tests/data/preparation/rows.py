"""Rows for tests of split assignment, whose buckets are found by comparing all texts."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from headway.data.preparation.buckets import Buckets
from headway.data.preparation.split_assignment import RowFeatures, texts_of


@dataclass(frozen=True)
class Rows(RowFeatures):
    """Features with the band hashes that they are made of, uint64, (rows, bands)."""

    bands: np.ndarray

    @classmethod
    def of(
        cls, reason: np.ndarray, label: np.ndarray, predefined: np.ndarray, digest: np.ndarray, bands: np.ndarray
    ) -> Self:
        text = texts_of(digest, reason)
        return cls(reason, label, predefined, digest, text, buckets_of(np.unique(text[text >= 0]), bands), bands)

    def take(self, order: np.ndarray) -> Self:
        return replace(super().take(order), bands=self.bands[order])

    def first(self, count: int) -> Self:
        """The first rows alone."""
        columns = (self.reason, self.label, self.predefined_split, self.digest, self.bands)
        return self.of(*(column[:count] for column in columns))


def buckets_of(texts: np.ndarray, bands: np.ndarray) -> Buckets:
    """The buckets that at least two texts share, found the obvious way."""
    members = defaultdict(list)
    for text in texts.tolist():
        for band, value in enumerate(bands[text].tolist()):
            members[band, value].append(text)
    shared = [found for found in members.values() if len(found) > 1]
    pairs = [(text, number) for number, found in enumerate(shared) for text in found]
    columns = np.array(pairs, dtype=np.int32).reshape(-1, 2)
    return Buckets(columns[:, 0], columns[:, 1])
