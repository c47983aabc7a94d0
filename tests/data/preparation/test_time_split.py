"""Splits by time: nothing in training or validation is as late as the test, nothing leaks, and every row is accounted for."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import combinations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headway.data.preparation.split_assignment import NO_SPLIT
from headway.data.preparation.time_split import assign_by_time
from headway.data.preparation.times import NO_TIME
from headway.data.preparation.validation import CODE
from headway.data.text.splits import TEST, TRAIN, UNLABELLED, VALIDATION
from headway.params import SplitParams
from tests.data.preparation.rows import Rows

SHARES = SplitParams(
    train=0.6,
    validation=0.2,
    test=0.2,
    salt="a word",
    near_duplicates=0.8,
    first_rows_in_training=2,
    time_column="when",
    train_until="",
)
DAY = 86_400_000_000
LATER, HELD_OUT, AFTER = (
    CODE[name] for name in ("near-duplicate of a later row", "near-duplicate of a held-out row", "after split.train_until")
)


def features(texts, labels, bands, reason=None, unlabelled=0):
    """Features given as small numbers; the last rows are unlabelled."""
    size = len(texts)
    return Rows.of(
        np.array(reason or [0] * size, dtype=np.uint8),
        np.array([*labels[: size - unlabelled], *[-1] * unlabelled], dtype=np.int32),
        np.array([NO_SPLIT] * (size - unlabelled) + [UNLABELLED] * unlabelled, dtype=np.int8),
        np.array([value.to_bytes(16, "big") for value in texts], dtype="V16"),
        np.array(bands, dtype=np.uint64).reshape(size, len(bands[0]) if bands else 2),
    )


def plain(size, labels=None):
    """Rows of different texts without near-duplicates."""
    return features(list(range(size)), labels or [0, 1] * size, [[row] for row in range(size)])


@st.composite
def timed(draw):
    """Up to 40 rows and their times, many of them equal or similar. Equal texts have equal bands."""
    size = draw(st.integers(0, 40))
    texts = draw(st.lists(st.integers(0, 30), min_size=size, max_size=size))
    bands_of = draw(st.lists(st.tuples(*[st.integers(0, 20)] * 2), min_size=31, max_size=31))
    unlabelled = draw(st.integers(0, size // 3))
    reason = draw(st.lists(st.sampled_from([0, 0, 0, 0, CODE["missing time"]]), min_size=size, max_size=size))
    labels = draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))
    times = np.array(draw(st.lists(st.integers(-20, 20), min_size=size, max_size=size)), dtype=np.int64) * DAY
    rows = features(texts, labels, [bands_of[text] for text in texts], reason, unlabelled)
    times[(rows.reason > 0) | ~rows.labelled] = NO_TIME
    return rows, times


def days(until):
    return st.one_of(st.just(""), st.integers(-22, until).map(lambda day: str(np.datetime64("1970-01-01") + day)))


@given(timed(), days(22), st.sampled_from([0, 0, 5, 12]))
def test_no_training_or_validation_row_is_as_late_as_the_first_row_of_a_later_split(drawn, last_day, max_rows):
    rows, times = drawn
    split = assign_by_time(rows, times, SHARES, last_day, max_rows).split
    for earlier, later in ((TRAIN, VALIDATION), (TRAIN, TEST), (VALIDATION, TEST)):
        if (split == earlier).any() and (split == later).any():
            assert times[split == earlier].max() < times[split == later].min()


@given(timed(), days(22), st.sampled_from([0, 0, 5, 12]))
def test_every_row_is_kept_once_or_has_a_reason(drawn, last_day, max_rows):
    rows, times = drawn
    result = assign_by_time(rows, times, SHARES, last_day, max_rows)
    assert ((result.split != NO_SPLIT) == (result.reason == 0)).all()
    assert (result.reason[rows.reason > 0] == rows.reason[rows.reason > 0]).all()
    kept = rows.digest[result.split != NO_SPLIT]
    assert len(np.unique(kept)) == len(kept)
    assert ((result.split == UNLABELLED) <= ~rows.labelled).all()
    assert set(rows.label[result.split == VALIDATION]) <= set(rows.label[result.split == TRAIN])


@given(timed(), days(22))
def test_near_duplicates_are_never_in_different_splits_and_the_later_one_stays(drawn, last_day):
    rows, times = drawn
    result = assign_by_time(rows, times, SHARES, last_day)
    similar = lambda one, other: bool((rows.bands[one] == rows.bands[other]).any())  # noqa: E731
    kept = np.flatnonzero(result.split != NO_SPLIT)
    for one, other in combinations(kept, 2):
        held_out = {VALIDATION, TEST} & {result.split[one], result.split[other]}
        same = result.split[one] == result.split[other] or not held_out
        assert same or not similar(one, other)
    for row in np.flatnonzero(result.reason == LATER):
        others = np.flatnonzero(np.isin(result.split, (VALIDATION, TEST)))
        left = np.flatnonzero(result.reason == CODE["class without training rows"])
        assert any(similar(row, other) and times[other] > times[row] for other in (*others, *left))
    for row in np.flatnonzero(result.reason == HELD_OUT):
        assert not rows.labelled[row]


@given(timed())
def test_of_equal_texts_the_latest_is_kept(drawn):
    rows, times = drawn
    result = assign_by_time(rows, times, SHARES)
    for row in np.flatnonzero(result.reason == CODE["duplicate"]):
        other = result.duplicate_of[row]
        assert rows.digest[other] == rows.digest[row]
        assert rows.labelled[other] >= rows.labelled[row]
        assert times[other] >= times[row]


@example([0] * 8 + [1, 2])
@given(st.lists(st.integers(-9, 9), min_size=3, max_size=60).filter(lambda days: len(set(days)) > 2))
def test_sizes_are_as_near_to_the_shares_as_rows_of_the_same_time_allow(drawn):
    times = np.array(drawn, dtype=np.int64) * DAY
    split = assign_by_time(plain(len(times), [0] * len(times)), times, SHARES).split
    assert {TRAIN, VALIDATION, TEST} == set(split.tolist())
    borders = sorted(set(drawn))
    sizes = [sum(day >= border for day in drawn) for border in borders[2:]]  # two times are left for the other splits
    assert abs((split == TEST).sum() - 0.2 * len(drawn)) == pytest.approx(min(abs(n - 0.2 * len(drawn)) for n in sizes))
    before = [day for day in drawn if day * DAY < times[split == TEST].min()]
    sizes = [sum(day >= border for day in before) for border in sorted(set(before))[1:]]
    target = 0.25 * len(before)
    assert abs((split == VALIDATION).sum() - target) == pytest.approx(min(abs(n - target) for n in sizes))


def test_without_ties_the_shares_are_exact():
    times = np.random.default_rng(0).permutation(1000).astype(np.int64)
    split = assign_by_time(plain(1000), times, SHARES).split
    assert [(split == code).sum() for code in (TRAIN, VALIDATION, TEST)] == [600, 200, 200]
    assert sorted(times[split == TEST]) == list(range(800, 1000))
    assert sorted(times[split == VALIDATION]) == list(range(600, 800))


@given(timed(), days(22), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter_but_for_texts_of_the_same_time(drawn, last_day, random):
    rows, times = drawn
    times = np.where(times == NO_TIME, NO_TIME, times + np.arange(len(times)))  # no two are equal
    labelled = np.flatnonzero(rows.labelled).tolist()
    random.shuffle(labelled)
    order = np.array(labelled + np.flatnonzero(~rows.labelled).tolist(), dtype=int)
    before = assign_by_time(rows, times, SHARES, last_day)
    after = assign_by_time(rows.take(order), times[order], SHARES, last_day)
    assert (before.split[order] == after.split).all()
    assert (before.reason[order] == after.reason).all()


@given(timed(), days(22))
def test_an_earlier_end_of_training_leaves_the_test_rows_as_they_are(drawn, last_day):
    rows, times = drawn
    whole, past = (assign_by_time(rows, times, SHARES, day) for day in ("", last_day))
    assert (past.split == TEST).tolist() == (whole.split == TEST).tolist()
    learnt = np.isin(past.split, (TRAIN, VALIDATION))
    if last_day and len(np.unique(times[rows.labelled & (rows.reason == 0)])) > 2 and (past.split == TEST).any():
        end = (datetime.fromisoformat(last_day).replace(tzinfo=UTC).timestamp() + 86_400) * 1e6
        assert (times[learnt] < end).all()
        assert (times[past.reason == AFTER] >= end).all()


def test_validation_and_training_rows_keep_their_proportion_before_an_earlier_end():
    times = np.arange(1000, dtype=np.int64) * DAY
    split = assign_by_time(plain(1000), times, SHARES, str(np.datetime64("1970-01-01") + 399)).split
    assert [(split == code).sum() for code in (TRAIN, VALIDATION, TEST, NO_SPLIT)] == [300, 100, 200, 400]
    assert times[split == VALIDATION].max() == 399 * DAY


def test_test_rows_of_a_class_that_appears_after_training_stay_and_validation_rows_do_not():
    labels = [0, 1] * 30 + [2] * 40
    result = assign_by_time(plain(100, labels), np.arange(100, dtype=np.int64), SHARES)
    assert (result.split[80:] == TEST).all()
    assert (result.reason[60:80] == CODE["class without training rows"]).all()


def test_a_near_duplicate_leaves_the_earlier_split_and_stays_within_one():
    bands = [[row] for row in range(10)]
    bands[0] = bands[7] = bands[9]  # training, validation and test
    bands[1] = bands[2]  # both training
    rows = features(list(range(10)), [0] * 10, bands)
    result = assign_by_time(rows, np.arange(10, dtype=np.int64), SHARES)
    assert np.flatnonzero(result.reason == LATER).tolist() == [0, 7]
    assert (result.near_duplicates, result.near_duplicate_groups) == (2, 1)
    assert result.near_duplicate_pairs.tolist() == [[1, 2]]
