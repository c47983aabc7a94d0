"""Cells: samples of large sets, classes that a sample has too few rows of, and shares of the splits."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.panel import cells, parsers
from benchmarks.panel.cells import LARGE_ROWS, MAX_ROWS, SMALL_ROWS, Cell, all_cells, cells_of, load
from benchmarks.panel.packages import Unavailable
from benchmarks.panel.sets import PanelSet


def numbers(rows: int, classes: int = 2) -> list[tuple[str, str]]:
    return [(f"text {number}", f"class {number % classes}") for number in range(rows)]


def panel_set(rows: Iterable[tuple[str, str]], name: str = "numbers") -> PanelSet:
    return PanelSet(name, "en", "Latin", "MIT", "a package", lambda: rows)


def found(rows: list[tuple[str, str]]) -> list[Cell]:
    one = panel_set(rows)
    return list(cells_of(one, one.load()))


def test_large_sets_are_sampled_too_and_each_sample_contains_the_smaller_ones() -> None:
    samples = found(numbers(MAX_ROWS + 1))
    assert [(cell.name, len(cell.frame)) for cell in samples] == [
        ("numbers-500", 500),
        ("numbers-2000", 2_000),
        ("numbers-8000", 8_000),
        ("numbers", MAX_ROWS),
    ]
    texts = [set(cell.frame["text"]) for cell in samples]
    assert texts[0] < texts[1] < texts[2] < texts[3]


def test_other_sets_are_one_cell() -> None:
    (cell,) = found(numbers(LARGE_ROWS - 1))
    assert (cell.name, len(cell.frame), cell.classes) == ("numbers", LARGE_ROWS - 1, 2)


def test_a_sample_depends_on_the_texts_alone() -> None:
    assert set(found(numbers(LARGE_ROWS))[0].frame["text"]) == set(found(numbers(LARGE_ROWS)[::-1])[0].frame["text"])


def test_a_sample_drops_classes_with_few_rows_and_is_left_out_if_they_are_most() -> None:
    rare = [(f"rare {number}", f"rare {number % 20}") for number in range(LARGE_ROWS // 4)]
    assert found([*numbers(LARGE_ROWS), *rare])[0].classes < 22
    assert [cell.name for cell in found(numbers(LARGE_ROWS, classes=100))] == ["numbers-2000", "numbers-8000", "numbers"]


def test_small_cells_hold_out_more_rows() -> None:
    (small,), (large,) = found(numbers(SMALL_ROWS - 1)), found(numbers(SMALL_ROWS))
    assert small.is_small
    assert small.split["split.test"] > large.split["split.test"]
    assert sum(small.split.values()) == sum(large.split.values()) == pytest.approx(1)


def test_the_fingerprint_follows_texts_and_labels() -> None:
    rows = [("ab", "xy"), ("ab", "xx"), ("ac", "xy")]
    frames = [pd.DataFrame({"text": list(texts), "label": list(labels)}) for texts, labels in rows]
    fingerprints = [Cell(panel_set([]), 0, frame).fingerprint for frame in (*frames, frames[0].copy())]
    assert len(set(fingerprints)) == 3
    assert fingerprints[0] == fingerprints[3]


def test_rows_are_read_once_and_sets_that_cannot_be_had_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "FOLDER", tmp_path)
    read = []

    def rows() -> list[tuple[str, str]]:
        read.append(True)
        return numbers(100)

    def nothing() -> list[tuple[str, str]]:
        raise Unavailable("npm is not on this machine")

    kept = PanelSet("kept", "en", "Latin", "MIT", "a package", rows)
    assert load(kept).equals(load(kept))
    assert len(read) == 1
    gone = PanelSet("gone", "en", "Latin", "MIT", "a package", nothing)
    other = PanelSet("other", "en", "Latin", "MIT", "a package", lambda: parsers.verses("{}["))
    measured, skipped = all_cells([panel_set(numbers(300), "more"), gone, other, kept])
    assert [cell.name for cell in measured] == ["kept", "more"]
    assert list(skipped) == ["gone", "other"]
    assert skipped["gone"] == "npm is not on this machine"
    assert "JSONDecodeError" in skipped["other"]
