"""Text of others is harmless on a terminal and in Markdown, and ordinary text does not change."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.foreign_text import lines, markdown, one_line

ORDINARY = [
    "A joy from the first scene to the last; 100% “great” — naïve café.",
    "我喜欢这部电影",
    "فیلم می‌خواهم، دوست داشتم",
    "क्‍ष और हिन्दी",
    "שלום עולם",
    "ภาษาไทย",
    "👨‍👩‍👧 👍🏽 🏴󠁧󠁢󠁥󠁮󠁧󠁿 🇩🇪 ❤️",
    "C:\\data\\x",
]


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_of_every_script_stays_as_it_is(text):
    assert one_line(text) == text
    assert lines(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("\x1b]8;;http://evil\x1b\\click\x1b]8;;\x07", r"\x1b]8;;http://evil\x1b\click\x1b]8;;\x07"),
        ("spam\r\n3 decisions, none altered", r"spam\r\n3 decisions, none altered"),
        ("a\tb\x00\x7f\x9b31m", r"a\tb\x00\x7f\x9b31m"),
        ("\u202egnp.exe\u2069", r"\u202egnp.exe\u2069"),
        ("sp\u200bam\ufeff\u2060", r"sp\u200bam\ufeff\u2060"),
        ("sp\u200dam \u200cx", r"sp\u200dam \u200cx"),
        ("a\u2028b\u2029", r"a\u2028b\u2029"),
        ("file\udcff", r"file\udcff"),
        ("x\U000e0041", r"x\U000e0041"),
    ],
)
def test_what_moves_hides_or_reorders_is_written_as_an_escape(text, shown):
    assert one_line(text) == shown


@given(st.text(st.characters() | st.sampled_from("\x1b\r\n\x9b\u202e\u200b")))
def test_no_control_character_survives_and_a_second_time_changes_nothing(text):
    shown = one_line(text)
    assert not [one for one in shown if unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp")]
    assert one_line(shown) == shown


def test_lines_keep_their_line_breaks_and_nothing_else():
    assert lines("a\tb\n\x1b[1mc\r\n") == "a\tb\n\\x1b[1mc\\r\n"


@pytest.mark.parametrize(
    "text",
    [
        "# Heading",
        "a\n\n## Heading",
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[text](http://evil.example)",
        "![image](http://evil.example/x.png)",
        "http://evil.example and www.evil.example",
        "<http://evil.example>",
        "a | b",
        "`code` **bold** _emphasis_ ~~gone~~",
        "1. first",
        "- item",
        "> quote",
        "title\n===",
        "&lt;b&gt; &#60;b&#62;",
        "back\\slash\\",
    ],
)
def test_markdown_shows_the_text_itself_without_markup_of_its_own(text):
    from markdown_it import MarkdownIt

    parser = MarkdownIt("gfm-like", {"html": True, "linkify": False}).disable("linkify")
    (table, *_) = parser.parse(f"| a | b |\n| --- | --- |\n| {markdown(text)} | end |\n")
    assert table.type == "table_open"
    for page in (
        f"- {markdown(text)}\n",
        f"| a | b |\n| --- | --- |\n| {markdown(text)} | end |\n",
        f"x\n\n{markdown(text)}\n",
    ):
        inline = [token for token in parser.parse(page) if token.type == "inline"]
        pieces = [child for token in inline for child in token.children or []]
        assert {piece.type for piece in pieces} <= {"text", "text_special"}, markdown(text)
        kinds = {token.type for token in parser.parse(page)}
        assert not kinds & {
            "heading_open",
            "html_block",
            "blockquote_open",
            "ordered_list_open",
            "fence",
            "code_block",
            "hr",
        }
        shown = ["".join(piece.content for piece in token.children or []) for token in inline]
        assert " ".join(text.split()) in shown
    assert not re.search(r"(?<!\\)://|www\.", markdown(text).replace("\\://", ""))
