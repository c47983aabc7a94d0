"""Labelled answers in data/feedback are rows of the data."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headway.errors import HeadwayError
from headway.stages.ingest import ingest

ROWS = [("so so", "0", "2026-11-01T10:00:00+00:00"), ("wonderful", "1", "2026-11-02T10:00:00+00:00")]


@pytest.fixture
def with_rows(project):
    """A project with two rows of its own, and two labelled answers."""
    (project.root / "own.csv").write_text(
        "text,label,shop,day\nfine,1,a,2025-01-01\ndull,0,b,2025-01-02\n", encoding="utf-8"
    )
    project.feedback.mkdir(parents=True)
    names = ["text", "label", "time"]
    table = pa.table(
        {name: pa.array(values, pa.string()) for name, values in zip(names, zip(*ROWS, strict=True), strict=True)}
    )
    pq.write_table(table, project.feedback / "labelled.parquet")
    return project


def ingested(params, project, **knobs):
    given = {"data.source": "file", "data.path": "own.csv", "data.feedback": True, **knobs}
    manifest = ingest(params.override(given), project)
    return manifest, pq.read_table(project.raw / "rows.parquet").to_pylist()


def test_labelled_answers_follow_the_rows_of_the_source(params, with_rows):
    manifest, rows = ingested(params, with_rows)
    assert [(row["row"], row["text"], row["label"], row["test"]) for row in rows] == [
        *((1, "fine", "1", False), (2, "dull", "0", False), (3, "so so", "0", False), (4, "wonderful", "1", False)),
    ]
    assert [file["name"] if isinstance(file, dict) else file.name for file in manifest.files] == [
        "own.csv",
        "feedback/labelled.parquet",
    ]


def test_without_the_knob_they_are_not_read(params, with_rows):
    _, rows = ingested(params, with_rows, **{"data.feedback": False})
    assert [row["text"] for row in rows] == ["fine", "dull"]


def test_they_have_a_time_and_no_slices(params, with_rows):
    _, rows = ingested(params, with_rows, **{"data.slice_columns": ["shop"], "split.time_column": "day"})
    assert [row["shop"] for row in rows] == ["a", "b", None, None]
    assert [row["time"] for row in rows][2:] == [time for _, _, time in ROWS]


def test_a_file_without_labels_is_one_line(params, with_rows):
    pq.write_table(pa.table({"text": ["fine"], "found": ["1"]}), with_rows.feedback / "other.parquet")
    with pytest.raises(HeadwayError, match=r"other\.parquet: has no column 'label'"):
        ingested(params, with_rows)
