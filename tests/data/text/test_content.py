"""Whether a text says anything: the rule, and that no tokenizer leaves nothing of a text that says something."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.data.text.content import has_text, problem
from headway.data.tokenization import fitting
from headway.data.tokenization.tokenizer import TextEncoder
from headway.params import Params

BLANK = [
    "",
    " ",
    "\n\t\r\x0b",
    "\u00a0",
    "\u3000",
    "\u200b\ufeff",
    "\u2060\u200d",
    "\x00\x1f\x7f",
    "\ue000",
    "\u3164",
    "\ufe0f",
]
BLANK += [
    "\u2800",
    "\ufffd\ufffd",
    "<br /><br/>",
    "&nbsp; <p></p>",
    '<a href = "x">',
    "<a href=x disabled>",
    "<!-- a note -->",
]
VISIBLE = [
    "x",
    "0",
    "None",
    "nan",
    "👍",
    "❤\ufe0f",
    "...",
    "好",
    "\u0301",
    "<3",
    "<",
    "a <b> c",
    "<sigh>",
    "&",
    "AT&T",
    "กา",
    "نَص",
]
MISSING = [None, float("nan"), np.nan, np.float32("nan"), pd.NA, pd.NaT, np.datetime64("NaT")]


@pytest.mark.parametrize("text", BLANK)
def test_a_text_without_a_visible_character_has_no_text(text: str) -> None:
    assert not has_text(text)
    assert problem(text) == "the text is empty"


@pytest.mark.parametrize("text", VISIBLE)
def test_a_text_with_a_visible_character_has_text_whatever_is_around_it(text: str) -> None:
    assert has_text(text)
    assert has_text(" \u200b<br />" + text + "&nbsp;\n")
    assert problem(text) == ""


@pytest.mark.parametrize("value", MISSING, ids=repr)
def test_missing_values_of_every_library_are_missing(value: object) -> None:
    assert problem(value) == "the text is missing"


@pytest.mark.parametrize(
    "value", [7, 1.5, True, b"bytes", ["a"], {"a": 1}, np.array(["a", "b"]), np.array([1.0]), {1, 2}], ids=repr
)
def test_any_other_value_is_named_by_its_type(value: object) -> None:
    assert type(value).__name__ in problem(value)


def test_a_string_that_is_not_unicode_says_where() -> None:
    assert problem("half \ud800") == "the text is not valid Unicode at character 6"


def test_long_runs_of_blanks_and_unfinished_markup_take_linear_time() -> None:
    for text in (" " * 300_000, "<br>" * 50_000, "<a " + " " * 300_000, "<a " * 100_000, "<!--" * 50_000, "&" * 100_000):
        assert has_text(text) == (text.strip() not in ("", "<br>" * 50_000))


@pytest.fixture(scope="module", params=["word", "bpe", "unigram"])
def encoder(request: pytest.FixtureRequest, params: Params) -> TextEncoder:
    knobs = params.override({"tokenizer.kind": request.param, "tokenizer.vocabulary_size": 400}).tokenizer
    texts = ["a charming, funny film", "好看 的 电影", "a tedious mess", "好看"] * 50
    return TextEncoder(fitting.fit(texts, knobs, fitting.measure(texts)), 40)


@given(st.lists(st.one_of(st.sampled_from([*BLANK, *VISIBLE]), st.characters(exclude_categories=["Cs", "Cn"])), max_size=6))
def test_every_tokenizer_leaves_tokens_of_a_text_that_has_text(encoder: TextEncoder, pieces: list[str]) -> None:
    """Otherwise training would learn from texts that have become empty, and serving would classify them."""
    text = "".join(pieces)
    ids = encoder.tokenizer.encode(text, add_special_tokens=False).ids
    if has_text(text):
        assert ids
