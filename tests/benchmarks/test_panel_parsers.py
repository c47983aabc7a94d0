"""Each parser of the panel on a few lines in the format of its files."""

from __future__ import annotations

import io
import math

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo

from benchmarks.panel import parsers

THREE = {"negative": -0.5, "neutral": 0.5, "positive": math.inf}


def test_white_space_becomes_one_space_except_between_characters_of_scripts_without_spaces() -> None:
    assert parsers.one_line(" a\t b\n c ") == "a b c"
    assert parsers.one_line("取り扱って、\n 渡す ライブラリ") == "取り扱って、渡すライブラリ"
    assert parsers.one_line("Python を\n使う") == "Python を使う"
    assert parsers.one_line("한국어\n문장") == "한국어 문장"


def test_a_rating_on_a_bound_belongs_to_the_class_above() -> None:
    content = '1\t-0.51\tbad\n2_1\t-0.5\tso "so\n3\t0.49\tfair\n4\t0.5\tgood\tindeed\n5\t4\tgreat\n\nno cells\n'
    assert list(parsers.ratings(content, THREE)) == [
        ("bad", "negative"),
        ('so "so', "neutral"),
        ("fair", "neutral"),
        ("good indeed", "positive"),
        ("great", "positive"),
    ]


def test_fortunes_are_separated_by_lines_of_a_per_cent_sign() -> None:
    content = "One\n  thing\n\t-- A. Author\n%\n100 % sure\n%  \n\n%\nlast\n"
    assert list(parsers.fortunes(content, "art")) == [
        ("One thing -- A. Author", "art"),
        ("100 % sure", "art"),
        ("last", "art"),
    ]


def test_a_gloss_follows_the_bar_and_its_class_is_the_lexicographer_file() -> None:
    content = (
        "  1 This software and database is being provided to you\n"
        "00001740 03 n 01 entity 0 003 ~ 00001930 n 0000 | that which is perceived  \n"
        '00001837 29 v 01 breathe 0 | draw air in | or out; "I can breathe"\n'
    )
    assert list(parsers.glosses(content)) == [
        ("that which is perceived", "03"),
        ('draw air in | or out; "I can breathe"', "29"),
    ]


def test_news_entries_have_their_section_and_no_reference() -> None:
    content = """<h3>Navigation</h3><ul><li>index</li></ul><li>before any section</li>
        <h2>3.11.2</h2><h3>Core and Builtins<a href="#x">¶</a></h3><ul>
        <li><p><a href="y">gh-100001</a>: Fix <code>int</code>
        parsing.</p><ul><li>inner point</li></ul></li>
        <li><p>bpo-1, bpo-22: Two.</p></li><li><p>No reference: kept.</p></li></ul>
        <h3>Library<a>¶</a></h3><ul><li>Issue #7: Old.</li></ul><h2>3.11.1</h2><ul><li>no section</li></ul>"""
    assert parsers.python_news(content) == [
        ("Fix int parsing.inner point", "Core and Builtins"),
        ("Two.", "Core and Builtins"),
        ("No reference: kept.", "Core and Builtins"),
        ("Old.", "Library"),
    ]


PACKAGES = """Package: a
Section: games
Description: a game
Description-md5: 1

Package: b
Description: a tool
 and more
Section: contrib/utils
Description-md5: 2
"""
TRANSLATIONS = """Package: a
Description-md5: 1
Description-de: ein Spiel
 Ein Spiel mit
 Bällen.
 .
 Ende

Package: gone
Description-md5: 3
Description-de: kein Paket
"""


def test_descriptions_get_the_section_of_their_package() -> None:
    assert list(parsers.descriptions([PACKAGES], [TRANSLATIONS], "en")) == [
        ("a game", "games"),
        ("a tool and more", "utils"),
    ]
    assert list(parsers.descriptions([PACKAGES], [TRANSLATIONS], "de")) == [
        ("ein Spiel Ein Spiel mit Bällen. Ende", "games")
    ]
    assert list(parsers.descriptions([PACKAGES], [TRANSLATIONS], "ja")) == []


def test_a_catalogue_gives_the_messages_that_are_translated() -> None:
    catalog = Catalog(locale="de")
    catalog.add("Home", "Start")
    catalog.add("Name", "Name")
    catalog.add("missing", "")
    catalog.add(("day", "days"), ("Tag", "Tage"))
    file = io.BytesIO()
    write_mo(file, catalog)
    assert sorted(parsers.catalogue(file.getvalue(), "de")) == [("Start", "de"), ("Tag", "de"), ("Tage", "de")]


def test_verses_have_the_place_of_their_chapter() -> None:
    content = (
        '[{"type": "meccan", "verses": [{"text": "a"}, {"text": "b"}]}, {"type": "medinan", "verses": [{"text": "c"}]}]'
    )
    assert list(parsers.verses(content)) == [("a", "meccan"), ("b", "meccan"), ("c", "medinan")]


def test_utterances_have_the_first_category_of_their_file() -> None:
    content = "categories:\n- food\n- chat\nconversations:\n- - What do you eat?\n  - I do not eat.\n- - 42\n  - 'Yes'\n"
    assert list(parsers.conversations(content)) == [("What do you eat?", "food"), ("I do not eat.", "food"), ("Yes", "food")]


def test_every_line_and_every_file_is_a_text() -> None:
    assert list(parsers.lines("good\n\n  \nfine \n", "positive")) == [("good", "positive"), ("fine", "positive")]
    assert list(parsers.labelled({"tech": ["a\nb\n"], "sport": ["c"]})) == [("a\nb", "tech"), ("c", "sport")]
