"""Every row is accounted for, no text or near-duplicate of it is in two splits, and appended rows move none."""

from collections import Counter
from itertools import combinations

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.data.identity import digests, normal_form
from headway.data.preparation.near_duplicates import band_hashes
from headway.data.preparation.split_assignment import NO_SPLIT, assign, leakage, split_at_random
from headway.data.preparation.validation import CODE
from headway.data.text.splits import TEST, TRAIN, UNLABELLED, VALIDATION, text_id, unit_hash
from headway.params import SplitParams
from tests.data.preparation.rows import Rows

SHARES = SplitParams(
    train=0.6,
    validation=0.2,
    test=0.2,
    salt="a word",
    near_duplicates=0.8,
    first_rows_in_training=2,
    time_column="",
    train_until="",
)
PLAIN = SHARES.model_copy(update={"first_rows_in_training": 1})


def features_of(texts, labels, predefined=None, threshold=0.8):
    """Features of texts that are all usable."""
    forms = [normal_form(text) for text in texts]
    return Rows.of(
        reason=np.zeros(len(texts), dtype=np.uint8),
        label=np.array(labels, dtype=np.int32),
        predefined=np.array(predefined if predefined is not None else [NO_SPLIT] * len(texts), dtype=np.int8),
        digest=digests(forms),
        bands=band_hashes(forms, threshold),
    )


def features(reason, label, predefined, digest, bands):
    """Features given as small numbers, so that duplicates and near-duplicates are frequent."""
    return Rows.of(
        np.array(reason, dtype=np.uint8),
        np.array(label, dtype=np.int32),
        np.array(predefined, dtype=np.int8),
        np.array([value.to_bytes(16, "big") for value in digest], dtype="V16"),
        np.array(bands, dtype=np.uint64).reshape(len(reason), 2),
    )


