"""Which rows are kept, and which split each one belongs to by a hash; :mod:`.time_split` does it by time.

A row's split is a hash of its own text. Two rules override it. Both look at earlier rows only, so rows that are appended to
the data never move existing ones:

- A near-duplicate of an earlier row joins that row's split. A near-duplicate of rows in *different* splits would leak between
  them, so it is left out.
- The first rows of each class go to training.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from headway.data.preparation.buckets import Buckets
from headway.data.preparation.validation import CODE
from headway.data.text.splits import TEST, TRAIN, UNLABELLED, VALIDATION, unit_hash
from headway.params import SplitParams

#: Code of a row that is in no split.
NO_SPLIT = -1
#: Pairs of near-duplicates that are kept as examples.
PAIRS = 5


@dataclass(frozen=True)
class RowFeatures:
    """The few numbers per row that decide where it goes, in the order of the rows: test files first, unlabelled rows last."""

    reason: np.ndarray  # why the row cannot be used, regardless of other rows; 0 if it can; uint8, shape (rows,)
    label: np.ndarray  # index of its label; -1 if it has none; int32, shape (rows,)
    predefined_split: np.ndarray  # ``TEST`` or ``UNLABELLED`` by source, otherwise ``NO_SPLIT``; int8, shape (rows,)
    digest: np.ndarray  # equal for equal texts, shape (rows,)
    text: np.ndarray  # index of a usable row with the same text, one for each text; -1 if unusable; int64, shape (rows,)
    buckets: Buckets  # those that at least two texts share

    def __len__(self) -> int:
        return len(self.reason)

    def take(self, order: np.ndarray) -> Self:
        """The rows in another order."""
        place = np.argsort(order)  # of each row in that other order
        return replace(
            self,
            reason=self.reason[order],
            label=self.label[order],
            predefined_split=self.predefined_split[order],
            digest=self.digest[order],
            text=np.where(self.text >= 0, place[self.text], -1)[order],
            buckets=replace(self.buckets, text=place[self.buckets.text].astype(np.int32)),
        )

    @property
    def labelled(self) -> np.ndarray:
        """Which rows come from labelled files, bool, shape (rows,)."""
        return np.asarray(self.predefined_split != UNLABELLED)

    @property
    def has_test_files(self) -> bool:
        """Whether the source has a test split of its own."""
        return bool((self.predefined_split == TEST).any())


@dataclass(frozen=True)
class Assignment:
    """What became of each row."""

    split: np.ndarray  # code of a kept row's split, ``UNLABELLED`` included, otherwise ``NO_SPLIT``; int8, (rows,)
    reason: np.ndarray  # why the row was left out, 0 if it was kept; uint8, shape (rows,)
    duplicate_of: np.ndarray  # for a duplicate, the index of the row with the same text, otherwise -1; int64, shape (rows,)
    near_duplicates: int  # kept labelled rows with a near-duplicate among the kept labelled rows
    near_duplicate_groups: int  # groups that these rows form
    near_duplicate_pairs: np.ndarray  # rows of some pairs of these, each from another group, int64, shape (pairs, 2)


def assign(rows: RowFeatures, params: SplitParams, max_rows: int) -> Assignment:
    """Keep each usable text once and assign it to a split.

    About ``max_rows`` labelled rows are kept, unless it is 0. Which ones does not depend on their order. Rows of a predefined
    test split come first in this, wherever they are, so that near-duplicates of theirs are kept out of training.
    """
    order = np.argsort(rows.predefined_split != TEST, kind="stable")
    if (order[1:] < order[:-1]).any():
        return _in_order(assign(rows.take(order), params, max_rows), order)
    reason, duplicate_of = rows.reason.copy(), np.full(len(rows), -1, dtype=np.int64)
    first = drop_duplicates(rows, reason, duplicate_of)
    # A row that is left out for its conflicting label still determines the split of its near-duplicates. Otherwise they
    # would change splits when a conflicting row is appended.
    split = np.full(len(rows), NO_SPLIT, dtype=np.int8)
    split[first] = _split_by_hash(rows, first, params)
    members, buckets = rows.buckets.of_rows(rows.text, first)
    _join_near_duplicates(rows, members, buckets, split, reason)
    sample(rows, first, reason, max_rows, params.salt)
    split[reason > 0] = NO_SPLIT
    _drop_untrained_classes(rows.label, split, reason)
    split[reason > 0] = NO_SPLIT
    labelled = (split[members] != NO_SPLIT) & (split[members] != UNLABELLED)
    return Assignment(split, reason, duplicate_of, *near_duplicate_groups(members[labelled], buckets[labelled]))


def _in_order(assigned: Assignment, order: np.ndarray) -> Assignment:
    """What became of each row in the rows' own order, after they were assigned in another one."""
    place = np.argsort(order)  # of each row in that other order
    duplicate_of = np.where(assigned.duplicate_of >= 0, order[assigned.duplicate_of], -1)
    return replace(
        assigned,
        split=assigned.split[place],
        reason=assigned.reason[place],
        duplicate_of=duplicate_of[place],
        near_duplicate_pairs=order[assigned.near_duplicate_pairs],
    )


