"""Scores are told from classes by their numbers alone: fractions, or many rare whole numbers."""

from collections import Counter

import pytest

from headway.data.preparation.scores import score_in
from tests.real_texts import english

TEXTS, _ = english(3_000)


@pytest.mark.parametrize(
    "labels",
    [
        [f"{1 + len(text) % 17 / 4:.2f}" for text in TEXTS],  # mean ratings in quarters, such as 3.75
        [str(len(text) / len(text.split())) for text in TEXTS],
        [f"${len(text) % 300 / 4:.2f}" for text in TEXTS],
        [f"{len(text) % 90 / 4}".replace(".", ",") for text in TEXTS],
        [f"{len(text) % 90 / 4}%" for text in TEXTS],
        [str(sum(map(ord, text)) % 2_003) for text in TEXTS],  # whole numbers, nearly all of them rare
        ["n/a"] * 100 + [str(len(text) / 7) for text in TEXTS],
        [f"{len(text) * 7.5:,.2f}" for text in TEXTS],  # 997.50 and 1,012.50
        [f"{len(text) * 7.5:_.2f}".replace(".", ",").replace("_", ".") for text in TEXTS],  # 997,50 and 1.012,50
        [f"{len(text) * 7.5:,.2f}".replace(",", "’") for text in TEXTS],
        [f"{len(text) * 7.5:,.2f}".replace(",", "\u202f").replace(".", ",") + " €" for text in TEXTS],
        [f"{1_000 * (len(text) % 30):,}" for text in TEXTS],  # whole, and in many rows, but no codes
        [f"{sum(map(ord, text)) % 2_003 * 997:,}".replace(",", " ") for text in TEXTS],
        [str(len(text) % 90 / 4).replace(".", ".,"[len(text) % 2]) for text in TEXTS],  # 3.5 and 3,75
    ],
)
def test_fractions_and_rare_whole_numbers_are_a_score(labels):
    score = score_in(Counter(labels))
    assert score is not None
    assert "expected" in score.describe("rating")
    assert "\n" not in score.describe("rating")


@pytest.mark.parametrize(
    "labels",
    [
        [str(1 + len(text) % 5) for text in TEXTS],
        [str(len(text) % 11) for text in TEXTS],
        [str(len(text) % 11 / 2) for text in TEXTS],  # half stars from 0 to 5
        [str(len(text) % 77) for text in TEXTS],  # ids of 77 classes
        [str(100 + len(text) % 150) for text in TEXTS],  # codes, each of them in many rows
        [f"{len(text) % 40}.{len(text) % 3}a" for text in TEXTS],
        [f"{100 + len(text) % 40} {200 + len(text) % 3}" for text in TEXTS],  # two codes, each pair of them in many rows
        [f"{len(text) % 77}.0" for text in TEXTS],  # ids that were read as floats
        [f"{100 + len(text) % 40},{10 + len(text) % 3},7" for text in TEXTS],
        [f"1.{100 + len(text) % 40}.{100 + len(text) % 3}" for text in TEXTS],  # codes of classes in a hierarchy
        ["positive", "negative", "3.75"] * 100,
        [],
    ],
)
def test_stars_ids_and_codes_are_classes(labels):
    assert score_in(Counter(labels)) is None


def test_the_proposed_points_cut_the_rows_into_three_parts_of_similar_size():
    values = [1 + len(text) % 17 / 4 for text in TEXTS]
    score = score_in(Counter(map(str, values)))
    assert score is not None
    low, high = score.cuts
    shares = [sum(part) / len(values) for part in zip(*[(v <= low, low < v <= high, v > high) for v in values], strict=True)]
    assert all(0.2 < share < 0.45 for share in shares)
    assert (score.distinct, score.low, score.high) == (17, 1.0, 5.0)


@pytest.mark.parametrize(
    ("labels", "low", "high"),
    [
        (["1,234", "999", *(f"{number},000" for number in range(2, 20))], 999, 19_000),
        (["1.234", "0.5", *(f"{number}.125" for number in range(2, 20))], 0.5, 19.125),
        (["1,234", "0,5", *(f"{number},125" for number in range(2, 20))], 0.5, 19.125),
        (["1.234", "99,50", *(f"{number}.000" for number in range(2, 20))], 99.5, 19_000),
        (["1.234.567", *(f"{number}.000" for number in range(2, 20))], 2_000, 1_234_567),
        (["1 234,5", *(f"{number},0" for number in range(2, 20))], 2, 1_234.5),
    ],
)
def test_the_labels_together_decide_which_sign_stands_before_the_fraction(labels, low, high):
    score = score_in(Counter(labels))
    assert score is not None
    assert (score.low, score.high) == (low, high)


def test_a_score_with_one_frequent_value_has_cuts_below_its_highest_one():
    rows = Counter({"5.0": 1_000, **{f"{number / 10}": 1 for number in range(1, 30)}})
    score = score_in(rows)
    assert score is not None
    assert all(cut < 5 for cut in score.cuts)


def test_the_advice_for_a_column_that_pandas_reads_as_text_begins_with_making_numbers_of_it():
    plain, text = (score_in(Counter(f"{number:{form}}" for number in range(1_000, 90_000, 501))) for form in ("", ","))
    assert "expected; make classes" in plain.describe("price")
    assert "expected; turn the column into numbers, then make classes" in text.describe("price")
