"""Which rows are kept, and which split each belongs to: decided from a few numbers a row, in the order of the rows.

A row's split is a hash of its own text. Two things can put it elsewhere, and both look at earlier rows alone, so that rows
which are added at the end never move one that is there:

- A text that is nearly equal to an earlier one goes where that one is. One that is nearly equal to texts in *different*
  splits would join them across the border: it is left out instead.
- The first rows of each class go to training.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from headway.data.preparation.validation import CODE
from headway.data.text.splits import TEST, TRAIN, UNLABELLED, VALIDATION, unit_hash
from headway.params import SplitParams

NOWHERE = -1


@dataclass(frozen=True)
class Rows:
    """All rows in their order, those of a test file first and unlabelled ones last, as numbers.

    Attributes:
        reason: why a row alone cannot be used, 0 if it can, uint8, shape (rows,).
        label: number of its label, -1 for an unlabelled row or a missing label, int32, shape (rows,).
        given: split that the source settles (``TEST``, ``UNLABELLED``), else ``NOWHERE``, int8, shape (rows,).
        digest: equal for equal texts, shape (rows,).
        bands: one number a band, equal in some band for nearly equal texts, uint64, shape (rows, bands).
    """

    reason: np.ndarray
    label: np.ndarray
    given: np.ndarray
    digest: np.ndarray
    bands: np.ndarray

    def __len__(self) -> int:
        return len(self.reason)


@dataclass(frozen=True)
class Assignment:
    """What became of each row.

    Attributes:
        split: ``TRAIN``, ``VALIDATION``, ``TEST`` or ``UNLABELLED`` of a kept row, else ``NOWHERE``, int8, shape (rows,).
        reason: why a row was not kept, 0 where it was, uint8, shape (rows,).
        equal_to: index of the row that a duplicate repeats, else -1, int64, shape (rows,).
        near_rows, near_groups: kept labelled rows that have a near duplicate among them, and the groups they form.
    """

    split: np.ndarray
    reason: np.ndarray
    equal_to: np.ndarray
    near_rows: int
    near_groups: int


def assign(rows: Rows, params: SplitParams, max_rows: int) -> Assignment:
    """Keep each usable text once and give it a split.

    Args:
        rows: the rows in their order.
        params: shares, salt, and how many first rows of a class go to training.
        max_rows: keep about so many labelled rows, the same ones whatever their order; 0 keeps all.
    """
    reason, equal_to = rows.reason.copy(), np.full(len(rows), -1, dtype=np.int64)
    first = _first_of_equal(rows, reason, equal_to)
    # A row that is left out for its label still holds its place, or its twins would move on the day it is contradicted.
    split = np.full(len(rows), NOWHERE, dtype=np.int8)
    split[first] = _own_split(rows, first, params)
    members, buckets = _shared_buckets(rows.bands, first)
    _join_twins(rows, members, buckets, split, reason)
    _sample(rows, first, reason, max_rows, params.salt)
    split[reason > 0] = NOWHERE
    _drop_untrained(rows.label, split, reason)
    split[reason > 0] = NOWHERE
    labelled = (split[members] != NOWHERE) & (split[members] != UNLABELLED)
    return Assignment(split, reason, equal_to, *_groups(members[labelled], buckets[labelled]))


def leakage(rows: Rows, train: np.ndarray, test: np.ndarray) -> float:
    """The share of test rows that have an equal or nearly equal text in training.

    Args:
        train, test: masks over the rows, bool, shape (rows,).
    """
    leaked = np.zeros(len(rows), dtype=bool)
    for column in (rows.digest, *rows.bands.T):
        _, key = np.unique(column, return_inverse=True)
        trained = np.zeros(len(rows), dtype=bool)
        trained[key[train]] = True
        leaked |= trained[key]
    return float(leaked[test].mean()) if test.any() else 0.0


def split_by_row(rows: Rows, params: SplitParams) -> tuple[np.ndarray, np.ndarray]:
    """Masks of training and test rows in the split that is usual elsewhere: each usable row by itself, at random."""
    usable = (rows.reason == 0) & (rows.given != UNLABELLED)
    if (rows.given == TEST).any():
        return usable & (rows.given != TEST), usable & (rows.given == TEST)
    position = np.random.default_rng(0).random(len(rows))
    return usable & (position >= params.test + params.validation), usable & (position < params.test)


def _first_of_equal(rows: Rows, reason: np.ndarray, equal_to: np.ndarray) -> np.ndarray:
    """Indices of the rows that are the first of their text. Notes the repeats, and texts with more than one label."""
    usable = np.flatnonzero(reason == 0)
    _, position, group = np.unique(rows.digest[usable], return_index=True, return_inverse=True)
    first = usable[position]
    of_row = first[group]
    labelled = rows.label[usable] >= 0
    conflicting = np.zeros(len(first), dtype=bool)
    conflicting[group[labelled & (rows.label[usable] != rows.label[of_row])]] = True
    repeats = usable != of_row
    reason[usable[repeats]] = CODE["duplicate"]
    equal_to[usable[repeats]] = of_row[repeats]
    reason[usable[conflicting[group] & labelled]] = CODE["conflicting labels"]
    return np.sort(first)


def _sample(rows: Rows, first: np.ndarray, reason: np.ndarray, max_rows: int, salt: str) -> None:
    """Leave about ``max_rows`` of the distinct rows that no test file settles and that have labels."""
    free = first[(rows.given[first] == NOWHERE) & (reason[first] == 0)]
    if max_rows and max_rows < len(free):
        left = _positions(rows.digest[free], salt + " sample") >= max_rows / len(free)
        reason[free[left]] = CODE["left by sampling"]


def _own_split(rows: Rows, first: np.ndarray, params: SplitParams) -> np.ndarray:
    """The split of each distinct row before it looks at others, int8."""
    given = rows.given[first]
    position = _positions(rows.digest[first], params.salt)
    test = 0.0 if (rows.given == TEST).any() else params.test
    validation = params.validation * (1 - test) / (1 - params.test)
    split = np.where(position < test, TEST, np.where(position < test + validation, VALIDATION, TRAIN))
    free = given == NOWHERE
    rank = np.full(len(first), np.iinfo(np.int64).max)
    rank[free] = pd.Series(rows.label[first[free]]).groupby(rows.label[first[free]]).cumcount()
    split = np.where(rank < params.first_rows_in_training, TRAIN, split)
    return np.where(free, split, given).astype(np.int8)


def _positions(digests: np.ndarray, salt: str) -> np.ndarray:
    return np.array([unit_hash(digest.tobytes(), salt) for digest in digests])


def _shared_buckets(bands: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every bucket that two or more of the chosen rows share, as pairs of a row's index and a bucket's number, by row."""
    members, buckets, n_buckets = [], [], 0
    for band in range(bands.shape[1]):
        _, bucket, size = np.unique(bands[chosen, band], return_inverse=True, return_counts=True)
        shared = size[bucket] > 1
        members.append(chosen[shared].astype(np.int32))
        buckets.append((bucket[shared] + n_buckets).astype(np.int32))
        n_buckets += len(size)
    if not members:
        return np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int32)
    member = np.concatenate(members)
    order = np.argsort(member, kind="stable")
    return member[order], np.concatenate(buckets)[order]