def leakage(rows: RowFeatures, train: np.ndarray, test: np.ndarray) -> float:
    """The share of test rows that have a duplicate or near-duplicate in training.

    Args:
        train, test: masks of usable rows, bool, (rows,).
    """
    trained = np.zeros(len(rows), dtype=bool)  # by text
    trained[rows.text[train]] = True
    bucket_trained = np.zeros(len(rows.buckets), dtype=bool)
    bucket_trained[rows.buckets.bucket[trained[rows.buckets.text]]] = True
    trained[rows.buckets.text[bucket_trained[rows.buckets.bucket]]] = True
    return float(trained[rows.text[test]].mean()) if test.any() else 0.0


def split_at_random(rows: RowFeatures, params: SplitParams) -> tuple[np.ndarray, np.ndarray]:
    """Masks of training and test rows, bool, (rows,), of a random split: each usable row is assigned independently."""
    usable = (rows.reason == 0) & rows.labelled
    if rows.has_test_files:
        return usable & (rows.predefined_split != TEST), usable & (rows.predefined_split == TEST)
    position = np.random.default_rng(0).random(len(rows))
    return usable & (position >= params.test + params.validation), usable & (position < params.test)


def drop_duplicates(
    rows: RowFeatures, reason: np.ndarray, duplicate_of: np.ndarray, order: np.ndarray | None = None
) -> np.ndarray:
    """Mark duplicates, and texts with conflicting labels. Returns the index of the first row of each text, sorted.

    The first is that in ``order``, indices of all rows; None for their own order.
    """
    usable = np.flatnonzero(reason == 0) if order is None else order[reason[order] == 0]
    _, position, group = np.unique(rows.text[usable], return_index=True, return_inverse=True)
    first = usable[position]
    first_of_row = first[group]
    labelled = rows.label[usable] >= 0
    conflicting = np.zeros(len(first), dtype=bool)
    conflicting[group[labelled & (rows.label[usable] != rows.label[first_of_row])]] = True
    duplicates = usable != first_of_row
    reason[usable[duplicates]] = CODE["duplicate"]
    duplicate_of[usable[duplicates]] = first_of_row[duplicates]
    reason[usable[conflicting[group] & labelled]] = CODE["conflicting labels"]
    return np.sort(first)


def sample(rows: RowFeatures, first: np.ndarray, reason: np.ndarray, max_rows: int, salt: str) -> None:
    """Leave out all but about ``max_rows`` of the distinct labelled rows that are not from test files."""
    candidates = first[(rows.predefined_split[first] == NO_SPLIT) & (reason[first] == 0)]
    if max_rows and max_rows < len(candidates):
        left_out = _positions(rows.digest[candidates], salt + " sample") >= max_rows / len(candidates)
        reason[candidates[left_out]] = CODE["not sampled"]


def _split_by_hash(rows: RowFeatures, first: np.ndarray, params: SplitParams) -> np.ndarray:
    """The split of each distinct row before near-duplicates are considered, int8."""
    predefined = rows.predefined_split[first]
    position = _positions(rows.digest[first], params.salt)
    test = 0.0 if rows.has_test_files else params.test
    validation = params.validation * (1 - test) / (1 - params.test)
    split = np.where(position < test, TEST, np.where(position < test + validation, VALIDATION, TRAIN))
    free = predefined == NO_SPLIT
    rank = np.full(len(first), np.iinfo(np.int64).max)  # of a row within its class
    rank[free] = pd.Series(rows.label[first[free]]).groupby(rows.label[first[free]]).cumcount()
    split = np.where(rank < params.first_rows_in_training, TRAIN, split)
    return np.where(free, split, predefined).astype(np.int8)


