"""Tables of texts are read with the labels that they have, whatever their form, and scored in an order that says nothing."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from headway.champion_monitor.tables import ScoredTables, TableRows, table_rows
from headway.errors import HeadwayError
from headway.layout import Layout
from headway.monitoring.monitor import Monitor, Reference, Terms
from headway.params import Params
from headway.serving.batch.inputs import ReadingOptions, find_inputs
from headway.serving.package import ModelPackage
from tests.monitoring.streams import answers
from tests.test_api import folder

__all__ = ["folder"]

TEXTS = ["a charming , funny and quietly moving film", "tedious", "这部电影很好看", ""]
Row = tuple[str | None, str]


def rows_of(
    params: Params, tmp_path: Path, given: Sequence[str], label_column: str = "", stdin: bytes = b"", **data: object
) -> list[Row]:
    chosen = params.override({f"data.{name}": value for name, value in data.items()}).data
    spool = tmp_path / "spool"
    spool.mkdir(exist_ok=True)
    sources = find_inputs(given, ReadingOptions(), chosen, Layout(tmp_path), spool, io.BytesIO(stdin))
    batches = list(table_rows(sources, label_column, chosen))
    return [row for batch in batches for row in zip(batch.texts, batch.labels, strict=True)]


def write(path: Path, content: str) -> str:
    path.write_text(content, encoding="utf-8")
    return str(path)


def test_labels_come_from_the_column_of_training_if_there_is_one(params: Params, tmp_path: Path) -> None:
    labelled = write(tmp_path / "a.csv", "text,label\ngood film,positive\nbad film,\n")
    bare = write(tmp_path / "b.csv", "id,text\n1,a film\n")
    expected = [("good film", "positive"), ("bad film", ""), ("a film", "")]
    assert rows_of(params, tmp_path, [labelled, bare]) == expected


def test_labels_are_renamed_as_those_of_training_are(params: Params, tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", "text,label\ngood film, pos \nodd film,?\n")
    found = rows_of(params, tmp_path, [file], label_map={"pos": "positive", "?": ""})
    assert found == [("good film", "positive"), ("odd film", "")]


def test_another_column_can_be_named(params: Params, tmp_path: Path) -> None:
    rows = [{"text": "good film"}] * 1_500 + [{"text": "late", "checked": {"by": "positive"}}]
    file = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    assert rows_of(params, tmp_path, [file], "checked.by")[-1] == ("late", "positive")


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_column_that_no_row_has_is_a_mistake(params: Params, tmp_path: Path, name: str) -> None:
    content = "text,verdict\ngood film,positive\n" if name == "a.csv" else '{"text": "good film", "verdict": "positive"}\n'
    with pytest.raises(HeadwayError, match=r"--label-column: a\.\w+ has no column 'verdicts'.*verdict"):
        rows_of(params, tmp_path, [write(tmp_path / name, content)], "verdicts")


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_predictions_are_no_true_labels_unless_they_are_named(params: Params, tmp_path: Path, name: str) -> None:
    row = {"text": "good film", "label": "positive", "probability": 0.9}
    content = "text,label,probability\ngood film,positive,0.9\n" if name == "a.csv" else json.dumps(row) + "\n"
    file = write(tmp_path / name, content)
    assert rows_of(params, tmp_path, [file]) == [("good film", "")]
    assert rows_of(params, tmp_path, [file], "label") == [("good film", "positive")]


def test_standard_input_is_read(params: Params, tmp_path: Path) -> None:
    given = "text\tlabel\n这部电影很好看\tpositive\n\tnegative\n".encode()
    assert rows_of(params, tmp_path, ["-"], stdin=given)[0] == ("这部电影很好看", "positive")


def test_texts_that_cannot_be_classified_are_counted_and_carry_no_label(folder: Path) -> None:
    tables = ScoredTables(ModelPackage.load(folder))
    tables.add(TableRows([*TEXTS, None], ["positive"] * 5))
    assert (len(tables.labels), tables.unanswered) == (3, 2)
    assert TableRows([*TEXTS, None], [""] * 5).usable == TEXTS[:3]
    monitor = new_monitor()
    tables.read_by(monitor)
    total = monitor.days.total()
    assert (monitor.answers, total.unanswered, total.right + total.wrong) == (3, 2, 3)


def test_labels_stay_with_their_texts_in_the_random_order(folder: Path) -> None:
    package = ModelPackage.load(folder)
    texts = [f"{text} {number}" for number in range(40) for text in TEXTS[:3]]
    right = [package.classes[row] for row in package.predict_proba(texts).argmax(axis=1)]
    tables = ScoredTables(package)
    for start in range(0, len(texts), 50):
        tables.add(
            TableRows(
                texts[start : start + 50],
                [right[row] if row % 4 else "" for row in range(start, min(start + 50, len(texts)))],
            )
        )
    monitor = new_monitor()
    tables.read_by(monitor)
    total = monitor.days.total()
    assert (total.right, total.wrong) == (sum(row % 4 > 0 for row in range(len(texts))), 0)


def test_a_table_that_is_sorted_by_class_is_no_change(folder: Path) -> None:
    tables = ScoredTables(ModelPackage.load(folder))
    found, _ = answers(3, 800)
    tables.answers = [found.take(np.argsort(found.predicted, kind="stable"))]
    tables.labels = [""] * 800
    monitor = new_monitor()
    tables.read_by(monitor)
    assert not monitor.has_moved


def new_monitor() -> Monitor:
    reference, _ = answers(2, 800)
    return Monitor(Reference(reference, reference.predicted, ["negative", "positive"]), Terms(1.0, 0.1, 0.95, "k"))
