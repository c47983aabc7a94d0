"""Which rows are kept and where they go: every row is accounted for, no text stands on both sides, none moves later."""

from collections import Counter
from itertools import combinations

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.data.preparation.near_duplicates import band_hashes, digests, normal_form
from headway.data.preparation.split_assignment import NOWHERE, Rows, assign, leakage, split_by_row
from headway.data.preparation.validation import CODE
from headway.data.text.splits import TEST, TRAIN, UNLABELLED, VALIDATION, text_id, unit_hash
from headway.params import SplitParams

SHARES = SplitParams(train=0.6, validation=0.2, test=0.2, salt="a word", near_duplicates=0.8, first_rows_in_training=2)
PLAIN = SHARES.model_copy(update={"first_rows_in_training": 1})
TWINS = "between splits", "twin of a test row"


def rows_of(texts, labels, given=None, threshold=0.8):
    """Rows as they are scanned, all of them usable by themselves."""
    forms = [normal_form(text) for text in texts]
    return Rows(
        reason=np.zeros(len(texts), dtype=np.uint8),
        label=np.array(labels, dtype=np.int32),
        given=np.array(given if given is not None else [NOWHERE] * len(texts), dtype=np.int8),
        digest=digests(forms),
        bands=band_hashes(forms, threshold),
    )


def numbers(reason, label, given, digest, bands):
    """Rows from small numbers, so that repeats and twins are everywhere."""
    return Rows(
        np.array(reason, dtype=np.uint8),
        np.array(label, dtype=np.int32),
        np.array(given, dtype=np.int8),
        np.array([value.to_bytes(16, "big") for value in digest], dtype="V16"),
        np.array(bands, dtype=np.uint64).reshape(len(reason), 2),
    )


def first(rows, count):
    return Rows(*(getattr(rows, name)[:count] for name in ("reason", "label", "given", "digest", "bands")))


