"""Classifiers that tell recent texts from the test rows: valid scores, found changes, and nothing that depends on cuts."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import vstack
from scipy.stats import kstest

from headway.monitoring import wording
from headway.monitoring.conformal import ConformalStream
from headway.monitoring.wording import BUCKETS, HEAD, LEVELS, Wording, name_of, nothing_known, trigrams
from tests.monitoring.streams import OTHER, texts

FIRST, SECOND = 20, 60


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Classifiers are trained after few texts."""
    monkeypatch.setattr(wording, "TRAINED_AT", (FIRST, SECOND))


def as_sets(texts: list[str]) -> list[set[int]]:
    found = trigrams(texts)
    return [set(found.indices[found.indptr[row] : found.indptr[row + 1]].tolist()) for row in range(len(texts))]


@given(st.lists(st.text(max_size=30), max_size=8))
def test_a_text_has_the_trigrams_of_its_own_characters(found: list[str]) -> None:
    together = as_sets(found)
    assert together == [as_sets([text])[0] for text in found]
    for text, buckets in zip(found, together, strict=True):
        parts = [text.lower()[start : start + 3] for start in range(len(text.lower()) - 2)]
        assert buckets == set().union(*as_sets(parts)) if parts else not buckets
        assert len(buckets) <= len(set(parts))


def test_trigrams_are_spread_over_the_buckets() -> None:
    random = np.random.default_rng(0)
    many = {"".join(chr(int(code)) for code in random.integers(0x4E00, 0x9FFF, 3)) for _ in range(4_000)}
    used = set().union(*as_sets(sorted(many)))
    expected = BUCKETS * (1 - (1 - 1 / BUCKETS) ** len(many))
    assert len(used) == pytest.approx(expected, rel=0.05)


def test_case_does_not_count_and_only_the_beginning_of_a_long_text_does() -> None:
    assert as_sets(["GUT Film"]) == as_sets(["gut film"])
    assert as_sets(["a" * HEAD + "b" * 10]) == as_sets(["a" * HEAD])


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=6), st.booleans(), st.integers(0, 3))
def test_cuts_stored_states_and_missing_texts_change_nothing(sizes: list[int], stored: bool, gap: int) -> None:
    reference = trigrams(texts(1, 50))
    found = trigrams(texts(2, sum(sizes), OTHER))
    whole = Wording(reference, 0)
    expected: dict[str, list[int]] = {}
    for one in whole.read(found):
        expected.setdefault(one.name, []).extend(one.levels.tolist())
    parts = Wording(reference, 0)
    levels: dict[str, list[int]] = {}
    start = 0
    for size in sizes:
        # Some texts are not kept; they are passed over wherever they stand.
        for one in parts.read(vstack([nothing_known(gap), found[start : start + size]], format="csr")):
            levels.setdefault(one.name, []).extend(one.levels.tolist())
            assert (one.texts >= gap).all()
        start += size
        if stored:
            state = json.loads(json.dumps(parts.state()))
            parts = Wording(reference, 0)
            parts.restore(state)
    assert (levels, parts.state()) == (expected, whole.state())


def test_a_classifier_scores_the_texts_after_those_it_was_trained_on() -> None:
    found = Wording(trigrams(texts(1, 50)), 0).read(trigrams(texts(2, SECOND + 5)))
    rows = {
        name: np.concatenate([one.texts for one in found if one.name == name]).tolist()
        for name in map(name_of, (FIRST, SECOND))
    }
    assert rows == {name_of(FIRST): list(range(FIRST, SECOND + 5)), name_of(SECOND): list(range(SECOND, SECOND + 5))}


def test_its_reference_is_the_half_of_the_test_rows_that_it_did_not_see() -> None:
    usual = texts(1, 51)
    reader = Wording(trigrams(usual), 3)
    with pytest.raises(KeyError):
        reader.reference(name_of(FIRST))
    reader.read(trigrams(texts(2, FIRST, OTHER)))
    order = np.random.default_rng(3).permutation(51)
    counts = np.zeros(LEVELS, np.int64)
    for row in order[25:]:
        (level,) = slow_levels([usual[row]], [usual[one] for one in order[:25]], texts(2, FIRST, OTHER))
        counts[level] += 1
    assert (reader.reference(name_of(FIRST)) == counts).all()


def slow_levels(scored: list[str], before: list[str], now: list[str]) -> list[int]:
    """The levels of texts by a classifier that is trained on these texts, one number at a time."""
    sets_before, sets_now = as_sets(before), as_sets(now)
    levels = []
    for buckets in as_sets(scored):
        total = 0.0
        for bucket in sorted(buckets):
            was, here = (sum(bucket in one for one in sets) for sets in (sets_before, sets_now))
            pooled = (was + here + 1) / (len(before) + len(now) + 2)
            error = np.sqrt(pooled * (1 - pooled) * (1 / len(now) + 1 / len(before)))
            share_now, share_before = (here + 0.5) / (len(now) + 1), (was + 0.5) / (len(before) + 1)
            if abs(share_now - share_before) >= 2 * error:
                total += round(float(np.log(share_now / share_before)), 6)
        levels.append(int((0.5 + np.arctan(total / np.sqrt(len(buckets))) / np.pi) * LEVELS))
    return levels


def with_short_ones(seed: int, rows: int) -> list[str]:
    """Texts of which a third is too short for a trigram."""
    return ["ok" if row % 3 == 0 else text for row, text in enumerate(texts(seed, rows + rows // 2 + 1))]


def ranks(seed: int, later: list[str]) -> np.ndarray:
    """p-values of the first classifier's score of texts after a reference of usual ones."""
    reader = Wording(trigrams(with_short_ones(seed, 60)), seed)
    levels = np.concatenate([one.levels for one in reader.read(trigrams(later)) if one.name == name_of(FIRST)])
    return ConformalStream(reader.reference(name_of(FIRST)), seed).p_values(levels)


def test_without_a_change_the_ranks_are_uniform_and_with_one_they_are_not() -> None:
    same = np.concatenate([ranks(seed, with_short_ones(1_000 + seed, SECOND)) for seed in range(60)])
    assert kstest(same, "uniform").pvalue > 0.001
    other = np.concatenate([ranks(seed, texts(1_000 + seed, SECOND, OTHER)) for seed in range(5)])
    assert other.mean() < 0.3
