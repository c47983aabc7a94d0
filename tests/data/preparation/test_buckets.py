"""Buckets of near-duplicates are those that comparing all texts finds, in whatever parts the work is done."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headway.data.preparation.buckets import BandHashes, Buckets
from tests.data.preparation.rows import buckets_of

#: Few values, in the first as in the last bits, so that both buckets and parts of the range of hashes have several texts.
HASHES = st.sampled_from([number << shift for number in range(3) for shift in (0, 62)])


def members(buckets: Buckets) -> set[frozenset[int]]:
    """The texts of each bucket. Two buckets with the same texts count as one."""
    return {frozenset(buckets.text[buckets.bucket == number].tolist()) for number in range(len(buckets))}


@given(st.data(), st.integers(0, 30), st.integers(0, 3), st.integers(1, 6), st.randoms(use_true_random=False))
def test_buckets_are_those_that_comparing_all_texts_finds(
    data: st.DataObject, rows: int, bands: int, most: int, shuffled: object
) -> None:
    values = data.draw(st.lists(HASHES, min_size=rows * bands, max_size=rows * bands))
    hashes = np.array(values, dtype=np.uint64).reshape(rows, bands)
    texts = np.flatnonzero(data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows)))
    cuts = sorted({0, rows, *data.draw(st.lists(st.integers(0, rows), max_size=4))})
    parts = list(pairwise(cuts))
    shuffled.shuffle(parts)  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as folder, BandHashes(Path(folder), bands) as kept:
        for start, end in parts:
            kept.put(start, hashes[start:end])
        tasks = list(kept.tasks(texts, most))
        shuffled.shuffle(tasks)  # type: ignore[attr-defined]
        found = Buckets.join(task.run() for task in tasks)
    expected = buckets_of(texts, hashes)
    assert members(found) == members(expected)
    assert len(found) == len(expected)
    assert len(found.text) == len(expected.text)


@given(st.data(), st.integers(1, 12))
def test_the_buckets_of_some_rows_are_those_that_two_of_them_share(data: st.DataObject, size: int) -> None:
    """Each text has one row in a reading order of its own, such as its latest."""
    hashes = np.array(data.draw(st.lists(HASHES, min_size=size, max_size=size)), dtype=np.uint64)[:, None]
    text = np.array(data.draw(st.permutations(range(size))), dtype=np.int64)  # of each row
    rows = np.flatnonzero(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    found, bucket = buckets_of(np.arange(size), hashes).of_rows(text, rows)
    pairs = {frozenset(found[bucket == number].tolist()) for number in set(bucket.tolist())}
    same = [frozenset(row for row in rows.tolist() if hashes[text[row], 0] == value) for value in set(hashes[:, 0].tolist())]
    assert pairs == {some for some in same if len(some) > 1}
    assert sorted(found) == list(found)


def test_nothing_is_left_on_the_disk(tmp_path: Path) -> None:
    with BandHashes(tmp_path, 2) as kept:
        kept.put(0, np.zeros((3, 2), np.uint64))
        assert len(list(tmp_path.iterdir())) == 2
    assert list(tmp_path.iterdir()) == []
