"""Slices hold the rows that their names say, and an expression can ask but not act."""

import contextlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.errors import HeadwayError
from headway.evaluation.expressions import mask_of
from headway.evaluation.slices import check, slices, without_rows
from headway.params import EvaluationParams


def table(texts, labels, **more):
    columns = {
        "id": pa.array([f"row {index}" for index in range(len(texts))]),
        "text": pa.array(texts, pa.large_string()),
        "label": pa.array(labels, pa.string()),
        "label_id": pa.array([0] * len(texts), pa.int32()),
    }
    return pa.table({**columns, **{name: pa.array(values) for name, values in more.items()}})


def knobs(**named):
    return EvaluationParams(bootstrap_samples=100, confidence=0.9, min_slice_rows=1, slices=named)


ROWS = table(
    ["abc", "abcd", "很好", "ab", "difficult great", "а б в", "x" * 40, "good"],
    ["good", "bad", "bad", "good", "bad", "good", "new", "good"],
    source=["web", "web", "app", None, "app", "web", "web", "app"],
    stars=["3", "4.5", "1", None, "5", "2", "3", "1"],
    verified=[True, False, None, True, False, True, True, False],
)
COLUMNS = {name: ROWS[name] for name in ROWS.column_names}


def indices(found):
    return {name: np.flatnonzero(mask).tolist() for name, mask in found.items()}


def test_a_split_is_sliced_by_length_label_script_and_slice_columns():
    found = indices(slices(ROWS.drop_columns(["stars", "verified"]), ["bad", "good", "unseen"], knobs()))
    assert found == {
        "length: 2 to 2 characters": [2, 3],
        "length: 3 to 4 characters": [0, 1, 7],
        "length: 5 to 5 characters": [5],
        "length: 15 to 40 characters": [4, 6],
        "label: bad": [1, 2, 4],
        "label: good": [0, 3, 5, 7],
        "label: new": [6],  # which the model does not know
        "script: Cyrillic": [5],
        "script: Han": [2],
        "script: Latin": [0, 1, 3, 4, 6, 7],
        "source: app": [2, 4, 7],
        "source: web": [0, 1, 5, 6],
    }


def test_a_boolean_column_is_sliced_like_any_other():
    found = indices(slices(ROWS.select(["id", "text", "label", "label_id", "verified"]), ["bad"], knobs()))
    assert found["verified: True"] == [0, 3, 5, 6]
    assert found["verified: False"] == [1, 4, 7]


def test_a_slice_of_all_rows_is_left_out_unless_requested():
    same = table(["one two", "two one"], ["a", "a"], source=["web", "web"])
    assert slices(same, ["a"], knobs()) == {}
    assert indices(slices(same, ["a"], knobs(everything="length > 0"))) == {"everything": [0, 1]}


def test_a_column_with_too_many_values_can_only_be_used_in_conditions():
    many = table([f"text {index}" for index in range(60)], ["a"] * 60, price=list(range(60)))
    assert indices(slices(many, ["a"], knobs(dear="price >= 58")))["dear"] == [58, 59]
    assert not [name for name in slices(many, ["a"], knobs()) if name.startswith("price")]
    with pytest.raises(HeadwayError, match=r"evaluation\.slices\.p: column 'price' has 60 different values.*price > 100"):
        slices(many, ["a"], knobs(p="price"))


def test_a_column_can_be_named_instead_of_a_condition():
    found = indices(slices(ROWS.drop_columns(["source"]), ["bad"], knobs(rating="stars", sure="verified")))
    assert found["rating: 1"] == [2, 7]
    assert found["sure"] == [0, 3, 5, 6]


def test_a_slice_of_the_params_that_no_row_matches_is_kept_and_named():
    gone = table(["one two", "two one"], ["a", "b"], shop=pa.array([None, None], pa.string()))
    found = slices(gone, ["a", "b"], knobs(long="length > 2000", shops="shop", some="length > 1"))
    assert {name: mask.sum() for name, mask in found.items() if name in ("long", "shops", "some")} == {
        "long": 0,
        "shops": 0,
        "some": 2,
    }
    rows = {name: {"rows": int(mask.sum())} for name, mask in found.items()}
    assert without_rows(rows) == "no test row matches 2 slices: long, shops"
    assert without_rows({"some": {"rows": 2}}) == without_rows({}) == ""


