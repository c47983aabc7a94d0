"""What has moved, and how far: shares, lengths, scripts and words, against slow and obvious counts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.monitoring.answers import COARSE, Counts, DailyCounts, confidence_levels, level_probabilities
from headway.monitoring.changes import MAX_SCORE, number_changes, text_changes
from tests.monitoring.streams import CLASSES, answers, days
from tests.real_texts import chinese, translations

USUAL = ["the film is quiet and moving", "a charming film", "the plot is a mess"] * 40


def changes(before: Counts, now: Counts) -> dict[str, tuple[float, float, float, float]]:
    return {one.what: (one.before, one.now, one.low, one.high) for one in number_changes(before, now, CLASSES)}


def test_numbers_are_those_of_the_answers() -> None:
    first, _ = answers(1, 500, positive=0.3)
    second, _ = answers(2, 400, positive=0.6, length=5.5)
    found = changes(Counts.of(first, 2), Counts.of(second, 2))
    was, now, low, high = found["texts predicted as positive"]
    assert (was, now) == ((first.predicted == 1).mean(), (second.predicted == 1).mean())
    assert 0 < low < now - was < high
    was, now, low, high = found["typical length of a text"]
    assert now == pytest.approx(np.expm1(np.log1p(second.characters).mean()), rel=1e-3)
    assert 1 < low < now / was < high
    assert found["unknown part of a text"][1] == pytest.approx(second.unknown_share.mean(), abs=1e-4)


def test_the_clearest_difference_is_first() -> None:
    found = number_changes(Counts.of(answers(1, 500)[0], 2), Counts.of(answers(2, 500, length=3.0)[0], 2), CLASSES)
    assert found[0].what == "typical length of a text"
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def test_intervals_hold_the_difference_nineteen_times_in_twenty() -> None:
    held = 0
    for seed in range(200):
        first, second = (answers(seed * 2 + one, 150, positive=0.5)[0] for one in (0, 1))
        _, _, low, high = changes(Counts.of(first, 2), Counts.of(second, 2))["texts predicted as positive"]
        held += low <= 0 <= high
    assert 181 <= held <= 199  # 0.1% beyond each end


def test_lengths_without_any_spread_have_a_finite_score() -> None:
    first, second = answers(1, 30)[0], answers(2, 30)[0]
    first.characters[:], second.characters[:] = 10, 20
    (length,) = [one for one in number_changes(Counts.of(first, 2), Counts.of(second, 2), CLASSES) if "length" in one.what]
    assert length.score == MAX_SCORE
    assert math.isfinite(length.high)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=5))
def test_counts_of_parts_add_up_to_those_of_the_whole(sizes: list[int]) -> None:
    whole, _ = answers(3, sum(sizes))
    total, start = Counts.empty(2), 0
    for size in sizes:
        total += Counts.of(whole.take(np.arange(start, start + size)), 2)
        start += size
    assert total.as_json() == Counts.of(whole, 2).as_json()
    assert Counts.from_json(total.as_json()).as_json() == total.as_json()


def test_the_recent_days_are_the_last_that_have_enough_rows() -> None:
    counts = DailyCounts(2)
    counts.add(days(5, 30))
    assert counts.recent(60) == ["2026-12-04", "2026-12-05"]
    assert counts.recent(61) == ["2026-12-03", "2026-12-04", "2026-12-05"]
    assert len(counts.recent(1_000)) == 5
    assert counts.total(counts.recent(60)).rows == 60


@given(st.lists(st.floats(0, 1), min_size=1))
def test_a_confidence_is_near_the_middle_of_its_step(probabilities: Sequence[float]) -> None:
    levels = confidence_levels(np.array(probabilities), COARSE)
    assert np.abs(level_probabilities()[levels] - np.array(probabilities)).max() < 0.021


def test_words_that_came_up_are_listed_with_examples() -> None:
    now = [*USUAL, *["refund please , the parcel never came"] * 30]
    found = text_changes(USUAL, now)
    words = [one.words for one in found.ngrams]
    assert {"refund", "parcel"} <= {part for words_of in words for part in words_of.split()}
    assert all(one.before < one.now for one in found.ngrams)
    assert all("refund" in example for example in found.examples)
    assert found.rows == len(now)


def test_the_same_texts_have_no_new_words() -> None:
    found = text_changes(USUAL, USUAL[:60])
    assert (found.ngrams, found.examples, found.scripts) == ([], [], [])


def test_random_halves_of_real_texts_have_hardly_any_new_words() -> None:
    texts = chinese(600)[0]
    found = 0
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(texts))
        mixed = [texts[row] for row in order]
        found += len(text_changes(mixed[:300], mixed[300:]).ngrams)
    assert found <= 2


def test_words_that_were_never_seen_count_even_if_few_texts_have_them() -> None:
    usual = USUAL * 10
    found = text_changes(usual, [*usual, *["parcel"] * 25])
    assert [one.words for one in found.ngrams] == ["parcel"]


@pytest.mark.parametrize("others", [chinese(40)[0], translations("ar")[:40]])
def test_another_script_is_named(others: list[str]) -> None:
    found = text_changes(USUAL, [*USUAL, *others])
    assert found.scripts
    assert found.scripts[0].what.startswith("texts in the script ")
    assert found.scripts[0].now > 0.1


def test_texts_without_words_are_no_error() -> None:
    assert text_changes(["", "…"], ["", "!!"] * 5).ngrams == []