def _join_twins(rows: Rows, members: np.ndarray, buckets: np.ndarray, split: np.ndarray, reason: np.ndarray) -> None:
    """Row after row, put a text where its near duplicates are; after this no bucket has kept rows in two splits."""
    test_is_given = bool((rows.given == TEST).any())
    empty = 255
    held = bytearray([empty]) * (int(buckets.max(initial=-1)) + 1)  # the split that a bucket's rows are in
    bounds = np.append(np.flatnonzero(np.diff(members, prepend=-1)), len(members))
    for start, end in pairwise(bounds.tolist()):
        row, mine = members[start], buckets[start:end].tolist()
        found = {held[bucket] for bucket in mine} - {empty}
        if rows.given[row] == UNLABELLED:
            if found & {VALIDATION, TEST}:
                reason[row] = CODE["twin of a test row"]
            continue
        if rows.given[row] == NOWHERE and found:
            if len(found) > 1:
                reason[row] = reason[row] or CODE["between splits"]
                continue
            (split[row],) = found
            if split[row] == TEST and test_is_given:
                reason[row] = reason[row] or CODE["twin of a test row"]
                continue
        for bucket in mine:
            held[bucket] = split[row]


def _drop_untrained(label: np.ndarray, split: np.ndarray, reason: np.ndarray) -> None:
    """Leave out rows of classes that training has none of: all of them were twins of rows elsewhere."""
    trained = np.unique(label[split == TRAIN])
    tested = (split == VALIDATION) | (split == TEST)
    reason[tested & ~np.isin(label, trained)] = CODE["class never trained"]


def _groups(members: np.ndarray, buckets: np.ndarray) -> tuple[int, int]:
    """How many rows share a bucket with another one, and the groups that sharing joins them to."""
    _, bucket, size = np.unique(buckets, return_inverse=True, return_counts=True)
    shared = size[bucket] > 1
    row_names, row = np.unique(members[shared], return_inverse=True)
    bucket_names, bucket = np.unique(bucket[shared], return_inverse=True)
    if not len(row_names):
        return 0, 0
    size_of_graph = len(row_names) + len(bucket_names)
    edges = coo_array((np.ones(len(row), dtype=bool), (row, bucket + len(row_names))), shape=(size_of_graph, size_of_graph))
    n_groups, _ = connected_components(edges, directed=False)
    return len(row_names), int(n_groups)
