"""Scripts are those of Unicode's tables, in real texts of many languages."""

from collections import Counter

import pytest
from fontTools import unicodedata
from hypothesis import given
from hypothesis import strategies as st

from headway.data.text.scripts import WITHOUT_SPACES, dominant_scripts, script_counts, share_without_spaces
from tests.real_texts import chinese, english, translations

LANGUAGES = {
    "ar": "Arabic",
    "bg": "Cyrillic",
    "el": "Greek",
    "he": "Hebrew",
    "hi": "Devanagari",
    "hy": "Armenian",
    "ka": "Georgian",
    "km": "Khmer",
    "ko": "Hangul",
    "my": "Myanmar",
    "pl": "Latin",
    "ta": "Tamil",
    "th": "Thai",
    "vi": "Latin",
    "zh_Hans": "Han",
}


def plain_count(text):
    """Script counts computed one character at a time."""
    codes = [unicodedata.script(char) for char in text]
    return Counter(unicodedata.script_name(code).replace("_", " ") for code in codes if code not in ("Zyyy", "Zinh", "Zzzz"))


@pytest.mark.parametrize(("language", "script"), LANGUAGES.items())
def test_a_language_is_written_in_its_script(language, script):
    texts = translations(language)
    counts = script_counts(texts)
    assert counts.most_common(1)[0][0] == script
    assert Counter(dominant_scripts(texts)).most_common(1)[0][0] == script


def test_japanese_is_written_in_three_scripts_without_spaces():
    counts = script_counts(translations("ja"))
    assert {"Han", "Hiragana", "Katakana"} <= {name for name, _ in counts.most_common(4)}
    assert share_without_spaces(counts) > 0.7


@pytest.mark.parametrize("texts", [english(200)[0], chinese(200)[0], translations("ja"), translations("he")])
def test_counts_equal_those_of_one_character_at_a_time(texts):
    assert script_counts(texts, head=10**6) == sum((plain_count(text) for text in texts), Counter())


@given(st.lists(st.text(st.characters()), max_size=8), st.integers(1, 10))
def test_any_text_is_counted_up_to_the_limit_and_its_dominant_script_is_the_most_frequent(texts, first):
    each = [plain_count(text[:first]) for text in texts]
    assert script_counts(texts, first) == sum(each, Counter())
    for dominant, counts in zip(dominant_scripts(texts, first), each, strict=True):
        assert counts[dominant] == max(counts.values(), default=0)


def test_counts_of_parts_add_up_to_the_counts_of_the_whole():
    texts = chinese(3000)[0] + translations("th")
    assert script_counts(texts[:1234]) + script_counts(iter(texts[1234:])) == script_counts(texts)


def test_only_the_beginning_of_a_long_text_counts():
    assert script_counts(["a" * 300 + "好" * 900]) == {"Latin": 300}
    assert dominant_scripts(["a" * 300 + "好" * 900, "好" + "a" * 300]) == ["Latin", "Latin"]


@pytest.mark.parametrize("text", ["", " \t\n", "2024-01-31 12:00", "!?…。「」", "👍🏽🎬", "\u0301", "\U000e0fff", "\ud800"])
def test_characters_without_a_script_do_not_count(text):
    assert script_counts([text]) == {}
    assert dominant_scripts([text]) == [""]


def test_no_texts_have_no_scripts():
    assert script_counts([]) == {}
    assert dominant_scripts([]) == []
    assert share_without_spaces({}) == 0


def test_the_scripts_without_spaces_are_known_to_unicode():
    names = {name.replace("_", " ") for name in unicodedata.Scripts.NAMES.values()}
    assert names >= WITHOUT_SPACES
    assert share_without_spaces({"Latin": 1, "Thai": 2, "Han": 1}) == 0.75
