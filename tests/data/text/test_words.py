"""Words are whole in every script that separates them by spaces, and the same as always in English."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.data.text.words import words


@pytest.mark.parametrize(
    "expected",
    [
        ["नमस्ते", "दुनिया"],  # Hindi: vowel signs and a virama
        ["தமிழ்", "மொழி"],
        ["বাংলা", "ভাষা"],
        ["ക്ഷ", "ന്\u200d"],  # Malayalam with a joiner
        ["مُحَمَّدٌ", "رَسُولٌ"],
        ["می\u200cخواهم"],  # Persian with a zero-width non-joiner inside a word
        ["שָׁלוֹם"],
        ["e\u0301te\u0301", "mañana", "Straße", "отличный"],
        ["I", "x²", "snake_case", "3"],
    ],
    ids=lambda found: found[0],
)
def test_a_word_is_whole_with_its_marks_and_joiners(expected: list[str]) -> None:
    assert words(" ".join(expected)) == expected
    assert words("«" + "», «".join(expected) + "»!") == expected


@pytest.mark.parametrize("text", ["很好看", "สนุกมาก", "とてもよい", "ຫຼາຍ", "ကောင်း"])
def test_every_character_is_a_word_in_scripts_without_spaces(text: str) -> None:
    assert words(text) == list(text)
    assert words(f"good {text} good") == ["good", *text, "good"]


@pytest.mark.parametrize("text", ["", " ", "!", "❤\ufe0f", "\u0301", "\u200d"])
def test_symbols_and_marks_alone_are_no_words(text: str) -> None:
    assert words(text) == []


# Without unassigned characters, which the two libraries take from different versions of Unicode.
LETTERS = st.characters(exclude_categories=["Cn", "Cs", "M"], max_codepoint=0xFFF, exclude_characters="\u200c\u200d")


@given(st.text(LETTERS))
def test_without_marks_words_are_runs_of_word_characters(text: str) -> None:
    unspaced = "\u0e00-\u0eff"
    expected = re.findall(rf"[{unspaced}]|[^\W{unspaced}]+", text)
    assert words(text) == expected
