"""Rows of a set are cleaned, a package that cannot be had is no crash, and the list of sets is what the issue asks for."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.panel import packages, parsers, sets
from benchmarks.panel.packages import Unavailable
from benchmarks.panel.parsers import Row
from benchmarks.panel.sets import BY_NAME, MIN_CLASS_ROWS, SETS, PanelSet, clean, is_word

MANY = [(f"text {number}", "ab"[number % 2]) for number in range(2 * MIN_CLASS_ROWS)]


def test_the_panel_has_ten_sets_four_languages_and_three_scripts() -> None:
    assert len(BY_NAME) == len(SETS) >= 10
    assert len({one.language for one in SETS} - {"many"}) >= 4
    assert len({one.script for one in SETS} - {"many"}) >= 3
    assert all(one.licence and one.package for one in SETS)


def test_duplicates_conflicts_empty_texts_and_small_classes_are_left_out() -> None:
    rows = [*MANY, MANY[0], ("text 1", "a"), ("  ", "a"), *((f"rare {number}", "c") for number in range(MIN_CLASS_ROWS - 1))]
    rows += [(f"more {number}", "b") for number in range(3)]
    frame = clean(rows)
    assert sorted(frame["text"]) == sorted([text for text, _ in MANY if text != "text 1"] + [f"more {n}" for n in range(3)])
    assert set(frame["label"]) == {"a", "b"}
    assert frame.attrs["left_out"] == (
        "duplicates: 1; empty texts: 1; rows with conflicting labels: 2; classes with fewer than 10 rows: 1"
    )


def test_nothing_is_said_if_nothing_is_left_out() -> None:
    assert clean(MANY).attrs["left_out"] == ""


@given(st.integers(), st.lists(st.tuples(st.sampled_from(["x", "y", "z"]), st.sampled_from("ab")), max_size=8))
def test_the_order_of_the_rows_does_not_matter(seed: int, more: list[tuple[str, str]]) -> None:
    rows = [*MANY, *more]
    shuffled = random.Random(seed).sample(rows, len(rows))
    assert clean(rows).equals(clean(shuffled))


def test_a_set_that_cannot_be_had_is_skipped_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nothing() -> list[tuple[str, str]]:
        raise Unavailable("apt-get is not on this machine")

    found = [
        PanelSet("there", "en", "Latin", "MIT", "a package", lambda: MANY),
        PanelSet("gone", "en", "Latin", "MIT", "a package", nothing),
    ]
    monkeypatch.setattr(sets, "BY_NAME", {one.name: one for one in found})
    monkeypatch.setattr("sys.argv", ["sets"])
    sets.main()
    shown = capsys.readouterr().out
    assert "gone is skipped: apt-get is not on this machine" in shown
    assert "there" in shown


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        (lambda: parsers.verses('[{"verse": []}]'), "KeyError"),
        (lambda: parsers.verses("["), "JSONDecodeError"),
        (lambda: parsers.verses('["a"]'), "TypeError"),
        (lambda: parsers.verses('[{"type": "a", "verses": [{"text": null}]}]'), "AttributeError"),
        (lambda: parsers.glosses("00001740\n"), "IndexError"),
        (lambda: parsers.ratings("1\tgood\ta text", {"a": 1.0}), "ValueError"),
        (lambda: parsers.conversations("a: [1"), "ParserError"),
        (lambda: parsers.catalogue(b"no catalogue at all.", "a"), "OSError"),
        (lambda: parsers.lines(b"\xff".decode(), "a"), "UnicodeDecodeError"),
        (list, "no texts"),
    ],
)
def test_a_package_with_another_layout_is_unavailable(rows: Callable[[], Iterable[Row]], named: str) -> None:
    with pytest.raises(Unavailable, match=f"PyPI numbers.*{named}"):
        PanelSet("numbers", "en", "Latin", "MIT", "PyPI numbers", rows).load()


@pytest.mark.parametrize(
    "name", ["tweets", "python-news", "wordnet", "bbc-news", "verses", "talk-fa", "fortunes-de", "names-th"]
)
def test_a_package_without_the_expected_files_is_unavailable(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for registry in ("pypi", "npm", "debian"):
        monkeypatch.setattr(packages, registry, lambda package, source=False: tmp_path)
    with pytest.raises(Unavailable, match=BY_NAME[name].package):
        BY_NAME[name].load()


def test_a_mistake_in_the_code_is_no_unavailable_package() -> None:
    def mistaken() -> list[Row]:
        raise NameError("rows")

    with pytest.raises(NameError):
        PanelSet("numbers", "en", "Latin", "MIT", "PyPI numbers", mistaken).load()


def test_installed_packages_need_no_download() -> None:
    frame = BY_NAME["chinese-reviews"].load()
    assert len(frame) > 15_000
    assert set(frame["label"]) == {"negative", "positive"}
    messages = BY_NAME["messages"].load()
    assert messages["label"].nunique() > 80


def test_a_topic_is_a_word_and_no_shelf_mark() -> None:
    assert [name for name in ("2001.03", "b11", "d1", "M$", "adv_v", "polit") if is_word(name)] == ["adv_v", "polit"]