def texts_of(digest: np.ndarray, reason: np.ndarray) -> np.ndarray:
    """The index of the first usable row with the same text, for each usable row; -1 for others; int64, (rows,)."""
    usable = np.flatnonzero(reason == 0)
    _, first, group = np.unique(digest[usable], return_index=True, return_inverse=True)
    text = np.full(len(digest), -1, dtype=np.int64)
    text[usable] = usable[first][group]
    return text


def _positions(digests: np.ndarray, salt: str) -> np.ndarray:
    return np.array([unit_hash(digest.tobytes(), salt) for digest in digests])


def _join_near_duplicates(
    rows: RowFeatures, members: np.ndarray, buckets: np.ndarray, split: np.ndarray, reason: np.ndarray
) -> None:
    """Move each row to the split of its earlier near-duplicates, so that no bucket has kept rows in two splits."""
    empty = 255
    split_of = bytearray([empty]) * (int(buckets.max(initial=-1)) + 1)  # by bucket
    bounds = np.append(np.flatnonzero(np.diff(members, prepend=-1)), len(members))
    for start, end in pairwise(bounds.tolist()):
        row, own_buckets = members[start], buckets[start:end].tolist()
        found = {split_of[bucket] for bucket in own_buckets} - {empty}
        if rows.predefined_split[row] == UNLABELLED:
            if found & {VALIDATION, TEST}:
                reason[row] = CODE["near-duplicate of a held-out row"]
            continue
        if rows.predefined_split[row] == NO_SPLIT and found:
            if len(found) > 1:
                reason[row] = reason[row] or CODE["near-duplicate of rows in different splits"]
                continue
            (split[row],) = found
            if split[row] == TEST and rows.has_test_files:
                reason[row] = reason[row] or CODE["near-duplicate of a held-out row"]
                continue
        for bucket in own_buckets:
            split_of[bucket] = split[row]


def _drop_untrained_classes(label: np.ndarray, split: np.ndarray, reason: np.ndarray) -> None:
    """Leave out validation and test rows of a class whose training rows were all moved or left out as near-duplicates."""
    trained = np.unique(label[split == TRAIN])
    held_out = (split == VALIDATION) | (split == TEST)
    reason[held_out & ~np.isin(label, trained)] = CODE["class without training rows"]


def near_duplicate_groups(members: np.ndarray, buckets: np.ndarray) -> tuple[int, int, np.ndarray]:
    """The number of rows that share a bucket with another one, and of the groups that they form; and a pair of rows that share
    a bucket from each of the first ``PAIRS`` groups, int64, (pairs, 2).
    """
    _, bucket, size = np.unique(buckets, return_inverse=True, return_counts=True)
    shared = size[bucket] > 1
    row_names, row = np.unique(members[shared], return_inverse=True)
    bucket_names, bucket = np.unique(bucket[shared], return_inverse=True)
    if not len(row_names):
        return 0, 0, np.empty((0, 2), dtype=np.int64)
    nodes = len(row_names) + len(bucket_names)
    edges = coo_array((np.ones(len(row), dtype=bool), (row, bucket + len(row_names))), shape=(nodes, nodes))
    n_groups, group = connected_components(edges, directed=False)
    by_bucket = np.lexsort((row, bucket))
    first = by_bucket[np.flatnonzero(np.diff(bucket[by_bucket], prepend=-1))]  # of each bucket, which has two rows or more
    second = by_bucket[np.flatnonzero(np.diff(bucket[by_bucket], prepend=-1)) + 1]
    pairs = np.column_stack([row[first], row[second]])
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    _, of_group = np.unique(group[pairs[:, 0]], return_index=True)
    return len(row_names), int(n_groups), row_names[pairs[np.sort(of_group)[:PAIRS]]].astype(np.int64)