@st.composite
def crowded(draw, test_file=False):
    """Up to 40 rows, many of them alike; perhaps a test file's before them. Equal texts have equal bands."""
    size = draw(st.integers(0, 40))
    texts = draw(st.lists(st.integers(0, 15), min_size=size, max_size=size))
    bands_of = draw(st.lists(st.tuples(*[st.integers(0, 8)] * 2), min_size=16, max_size=16))
    tested = draw(st.integers(0, size // 2)) if test_file else 0
    return numbers(
        draw(st.lists(st.sampled_from([0, 0, 0, CODE["missing text"]]), min_size=size, max_size=size)),
        draw(st.lists(st.integers(0, 3), min_size=size, max_size=size)),
        [TEST] * tested + [NOWHERE] * (size - tested),
        texts,
        [bands_of[text] for text in texts],
    )


@pytest.fixture(scope="module")
def sentences(ingested):
    """All real sentences and the numbers of their labels."""
    table = pq.read_table(ingested.layout.raw / "rows.parquet")
    return table["text"].to_pylist(), [int(label == "positive") for label in table["label"].to_pylist()]


def alike(rows, one, other):
    """The slow, obvious answer to whether two rows are equal or nearly so."""
    return rows.digest[one] == rows.digest[other] or bool((rows.bands[one] == rows.bands[other]).any())


# No row is lost, and none stands on both sides


@given(crowded(test_file=True), st.integers(0, 30))
def test_every_row_is_kept_in_one_split_or_has_a_reason(rows, max_rows):
    result = assign(rows, PLAIN, max_rows)
    assert ((result.split != NOWHERE) == (result.reason == 0)).all()
    assert (result.reason[rows.reason > 0] == rows.reason[rows.reason > 0]).all()
    kept = rows.digest[result.split != NOWHERE]
    assert len(np.unique(kept)) == len(kept)
    assert set(rows.label[np.isin(result.split, (VALIDATION, TEST))]) <= set(rows.label[result.split == TRAIN])


@given(crowded(test_file=True))
def test_no_two_texts_that_are_alike_stand_in_different_splits(rows):
    result = assign(rows, PLAIN, 0)
    kept = np.flatnonzero(result.split != NOWHERE)
    for one, other in combinations(kept, 2):
        assert not alike(rows, one, other) or result.split[one] == result.split[other]


@given(crowded(test_file=True))
def test_near_rows_and_groups_are_those_that_a_search_of_all_pairs_finds(rows):
    result = assign(rows, PLAIN, 0)
    kept = np.flatnonzero(result.split != NOWHERE)
    group = {row: {row} for row in kept}
    for one, other in combinations(kept, 2):
        if alike(rows, one, other) and group[one] is not group[other]:
            group[one] |= group[other]
            for row in group[one]:
                group[row] = group[one]
    groups = {id(members): len(members) for members in group.values() if len(members) > 1}
    assert (result.near_rows, result.near_groups) == (sum(groups.values()), len(groups))


# Growth


@given(crowded(test_file=True), st.data(), st.sampled_from([0, 0, 5, 12]))
def test_rows_that_are_added_at_the_end_never_move_one_that_is_there(rows, data, max_rows):
    before = assign(first(rows, data.draw(st.integers(0, len(rows)))), PLAIN, max_rows)
    after = assign(rows, PLAIN, max_rows)
    test_came_with_the_rest = (rows.given == TEST).any() and not (before.split == TEST).any()
    for row, split in enumerate(before.split):
        if split == NOWHERE or test_came_with_the_rest:
            continue
        # It stays, or a later row contradicts its label; a class that loses its only training row so is left out as well.
        gone = {CODE["conflicting labels"], CODE["class never trained"], CODE["left by sampling"]}
        assert after.split[row] == split or after.reason[row] in gone


def test_real_rows_never_move_when_rows_are_added_behind_them(sentences):
    texts, labels = sentences
    before, after = (assign(rows_of(texts[:size], labels[:size]), SHARES, 0) for size in (5000, len(texts)))
    assert (before.split >= 0).all()
    assert (after.split[:5000] == before.split).all()


def test_where_a_text_without_twins_goes_depends_on_the_text_alone(sentences):
    texts, labels = sentences
    forwards = assign(rows_of(texts, labels), PLAIN, 0).split
    backwards = assign(rows_of(texts[::-1], labels[::-1]), PLAIN, 0).split[::-1]
    assert (forwards != backwards).sum() <= 8, "other than the first row of each class, either way, and the four with a twin"


def test_a_twin_follows_the_text_that_was_there_before_it(sentences):
    texts, labels = sentences
    twins = [text + " indeed" for text in texts]
    result = assign(rows_of(texts + twins, labels * 2), PLAIN, 0)
    long = [row for row, text in enumerate(texts) if len(text.split()) > 20]
    follow = np.mean([result.split[row] == result.split[row + len(texts)] for row in long])
    assert follow > 0.98
    alone = assign(rows_of(texts + twins, labels * 2, threshold=0.0), PLAIN, 0)
    assert np.mean([alone.split[row] == alone.split[row + len(texts)] for row in long]) < 0.6


def test_a_text_that_would_join_two_splits_is_left_out():
    """The rule for a row that is nearly equal to texts in different splits: they stay, it goes to quarantine."""
    start = numbers([0] * 30, [0, 1] * 15, [NOWHERE] * 30, range(30), [(number, 100 + number) for number in range(30)])
    split = assign(start, PLAIN, 0).split
    one, other = (int(np.flatnonzero(split == code)[-1]) for code in (TRAIN, TEST))
    joins = [*((number, 100 + number) for number in range(30)), (one, 100 + other)]
    grown = numbers([0] * 31, [0, 1] * 15 + [0], [NOWHERE] * 31, range(31), joins)
    result = assign(grown, PLAIN, 0)
    assert result.reason[30] == CODE["between splits"]
    assert (result.split[:30] == split).all()


# A test file


@given(crowded(test_file=True))
def test_rows_of_a_test_file_are_the_test_split(rows):
    result = assign(rows, PLAIN, 0)
    if (rows.given == TEST).any():
        assert (rows.given[result.split == TEST] == TEST).all()
        assert not np.isin(result.split[rows.given == TEST], (TRAIN, VALIDATION)).any()


def test_training_rows_that_resemble_a_test_row_are_left_out(sentences):
    texts, labels = sentences
    tested, rest = texts[:500], [text + " ." for text in texts[:100]] + [text + " indeed" for text in texts[100:200]]
    rest += texts[1000:2000]
    rows = rows_of(tested + rest, labels[:500] + labels[:200] + labels[1000:2000], [TEST] * 500 + [NOWHERE] * 1200)
    result = assign(rows, SHARES, 0)
    assert (result.split[:500] == TEST).all()
    assert Counter(result.reason[500:700])[CODE["twin of a test row"]] > 150
    kept = np.count_nonzero(result.split[700:] >= 0)
    assert kept > 990
    # What is left is shared out between training and validation as their shares are to one another.
    assert np.mean(result.split[700:] == VALIDATION) == pytest.approx(0.25, abs=0.04)
    train, test = split_by_row(rows, SHARES)
    assert leakage(rows, train, test) > 0.3
    assert leakage(rows, result.split == TRAIN, result.split == TEST) == 0


def test_unlabelled_rows_are_kept_apart_and_none_resembles_a_row_that_is_tested(sentences):
    texts, labels = sentences
    copies = [text + " !" for text in texts[:300]]
    more = texts[2000:2200]
    rows = rows_of(texts[:300] + copies + more + more, labels[:300] + [-1] * 700, [NOWHERE] * 300 + [UNLABELLED] * 700)
    result = assign(rows, SHARES, 0)
    assert (result.split[:300] == assign(first(rows, 300), SHARES, 0).split).all()
    held_out = np.isin(result.split[:300], (VALIDATION, TEST))
    assert (result.reason[300:600][held_out] == CODE["twin of a test row"]).all()
    assert (result.split[600:800] == UNLABELLED).all()
    assert (result.reason[800:] == CODE["duplicate"]).all()


# Classes


def test_the_first_rows_of_each_class_go_to_training(sentences):
    texts, _ = sentences
    labels = [row % 100 for row in range(400)]
    for count in (1, 3, 4):
        params = SHARES.model_copy(update={"first_rows_in_training": count})
        split = assign(rows_of(texts[:400], labels), params, 0).split
        assert (split[: count * 100] == TRAIN).all()
        if count < 4:
            assert (split[count * 100 :] != TRAIN).any()


def test_a_class_with_a_single_row_is_kept_in_training(sentences):
    texts, labels = sentences
    for row in range(50):
        single = [2 if index == row else label for index, label in enumerate(labels[:50])]
        assert assign(rows_of(texts[:50], single), PLAIN, 0).split[row] == TRAIN


# Repeats and contradictions


def test_repeats_are_left_out_with_the_row_that_they_repeat():
    texts = ["A fine film.", "dull", "a  FINE film.", "<br />A ﬁne film.", "a fine film!", "Dull"]
    result = assign(rows_of(texts, [1, 0, 1, 1, 1, 0]), PLAIN, 0)
    assert result.equal_to.tolist() == [-1, -1, 0, 0, -1, 1]
    assert [code == CODE["duplicate"] for code in result.reason] == [False, False, True, True, False, True]


def test_a_row_that_is_contradicted_and_joins_two_splits_as_well_is_told_as_contradicted():
    joined = [(1, 1), (2, 2), (1, 2), (1, 2)]
    for salt in range(20):
        rows = numbers([0] * 4, [0, 1, 0, 1], [NOWHERE] * 4, [0, 1, 2, 2], joined)
        result = assign(rows, PLAIN.model_copy(update={"salt": str(salt)}), 0)
        assert result.reason[2] == result.reason[3] == CODE["conflicting labels"]


def test_texts_that_carry_two_labels_are_left_out_altogether():
    result = assign(rows_of(["fine", "torn", "Torn", "torn", "dull"], [1, 0, 1, 0, 0]), PLAIN, 0)
    conflict = CODE["conflicting labels"]
    assert result.reason.tolist() == [0, conflict, conflict, conflict, 0]


# Shares, hashes and samples


def test_the_shares_of_real_rows_are_those_asked_for(sentences):
    split = assign(rows_of(*sentences), SHARES, 0).split
    for code, share in ((TRAIN, 0.6), (VALIDATION, 0.2), (TEST, 0.2)):
        assert np.mean(split == code) == pytest.approx(share, abs=0.02)
        assert np.mean(np.array(sentences[1])[split == code]) == pytest.approx(0.5, abs=0.03)


def test_raising_the_test_share_moves_rows_into_it_and_none_out(sentences):
    rows = rows_of(*sentences)
    before = assign(rows, SHARES, 0).split
    after = assign(rows, SHARES.model_copy(update={"test": 0.3, "train": 0.5}), 0).split
    assert (after[before == TEST] == TEST).all()


def test_another_salt_is_another_split_independent_of_the_first(sentences):
    rows = rows_of(*sentences)
    before, after = (assign(rows, SHARES.model_copy(update={"salt": salt}), 0).split for salt in ("one", "other"))
    assert np.mean((before == TEST) & (after == TEST)) == pytest.approx(0.2 * 0.2, abs=0.01)


def test_an_identity_is_the_texts_and_nothing_elses():
    assert text_id("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert text_id("好") != text_id("好 ")


def test_hashes_of_real_texts_are_spread_evenly(sentences):
    tenths = Counter(int(unit_hash(text_id(text), "even") * 10) for text in sentences[0])
    assert set(tenths) == set(range(10))
    assert all(count / len(sentences[0]) == pytest.approx(0.1, abs=0.015) for count in tenths.values())


def test_a_sample_is_the_same_whatever_the_order_and_has_about_the_size_asked_for(sentences):
    texts, labels = sentences
    sampled = CODE["left by sampling"]
    forwards = assign(rows_of(texts, labels), SHARES, 2000).reason == sampled
    backwards = assign(rows_of(texts[::-1], labels[::-1]), SHARES, 2000).reason == sampled
    assert (forwards == backwards[::-1]).all()
    assert np.count_nonzero(~forwards) == pytest.approx(2000, rel=0.05)
    smaller = assign(rows_of(texts, labels), SHARES, 500).reason == sampled
    assert (smaller | ~forwards).all()
    for enough in (0, 8530, 9999):
        assert (assign(rows_of(texts, labels), SHARES, enough).reason != sampled).all()


@given(crowded(), st.data())
def test_leakage_is_the_share_that_a_search_of_all_pairs_finds(rows, data):
    side = np.array(data.draw(st.lists(st.integers(0, 2), min_size=len(rows), max_size=len(rows))), dtype=int)
    train, test = side == 0, side == 1
    leaked = [any(alike(rows, row, other) for other in np.flatnonzero(train)) for row in np.flatnonzero(test)]
    assert leakage(rows, train, test) == pytest.approx(np.mean(leaked) if leaked else 0)