@st.composite
def crowded(draw, test_file=False):
    """Up to 40 rows, many of them similar, optionally with a test file first. Equal texts have equal bands."""
    size = draw(st.integers(0, 40))
    texts = draw(st.lists(st.integers(0, 15), min_size=size, max_size=size))
    bands_of = draw(st.lists(st.tuples(*[st.integers(0, 8)] * 2), min_size=16, max_size=16))
    tested = draw(st.integers(0, size // 2)) if test_file else 0
    return features(
        draw(st.lists(st.sampled_from([0, 0, 0, CODE["missing text"]]), min_size=size, max_size=size)),
        draw(st.lists(st.integers(0, 3), min_size=size, max_size=size)),
        [TEST] * tested + [NO_SPLIT] * (size - tested),
        texts,
        [bands_of[text] for text in texts],
    )


@pytest.fixture(scope="module")
def sentences(ingested):
    """All real sentences and the codes of their labels."""
    table = pq.read_table(ingested.layout.raw / "rows.parquet")
    return table["text"].to_pylist(), [int(label == "positive") for label in table["label"].to_pylist()]


def similar(rows, one, other):
    """Whether two rows are duplicates or near-duplicates, computed the obvious way."""
    return rows.digest[one] == rows.digest[other] or bool((rows.bands[one] == rows.bands[other]).any())


# No row is lost, and none is in two splits


@given(crowded(test_file=True), st.integers(0, 30))
def test_every_row_is_kept_in_one_split_or_has_a_reason(rows, max_rows):
    result = assign(rows, PLAIN, max_rows)
    assert ((result.split != NO_SPLIT) == (result.reason == 0)).all()
    assert (result.reason[rows.reason > 0] == rows.reason[rows.reason > 0]).all()
    kept = rows.digest[result.split != NO_SPLIT]
    assert len(np.unique(kept)) == len(kept)
    assert set(rows.label[np.isin(result.split, (VALIDATION, TEST))]) <= set(rows.label[result.split == TRAIN])


@given(crowded(test_file=True))
def test_no_near_duplicates_are_in_different_splits(rows):
    result = assign(rows, PLAIN, 0)
    kept = np.flatnonzero(result.split != NO_SPLIT)
    for one, other in combinations(kept, 2):
        assert not similar(rows, one, other) or result.split[one] == result.split[other]


@given(crowded(test_file=True))
def test_near_duplicates_and_groups_are_those_that_comparing_all_pairs_finds(rows):
    result = assign(rows, PLAIN, 0)
    kept = np.flatnonzero(result.split != NO_SPLIT)
    group = {row: {row} for row in kept}
    for one, other in combinations(kept, 2):
        if similar(rows, one, other) and group[one] is not group[other]:
            group[one] |= group[other]
            for row in group[one]:
                group[row] = group[one]
    groups = {id(members): len(members) for members in group.values() if len(members) > 1}
    assert (result.near_duplicates, result.near_duplicate_groups) == (sum(groups.values()), len(groups))


# Growth


@given(crowded(test_file=True), st.data(), st.sampled_from([0, 0, 5, 12]))
def test_appended_rows_never_move_existing_rows(rows, data, max_rows):
    before = assign(rows.first(data.draw(st.integers(0, len(rows)))), PLAIN, max_rows)
    after = assign(rows, PLAIN, max_rows)
    test_file_was_appended = (rows.predefined_split == TEST).any() and not (before.split == TEST).any()
    for row, split in enumerate(before.split):
        if split == NO_SPLIT or test_file_was_appended:
            continue
        # A row stays, unless a later row has a conflicting label; a class that loses its only training row is left out too.
        allowed = {CODE["conflicting labels"], CODE["class without training rows"], CODE["not sampled"]}
        assert after.split[row] == split or after.reason[row] in allowed


def test_real_rows_never_move_when_rows_are_appended(sentences):
    texts, labels = sentences
    before, after = (assign(features_of(texts[:size], labels[:size]), SHARES, 0) for size in (5000, len(texts)))
    assert (before.split >= 0).all()
    assert (after.split[:5000] == before.split).all()


def test_the_split_of_a_text_without_near_duplicates_depends_on_the_text_alone(sentences):
    texts, labels = sentences
    forwards = assign(features_of(texts, labels), PLAIN, 0).split
    backwards = assign(features_of(texts[::-1], labels[::-1]), PLAIN, 0).split[::-1]
    assert (forwards != backwards).sum() <= 8, (
        "the first rows of the classes in both orders, and four rows with a near-duplicate"
    )


def test_a_near_duplicate_joins_the_split_of_the_earlier_text(sentences):
    texts, labels = sentences
    near_duplicates = [text + " indeed" for text in texts]
    result = assign(features_of(texts + near_duplicates, labels * 2), PLAIN, 0)
    long = [row for row, text in enumerate(texts) if len(text.split()) > 20]
    follow = np.mean([result.split[row] == result.split[row + len(texts)] for row in long])
    assert follow > 0.98
    alone = assign(features_of(texts + near_duplicates, labels * 2, threshold=0.0), PLAIN, 0)
    assert np.mean([alone.split[row] == alone.split[row + len(texts)] for row in long]) < 0.6


def test_a_near_duplicate_of_rows_in_different_splits_is_left_out():
    start = features([0] * 30, [0, 1] * 15, [NO_SPLIT] * 30, range(30), [(number, 100 + number) for number in range(30)])
    split = assign(start, PLAIN, 0).split
    one, other = (int(np.flatnonzero(split == code)[-1]) for code in (TRAIN, TEST))
    joins = [*((number, 100 + number) for number in range(30)), (one, 100 + other)]
    grown = features([0] * 31, [0, 1] * 15 + [0], [NO_SPLIT] * 31, range(31), joins)
    result = assign(grown, PLAIN, 0)
    assert result.reason[30] == CODE["near-duplicate of rows in different splits"]
    assert (result.split[:30] == split).all()


# A test file


@given(crowded(test_file=True))
def test_rows_of_a_test_file_are_the_test_split(rows):
    result = assign(rows, PLAIN, 0)
    if (rows.predefined_split == TEST).any():
        assert (rows.predefined_split[result.split == TEST] == TEST).all()
        assert not np.isin(result.split[rows.predefined_split == TEST], (TRAIN, VALIDATION)).any()


def test_near_duplicates_of_a_test_file_are_left_out_of_training(sentences):
    texts, labels = sentences
    tested, rest = texts[:500], [text + " ." for text in texts[:100]] + [text + " indeed" for text in texts[100:200]]
    rest += texts[1000:2000]
    rows = features_of(tested + rest, labels[:500] + labels[:200] + labels[1000:2000], [TEST] * 500 + [NO_SPLIT] * 1200)
    result = assign(rows, SHARES, 0)
    assert (result.split[:500] == TEST).all()
    assert Counter(result.reason[500:700])[CODE["near-duplicate of a held-out row"]] > 150
    kept = np.count_nonzero(result.split[700:] >= 0)
    assert kept > 990
    # Training and validation divide the other rows in the ratio of their shares.
    assert np.mean(result.split[700:] == VALIDATION) == pytest.approx(0.25, abs=0.04)
    train, test = split_at_random(rows, SHARES)
    assert leakage(rows, train, test) > 0.3
    assert leakage(rows, result.split == TRAIN, result.split == TEST) == 0


def test_unlabelled_rows_are_kept_apart_without_near_duplicates_of_held_out_rows(sentences):
    texts, labels = sentences
    copies = [text + " !" for text in texts[:300]]
    more = texts[2000:2200]
    rows = features_of(texts[:300] + copies + more + more, labels[:300] + [-1] * 700, [NO_SPLIT] * 300 + [UNLABELLED] * 700)
    result = assign(rows, SHARES, 0)
    assert (result.split[:300] == assign(rows.first(300), SHARES, 0).split).all()
    held_out = np.isin(result.split[:300], (VALIDATION, TEST))
    assert (result.reason[300:600][held_out] == CODE["near-duplicate of a held-out row"]).all()
    assert (result.split[600:800] == UNLABELLED).all()
    assert (result.reason[800:] == CODE["duplicate"]).all()


# Classes


def test_the_first_rows_of_each_class_go_to_training(sentences):
    texts, _ = sentences
    labels = [row % 100 for row in range(400)]
    for count in (1, 3, 4):
        params = SHARES.model_copy(update={"first_rows_in_training": count})
        split = assign(features_of(texts[:400], labels), params, 0).split
        assert (split[: count * 100] == TRAIN).all()
        if count < 4:
            assert (split[count * 100 :] != TRAIN).any()


def test_a_class_with_a_single_row_is_kept_in_training(sentences):
    texts, labels = sentences
    for row in range(50):
        single = [2 if index == row else label for index, label in enumerate(labels[:50])]
        assert assign(features_of(texts[:50], single), PLAIN, 0).split[row] == TRAIN


# Duplicates and conflicting labels


def test_duplicates_are_left_out_and_refer_to_the_first_row():
    texts = ["A fine film.", "dull", "a  FINE film.", "<br />A ﬁne film.", "a fine film!", "Dull"]
    result = assign(features_of(texts, [1, 0, 1, 1, 1, 0]), PLAIN, 0)
    assert result.duplicate_of.tolist() == [-1, -1, 0, 0, -1, 1]
    assert [code == CODE["duplicate"] for code in result.reason] == [False, False, True, True, False, True]


def test_conflicting_labels_take_precedence_over_near_duplicates_in_different_splits():
    joined = [(1, 1), (2, 2), (1, 2), (1, 2)]
    for salt in range(20):
        rows = features([0] * 4, [0, 1, 0, 1], [NO_SPLIT] * 4, [0, 1, 2, 2], joined)
        result = assign(rows, PLAIN.model_copy(update={"salt": str(salt)}), 0)
        assert result.reason[2] == result.reason[3] == CODE["conflicting labels"]


def test_texts_with_two_labels_are_left_out():
    result = assign(features_of(["fine", "torn", "Torn", "torn", "dull"], [1, 0, 1, 0, 0]), PLAIN, 0)
    conflict = CODE["conflicting labels"]
    assert result.reason.tolist() == [0, conflict, conflict, conflict, 0]


# Shares, hashes and samples


def test_the_splits_of_real_rows_have_the_wanted_shares(sentences):
    split = assign(features_of(*sentences), SHARES, 0).split
    for code, share in ((TRAIN, 0.6), (VALIDATION, 0.2), (TEST, 0.2)):
        assert np.mean(split == code) == pytest.approx(share, abs=0.02)
        assert np.mean(np.array(sentences[1])[split == code]) == pytest.approx(0.5, abs=0.03)


def test_raising_the_test_share_moves_rows_into_it_and_none_out(sentences):
    rows = features_of(*sentences)
    before = assign(rows, SHARES, 0).split
    after = assign(rows, SHARES.model_copy(update={"test": 0.3, "train": 0.5}), 0).split
    assert (after[before == TEST] == TEST).all()


def test_another_salt_gives_an_independent_split(sentences):
    rows = features_of(*sentences)
    before, after = (assign(rows, SHARES.model_copy(update={"salt": salt}), 0).split for salt in ("one", "other"))
    assert np.mean((before == TEST) & (after == TEST)) == pytest.approx(0.2 * 0.2, abs=0.01)


def test_the_id_of_a_row_is_the_sha256_of_its_text():
    assert text_id("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert text_id("好") != text_id("好 ")


def test_hashes_of_real_texts_are_spread_evenly(sentences):
    tenths = Counter(int(unit_hash(text_id(text), "even") * 10) for text in sentences[0])
    assert set(tenths) == set(range(10))
    assert all(count / len(sentences[0]) == pytest.approx(0.1, abs=0.015) for count in tenths.values())


def test_a_sample_has_about_the_wanted_size_and_does_not_depend_on_the_order(sentences):
    texts, labels = sentences
    sampled = CODE["not sampled"]
    forwards = assign(features_of(texts, labels), SHARES, 2000).reason == sampled
    backwards = assign(features_of(texts[::-1], labels[::-1]), SHARES, 2000).reason == sampled
    assert (forwards == backwards[::-1]).all()
    assert np.count_nonzero(~forwards) == pytest.approx(2000, rel=0.05)
    smaller = assign(features_of(texts, labels), SHARES, 500).reason == sampled
    assert (smaller | ~forwards).all()
    for enough in (0, 8530, 9999):
        assert (assign(features_of(texts, labels), SHARES, enough).reason != sampled).all()


@given(crowded(), st.data())
def test_leakage_is_the_share_that_comparing_all_pairs_finds(rows, data):
    side = np.array(data.draw(st.lists(st.integers(0, 2), min_size=len(rows), max_size=len(rows))), dtype=int)
    train, test = (side == 0) & (rows.reason == 0), (side == 1) & (rows.reason == 0)
    leaked = [any(similar(rows, row, other) for other in np.flatnonzero(train)) for row in np.flatnonzero(test)]
    assert leakage(rows, train, test) == pytest.approx(np.mean(leaked) if leaked else 0)


@given(crowded(test_file=True), st.randoms(use_true_random=False))
def test_test_rows_may_be_anywhere_among_the_others(rows, shuffled):
    is_test = rows.predefined_split == TEST
    places = list(range(len(rows)))
    shuffled.shuffle(places)
    # The test rows, and the others, each keep their order.
    order = np.empty(len(rows), dtype=int)
    order[sorted(places[: is_test.sum()])] = np.flatnonzero(is_test)
    order[sorted(places[is_test.sum() :])] = np.flatnonzero(~is_test)
    mixed, plain = assign(rows.take(order), SHARES, 0), assign(rows, SHARES, 0)
    assert mixed.split.tolist() == plain.split[order].tolist()
    assert mixed.reason.tolist() == plain.reason[order].tolist()
    duplicates = mixed.duplicate_of >= 0
    assert order[mixed.duplicate_of[duplicates]].tolist() == plain.duplicate_of[order][duplicates].tolist()
    assert (duplicates == (plain.duplicate_of[order] >= 0)).all()
