"""Corrections come back from a spreadsheet, are checked, and replace labels at ingest, wherever the rows have moved."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from headway.data.corrections import read, row_id
from headway.data.preparation.ingested import Manifest as Prepared
from headway.data.preparation.label_map import LabelMap
from headway.data.preparation.profile import _corrections
from headway.data.sources.manifest import Manifest
from headway.errors import HeadwayError
from headway.layout import Layout
from headway.params import Params
from headway.stages.ingest import ingest
from tests.real_texts import chinese

ROWS = [("A fine film", "good"), ("Dull, and long", "good"), ("So so", "bad"), ("Awful", "bad")]
HEADER = ["id", "split", "label", "suggested_label", "probability", "right_label", "text"]
Correct = Callable[..., Manifest]


def write_list(path: Path, rows: Sequence[tuple[str, str, str]], encoding: str = "utf-8-sig", delimiter: str = ",") -> None:
    """A list with texts, given labels and right labels."""
    path.parent.mkdir(exist_ok=True, parents=True)
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(HEADER)
        for text, label, right in rows:
            writer.writerow([row_id(text, label), "train", label, "x", "0.9", right, text])


@pytest.fixture
def correct(params: Params, project: Layout) -> Correct:
    """Ingests rows with the corrections in the lists of the project."""

    def run(rows: Sequence[tuple[str, str]] = ROWS, pattern: str = "*", **knobs: Any) -> Manifest:
        with (project.root / "own.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *rows])
        chosen = {"data.source": "file", "data.path": "own.csv", "data.corrections": pattern, **knobs}
        return ingest(params.override(chosen), project)

    return run


def labels(layout: Layout) -> list[str | None]:
    return list(pq.read_table(layout.raw / "rows.parquet")["label"].to_pylist())


def test_a_filled_in_row_replaces_the_label_and_the_counts_say_so(correct: Correct, project: Layout) -> None:
    write_list(project.corrections / "list.csv", [("Dull, and long", "good", "bad"), ("So so", "bad", "")])
    manifest = correct()
    assert labels(project) == ["good", "bad", "bad", "bad"]
    assert manifest.label_counts == {"good": 1, "bad": 3}
    assert manifest.corrections is not None
    assert (manifest.corrections.files, manifest.corrections.texts) == (["list.csv"], 1)
    assert (manifest.corrections.rows, manifest.corrections.unmatched) == (1, 0)
    assert manifest.corrections.rows_by_label == {"bad": 1}


def test_corrections_change_the_fingerprint_of_the_data(correct: Correct, project: Layout) -> None:
    write_list(project.corrections / "list.csv", [("Awful", "bad", "bad")])
    before = correct().rows_sha256
    write_list(project.corrections / "list.csv", [("Awful", "bad", "good")])
    assert correct().rows_sha256 != before == correct(pattern="").rows_sha256


def test_rows_may_move_and_be_repeated_in_another_case(correct: Correct, project: Layout) -> None:
    write_list(project.corrections / "list.csv", [("Dull, and long", "good", "bad")])
    manifest = correct([*ROWS[::-1], ("DULL, and  long<br/>", "good")])
    assert labels(project) == ["bad", "bad", "bad", "good", "bad"]
    assert manifest.corrections is not None
    assert (manifest.corrections.rows, manifest.corrections.unmatched) == (2, 0)


def test_a_row_whose_text_or_label_has_changed_stays_as_it_is_and_is_counted(correct: Correct, project: Layout) -> None:
    rows = [("Dull, and long", "awful", "bad"), ("Gone", "good", "bad"), ("Awful", "bad", "good")]
    write_list(project.corrections / "list.csv", rows)
    manifest = correct()
    assert labels(project) == ["good", "good", "bad", "good"]
    assert manifest.corrections is not None
    assert (manifest.corrections.texts, manifest.corrections.unmatched) == (3, 2)


def test_a_row_that_was_corrected_in_the_source_is_matched(correct: Correct, project: Layout) -> None:
    write_list(project.corrections / "list.csv", [("Awful", "good", "bad")])
    manifest = correct()
    assert manifest.corrections is not None
    assert (manifest.corrections.rows, manifest.corrections.unmatched) == (0, 0)


@pytest.mark.parametrize(("encoding", "delimiter"), [("utf-8-sig", ";"), ("utf-8", ","), ("utf-16", "\t"), ("cp1252", ";")])
def test_a_list_may_come_back_from_a_spreadsheet_in_other_formats(
    correct: Correct, project: Layout, encoding: str, delimiter: str
) -> None:
    rows = [("Très bien, « déjà vu »", "négatif"), ("Mauvais; très mauvais", "positif")]
    corrected = [(*rows[0], "à voir"), (*rows[1], "négatif")]
    write_list(project.corrections / "list.csv", corrected, encoding, delimiter)
    correct(rows)
    assert labels(project) == ["à voir", "négatif"]


def test_labels_and_texts_of_another_script_are_corrected(correct: Correct, project: Layout) -> None:
    texts, _ = chinese(40)
    write_list(project.corrections / "list.csv", [(texts[0], "坏", "好"), ("فيلم سيئ", "جيد", "سيئ")])
    correct([*((text, "坏") for text in texts), ("فيلم سيئ", "جيد")])
    assert [label for label in labels(project) if label != "坏"] == ["好", "سيئ"]


@pytest.mark.parametrize(("given", "typed", "right"), [("-1", "'1", "'1"), ("1", "'-1", "-1"), ("1", "1.0", "1")])
def test_an_apostrophe_before_a_label_is_undone_where_a_list_has_one(
    correct: Correct, project: Layout, given: str, typed: str, right: str
) -> None:
    write_list(project.corrections / "list.csv", [("Awful", given, typed)])
    correct([("Awful", given), ("Fine", "0")])
    assert labels(project)[0] == right


def test_a_label_that_a_spreadsheet_changed_in_its_own_column_still_matches(correct: Correct, project: Layout) -> None:
    write_list(project.corrections / "list.csv", [("Awful", "true", "false")])
    file = project.corrections / "list.csv"
    file.write_text(file.read_text(encoding="utf-8-sig").replace(",true,", ",TRUE,"), encoding="utf-8")
    correct([("Awful", "true"), ("Fine", "true")])
    assert labels(project) == ["false", "true"]


@pytest.mark.parametrize(
    ("given", "typed", "right"),
    [
        ("true", "FALSE", "false"),
        ("False", "TRUE", "True"),
        ("TRUE", "false", "FALSE"),
        ("yes", "FALSE", "FALSE"),
        ("true", "Falsey", "Falsey"),
    ],
)
def test_a_right_label_that_a_spreadsheet_takes_for_a_boolean_is_spelled_as_the_data_spell_it(
    correct: Correct, project: Layout, given: str, typed: str, right: str
) -> None:
    write_list(project.corrections / "list.csv", [("Awful", given, typed)])
    correct([("Awful", given), ("Fine", given)])
    assert labels(project) == [right, given]


def test_a_boolean_stays_as_typed_if_the_data_spell_it_in_several_ways(correct: Correct, project: Layout) -> None:
    write_list(project.corrections / "list.csv", [("Awful", "true", "FALSE"), ("Fine", "False", "")])
    correct([("Awful", "true"), ("Fine", "False")])
    assert labels(project) == ["FALSE", "False"]


def test_several_spellings_of_a_class_may_be_confirmed(correct: Correct, project: Layout) -> None:
    rows = [("Awful", "Bad"), ("AWFUL", "B"), ("Fine", "Good")]
    write_list(project.corrections / "list.csv", [("Awful", "Bad", "Bad"), ("AWFUL", "B", "B"), ("Fine", "Good", "")])
    manifest = correct(rows, **{"data.label_map": {"B": "Bad"}})
    assert labels(project) == ["Bad", "B", "Good"]
    assert manifest.corrections is not None
    assert (manifest.corrections.texts, manifest.corrections.rows, manifest.corrections.unmatched) == (1, 0, 0)


@pytest.mark.parametrize("right", [("Bad", "Good"), ("Good", "B"), ("Good", "Fair")])
def test_a_confirmed_label_and_another_right_one_contradict(
    correct: Correct, project: Layout, right: tuple[str, str]
) -> None:
    write_list(project.corrections / "list.csv", [("Awful", "Bad", right[0]), ("AWFUL", "B", right[1])])
    with pytest.raises(HeadwayError) as caught:
        correct()
    assert "row 2" in str(caught.value)


@pytest.mark.parametrize(
    ("filled", "label_map", "new"),
    [
        ([("So so", "bad", "good"), ("Awful", "bad", "good"), ("A fine film", "good", "bad")], {}, []),  # bad lost its rows
        ([("So so", "bad", "fair")], {}, ["fair"]),
        ([("So so", "bad", "B"), ("Awful", "bad", "B")], {"bad": "B"}, []),
    ],
)
def test_a_class_is_new_if_no_row_had_it_before(
    correct: Correct, params: Params, project: Layout, filled: Any, label_map: dict[str, str], new: list[str]
) -> None:
    write_list(project.corrections / "list.csv", filled)
    manifest = correct(**{"data.label_map": label_map})
    profiled = _corrections(Prepared.model_validate(asdict(manifest)), LabelMap(label_map))
    assert profiled is not None
    assert profiled.new_classes == new


def test_several_lists_are_applied_and_only_lists_are_read(correct: Correct, project: Layout) -> None:
    write_list(project.corrections / "1.csv", [("Awful", "bad", "good")])
    write_list(project.corrections / "2.csv", [("So so", "bad", "good")])
    (project.corrections / "README.md").write_text("Corrections go here")
    (project.corrections / "._1.csv").write_bytes(b"\x00\x05\x16\x07Mac OS X")
    (project.corrections / ".old").mkdir()
    write_list(project.corrections / ".old" / "3.csv", [("A fine film", "good", "bad")])
    assert correct().corrections == correct(pattern="*.csv").corrections == correct(pattern="**/*.csv").corrections
    assert labels(project) == ["good"] * 4


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda text: text.replace("right_label", "right"), "right_label"),
        (lambda text: text.replace("\r\nt", "\r\nx"), "id"),
        (lambda text: text + "t0,too,few\r\n", "row 3"),
        (lambda text: text + text.splitlines()[1].replace(",good,", ",so so,") + "\r\n", "so so"),
    ],
)
def test_a_damaged_list_is_refused_in_one_line(
    correct: Correct, project: Layout, change: Callable[[str], str], named: str
) -> None:
    file = project.corrections / "list.csv"
    write_list(file, [("Awful", "bad", "good"), ("So so", "bad", "good")])
    file.write_bytes(change(file.read_bytes().decode("utf-8-sig")).encode())
    with pytest.raises(HeadwayError) as caught:
        correct()
    assert named in str(caught.value)
    assert "list.csv" in str(caught.value)
    assert not project.raw.exists()


@pytest.mark.parametrize("pattern", ["none.csv", "list.xlsx", "**x", "?.csv", ".", "[.]*.csv"])
def test_a_pattern_without_a_csv_file_is_refused(project: Layout, pattern: str) -> None:
    project.corrections.mkdir(parents=True)
    (project.corrections / "list.xlsx").write_bytes(b"PK")
    write_list(project.corrections / "._list.csv", [("Awful", "bad", "good")])
    with pytest.raises(HeadwayError) as caught:
        read(project.corrections, pattern)
    assert pattern in str(caught.value)


@pytest.mark.parametrize("pattern", ["../list.csv", "/etc/list.csv", "a/../../list.csv", "~/list.csv"])
def test_lists_outside_of_their_folder_are_refused(params: Params, pattern: str) -> None:
    with pytest.raises(HeadwayError) as caught:
        params.override({"data.corrections": pattern})
    assert "data.corrections" in str(caught.value)