@given(st.lists(st.integers(0, 60), min_size=1, max_size=40))
def test_the_quarters_by_length_are_parts_of_the_whole_and_no_length_is_in_two(lengths):
    found = slices(table(["x" * length for length in lengths], ["a"] * len(lengths)), ["a"], knobs())
    masks = [mask for name, mask in found.items() if name.startswith("length")]
    assert len(masks) <= 4
    if masks:
        assert (np.sum(masks, axis=0) == 1).all()
        parts = [set(np.array(lengths)[mask]) for mask in masks]
        assert sum(map(len, parts)) == len(set(lengths))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("label == 'good'", [0, 3, 5, 7]),
        ("label != 'good' and source == 'app'", [2, 4]),
        ("source in ['app', 'shop']", [2, 4, 7]),
        ("source not in ('app',)", [0, 1, 3, 5, 6]),
        ("'great' in text", [4]),
        ("'great' not in text and source == 'app'", [2, 7]),
        ("stars >= 4", [1, 4]),  # strings, compared as numbers
        ("1 < stars <= 3", [0, 5, 6]),
        ("stars in [1, 3]", [0, 2, 6, 7]),
        ("stars * 2 - 1 > -stars + 10", [1, 4]),
        ("stars / 2 == 2.5", [4]),
        ("not stars > 2", [2, 5, 7]),  # neither true nor false for a missing value
        ("verified", [0, 3, 5, 6]),
        ("not verified or stars == 3", [0, 1, 4, 6, 7]),
        ("verified == False", [1, 4, 7]),
        ("label == 'good' or source == 'app' and stars == 1", [0, 2, 3, 5, 7]),
    ],
)
def test_a_condition_is_true_for_the_rows_that_meet_it(expression, expected):
    assert np.flatnonzero(mask_of(expression, COLUMNS, "here")).tolist() == expected


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("sorce == 'web'", "no column 'sorce'; did you mean source?"),
        ("xyz > 1", "no column 'xyz'; known: id, text, label, label_id, source, stars, verified"),
        ("stars", "not a condition"),
        ("1 < 2", "not a condition"),
        ("text > 3", "expected a number"),
        ("label ==", "invalid syntax"),
        ("", "invalid syntax"),
        ("length > 3; import os", "invalid syntax"),
        ("x := 3", "invalid syntax"),
        ("__import__('os').system('true')", "is not supported"),
        ("text.__class__", "is not supported"),
        ("(lambda: 1)()", "is not supported"),
        ("[word for word in text]", "is not supported"),
        ("text[0] == 'a'", "is not supported"),
        ("stars ** 9999999 > 1", "is not supported"),
        ("f'{text}' == 'a'", "is not supported"),
        ("text is None", "is not supported"),
        ("label in [text]", "in a list is not supported"),
        ("label in ['a', 1]", "expected columns"),
        ("stars in stars", "expected a list after in"),
        ("stars > 99999999999999999999999999", "expected columns"),
        ("label and source", "expected columns"),
        ("not label", "expected columns"),
        ("(" * 500 + "stars" + ")" * 500, "expected columns"),
        ("\0", "expected columns"),
    ],
)
def test_an_invalid_condition_is_refused_in_one_line(expression, message):
    with pytest.raises(HeadwayError) as refusal:
        mask_of(expression, COLUMNS, "evaluation.slices.odd")
    assert str(refusal.value).startswith("evaluation.slices.odd: ")
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@given(st.text(max_size=30))
def test_any_text_gives_a_mask_or_an_error(expression):
    with contextlib.suppress(HeadwayError):
        assert mask_of(expression, COLUMNS, "here").shape == (8,)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("lenght > 10", "no column 'lenght'; did you mean length?"),
        ("shop == 'a' and stars > 3", "no column 'stars'"),
        ("length >", "invalid syntax"),
        ("text > 3", "expected a number"),
        ("script < 1", "expected a number"),
        ("not shop", "expected columns"),
        ("shop and length > 3", "expected columns"),
        ("shop + 1", "not a condition"),
        ("length > 3 if shop else 1", "is not supported"),
        ("text.__class__", "is not supported"),
        ("length in shop", "expected a list after in"),
        ("re.match('[', text)", "is not supported"),
        ("length > 99999999999999999999999999", "expected columns"),
        ("(" * 5000, "too many nested parentheses"),
    ],
)
def test_a_condition_that_cannot_be_computed_is_refused_before_there_is_a_table(params, expression, message):
    chosen = params.override({"data.slice_columns": ["shop"], "evaluation.slices": {"mine": expression}})
    with pytest.raises(HeadwayError, match=r"^evaluation\.slices\.mine: ") as caught:
        check(chosen)
    assert message in str(caught.value)


def test_conditions_on_columns_of_a_prepared_split_are_accepted(params):
    named = {
        "five": "shop >= 4 and label < 2",
        "sure": "label in ['a', 'b'] or shop == 'a'",
        "id": "id != 'x' and label_id == 1",
    }
    check(params.override({"data.slice_columns": ["shop"], "evaluation.slices": named}))
    named = {"long": "length > 10 and script == 'Latin'", "by shop": "shop", "some": 'shop in ["a", "b"] or -1 < length'}
    check(params.override({"data.slice_columns": ["shop"], "evaluation.slices": named}))


def test_a_list_may_contain_negative_numbers():
    assert mask_of("stars in [-1, 1]", COLUMNS, "here").tolist() == [False, False, True, False, False, False, False, True]
