"""Which rows are kept, and which split each one belongs to by time.

The latest rows are the test split, those before them the validation split, and the others training rows. Rows of the same time
are in one split, so no training or validation row is as late as the first test row. Of equal texts, the latest is kept. A row
with a near-duplicate in a later split is left out, and that one stays, so no text of the test is almost a training text.

Test rows are the same whatever a model is trained on. So those of a class without training rows stay too: no model can know the
class yet, and every model is wrong on them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from headway.data.preparation.split_assignment import (
    NO_SPLIT,
    Assignment,
    RowFeatures,
    drop_duplicates,
    near_duplicate_groups,
    sample,
)
from headway.data.preparation.validation import CODE
from headway.data.text.splits import TEST, TRAIN, UNLABELLED, VALIDATION
from headway.params import SplitParams


def assign_by_time(
    rows: RowFeatures, times: np.ndarray, params: SplitParams, last_day: str = "", max_rows: int = 0
) -> Assignment:
    """Keep each usable text once and assign it to a split by its time. Usable labelled rows have a time.

    With fewer than three different times all rows are training rows.

    Args:
        times: of the rows, in microseconds since 1970, int64, (rows,).
        last_day: date after which no row is in training or validation, "" for none. Test rows are the same with any.
        max_rows: about how many labelled rows are kept, 0 for all.
    """
    reason, duplicate_of = rows.reason.copy(), np.full(len(rows), -1, dtype=np.int64)
    latest_first = np.lexsort((~times, ~rows.labelled))  # ~ reverses the order of integers, without overflow
    first = drop_duplicates(rows, reason, duplicate_of, latest_first)
    sample(rows, first, reason, max_rows, params.salt)
    kept = first[reason[first] == 0]
    split = np.full(len(rows), NO_SPLIT, dtype=np.int8)
    split[kept] = UNLABELLED
    labelled = kept[rows.labelled[kept]]
    split[labelled] = _split_of_times(times[labelled], params, _end_of(last_day))
    reason[labelled[split[labelled] == NO_SPLIT]] = CODE["after split.train_until"]
    members, buckets = rows.buckets.of_rows(rows.text, kept)
    _leave_earlier_splits(members, buckets, split, reason)
    trained = np.unique(rows.label[split == TRAIN])
    reason[(split == VALIDATION) & ~np.isin(rows.label, trained)] = CODE["class without training rows"]
    split[reason > 0] = NO_SPLIT
    grouped = (split[members] != NO_SPLIT) & (split[members] != UNLABELLED)
    return Assignment(split, reason, duplicate_of, *near_duplicate_groups(members[grouped], buckets[grouped]))


def _end_of(day: str) -> int | None:
    """The first time after a day, in microseconds since 1970."""
    if not day:
        return None
    start = datetime.fromisoformat(day).replace(tzinfo=UTC)
    return (start - datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=1)) // timedelta(microseconds=1)


def _split_of_times(times: np.ndarray, params: SplitParams, end: int | None) -> np.ndarray:
    """The split of each time, int8; ``NO_SPLIT`` between the end of what a model may learn from and the test split.

    The shares are as near to those of the params as rows of the same time allow, and no split is empty if that can be.
    """
    distinct, place, rows = np.unique(times, return_inverse=True, return_counts=True)
    split = np.full(len(distinct), TRAIN, dtype=np.int8)
    if len(distinct) > 2:
        test = _border(rows, params.test, 2)
        split[test:] = TEST
        end_of_training = test if end is None else min(test, int(np.searchsorted(distinct, end)))
        split[end_of_training:test] = NO_SPLIT
        if end_of_training > 1:
            share = params.validation / (params.train + params.validation)
            split[_border(rows[:end_of_training], share, 1) : end_of_training] = VALIDATION
    return np.asarray(split[place])


def _border(rows: np.ndarray, share: float, lowest: int) -> int:
    """The place, ``lowest`` or above, such that the rows from there are nearest to a share of all.

    Args:
        rows: the number of rows of each time, in the order of the times.
    """
    later = np.cumsum(rows[::-1])[::-1]
    return lowest + int(np.abs(later[lowest:] - share * later[0]).argmin())


def _leave_earlier_splits(members: np.ndarray, buckets: np.ndarray, split: np.ndarray, reason: np.ndarray) -> None:
    """Leave out each row that shares a bucket with a row of a later split, and unlabelled ones that do so with a held-out row."""
    for later, earlier in ((TEST, (TRAIN, VALIDATION, UNLABELLED)), (VALIDATION, (TRAIN, UNLABELLED))):
        is_later = np.zeros(int(buckets.max(initial=-1)) + 1, dtype=bool)  # by bucket
        is_later[buckets[split[members] == later]] = True
        left_out = np.unique(members[is_later[buckets] & np.isin(split[members], earlier)])
        unlabelled = split[left_out] == UNLABELLED
        reason[left_out[unlabelled]] = CODE["near-duplicate of a held-out row"]
        reason[left_out[~unlabelled]] = CODE["near-duplicate of a later row"]
        split[left_out] = NO_SPLIT
