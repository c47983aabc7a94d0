"""The command that adds true labels: which columns it takes, what it prints, and what it refuses."""

from __future__ import annotations

import csv
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from headway import HeadwayError, cli
from headway.cli.predict import predict
from headway.layout import Layout
from headway.params import Params, load
from headway.registry.registry import Registry
from headway.serving.log import join_labels, read_log
from headway.serving.log.rows import SCHEMA, text_hash, with_classes
from headway.serving.log.store import PartStore, part_name

TEXTS = ["a charming , funny film", "tedious", "the plot is a mess"]
TIME = datetime(2026, 12, 1, 8, tzinfo=UTC)


@pytest.fixture
def logged(project: Layout, monkeypatch: pytest.MonkeyPatch) -> Params:
    """A project that is the working directory, whose log has three answers of a model with the classes 0 and 1."""
    text = project.params.read_text(encoding="utf-8")
    text = text.replace('    folder: ""  ', "    folder: log ").replace("texts: none  ", "texts: hashed")
    project.params.write_text(text.replace("label_map: {} ", 'label_map: {pos: "1", "?": ""} '), encoding="utf-8")
    monkeypatch.chdir(project.root)
    params = load(project.params)
    assert (params.serving.log.folder, params.serving.log.texts) == ("log", "hashed")
    rows = [
        {"request_id": f"r{at}", "time": TIME, "label": "1"}
        | {"version": "7", "role": "champion", "source": "http", "text_sha256": text_hash(text)}
        for at, text in enumerate(TEXTS)
    ]
    table = pa.Table.from_pylist(rows, SCHEMA).replace_schema_metadata(with_classes(["0", "1"]))
    PartStore.open("log").write(part_name(TIME, "1"), TIME.date(), table)
    return params


def label(*arguments: str, given: bytes = b"") -> list[str]:
    done = CliRunner().invoke(cli.app, ["label", *arguments], input=given, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output.splitlines()


def true_labels(params: Params) -> dict[str, str]:
    return {row.request_id: row.true_label for row in join_labels(params.serving.log)}


def test_the_summary_adds_up_and_shows_what_contradicts(logged: Params) -> None:
    Path("in.csv").write_text(
        "request_id,label\nr0,pos\nr1,0\nr1,0\nr2,0\nr2,1\nr9,0\n,1\nr5,?\nr6,\nr7,mixed\nbroken\n", encoding="utf-8"
    )
    assert label("in.csv") == [
        "in.csv: 11 rows: 4 added, 1 known already, 6 quarantined",
        "  2: two labels for one request or text",
        "  1: no request id, text or hash of a text",
        "  1: data.label_map drops the label '?'",
        "  1: no label",
        "  1: expected 2 fields, found 1",
        "  request r2: '0' (in.csv, row 4) and '1' (in.csv, row 5)",
        f"quarantined rows: {Path.cwd()}/log/labels/quarantine",
        "2 added labels without an answer in the log; kept, because the answer may come later",
        "'mixed' is no class of the last model in the log: 1 label",
    ]
    assert true_labels(logged) == {"r0": "1", "r1": "0"}
    assert label("in.csv")[0] == "in.csv: 11 rows: 0 added, 5 known already, 6 quarantined"


@pytest.mark.parametrize("name", ["in.csv", "in.jsonl", "in.parquet"])
@pytest.mark.parametrize(
    ("columns", "options"),
    [
        ({"text": TEXTS[:2], "label": ["0", "1"]}, []),
        ({"id": ["r0", "r1"], "label": ["0", "1"], "labelled_at": ["2026-12-01T08:30:00+01:00", None]}, []),
        ({"text_sha256": list(map(text_hash, TEXTS[:2])), "label": ["1", "1"], "true_label": ["0", "1"]}, []),
        (
            {"text": ["other"] * 2, "mine": ["r0", "r1"], "say": ["0", "1"], "when": ["2026-12-01"] * 2},
            ["--request-id-column", "mine", "--label-column", "say", "--time-column", "when"],
        ),
        (
            {"request_id": ["x", "y"], "body": TEXTS[:2], "probability": ["1", "1"], "label": ["0", "1"]},
            ["--text-column", "body", "--label-column", "label"],
        ),
    ],
)
def test_columns_are_found_by_their_usual_names_or_named(
    logged: Params, name: str, columns: dict[str, Any], options: list[str]
) -> None:
    table = pa.table(columns)
    if name == "in.parquet":
        pq.write_table(table, name)
    elif name == "in.jsonl":
        Path(name).write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()), encoding="utf-8")
    else:
        table.to_pandas().to_csv(name, index=False)
    assert label(name, *options) == [f"{name}: 2 rows: 2 added, 0 known already, 0 quarantined"]
    assert true_labels(logged) == {"r0": "0", "r1": "1"}


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        ("a,b\n1,2\n", [], "has no column with request ids, texts or their hashes, but 'a', 'b'"),
        ("request_id,b\n1,2\n", [], "has no column with labels"),
        ("request_id,label\n1,2\n", ["--label-column", "labels"], "--label-column: in.csv has no column 'labels'; did you"),
        ("text,label,probability\nfine,1,0.9\n", [], "probably a prediction"),
        ("", [], "in.csv: empty"),
        ("request_id,label\n1,2\n", ["none.csv"], "no such file"),
    ],
)
def test_a_file_without_the_columns_that_are_needed_is_refused(
    logged: Params, content: str, options: list[str], says: str
) -> None:
    Path("in.csv").write_text(content, encoding="utf-8")
    with pytest.raises(HeadwayError) as caught:
        label("in.csv", *options)
    assert says in str(caught.value)
    assert "--text " not in f"{caught.value} "


@pytest.mark.parametrize("time", ["yesterday", "0001-01-01T00:00:00+05:00", "9999-12-31T23:00:00-05:00"])
def test_a_value_that_is_not_a_time_puts_the_row_aside(logged: Params, time: str) -> None:
    lines = label("-", given=f"request_id,label,labelled_at\nr0,1,{time}\n".encode())
    assert lines[0] == "stdin: 1 row: 0 added, 0 known already, 1 quarantined"
    assert "the time of the label is not in the form" in lines[1]


def test_a_project_without_a_log_has_no_place_for_labels(project: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.root)
    with pytest.raises(HeadwayError, match=r"serving\.log\.folder: is empty"):
        label("-", "no such file")


def test_each_label_is_kept_with_the_file_that_it_comes_from(logged: Params) -> None:
    for name, row in (("a.csv", "r0,1"), ("b.csv", "r1,0")):
        Path(name).write_text(f"request_id,label\n{row}\n", encoding="utf-8")
    assert label("a.csv", "b.csv")[0] == "a.csv, b.csv: 2 rows: 2 added, 0 known already, 0 quarantined"
    (part,) = Path("log/labels").glob("date=*/*.parquet")
    assert pq.read_table(part)["source"].to_pylist() == ["a.csv", "b.csv"]


def test_quotes_are_read_as_params_say_for_the_training_data(project: Layout, logged: Params) -> None:
    content = 'request_id,label\n"r0",1\n'
    Path("in.csv").write_text(content, encoding="utf-8")
    text = project.params.read_text(encoding="utf-8")
    changed = re.sub(r"(?m)^(  quoting: )\w+ ", r"\1none ", text)
    assert changed != text
    project.params.write_text(changed, encoding="utf-8")
    label("in.csv")
    (part,) = Path("log/labels").glob("date=*/*.parquet")
    assert pq.read_table(part)["request_id"].to_pylist() == ['"r0"']


def test_a_label_in_a_list_of_its_own_is_that_label_and_several_are_refused(logged: Params) -> None:
    rows = [{"request_id": "r0", "label": ["pos"]}, {"request_id": "r1", "label": ["0", "1"]}]
    lines = label("-", given="".join(json.dumps(row) + "\n" for row in rows).encode())
    assert lines[0] == "stdin: 2 rows: 1 added, 0 known already, 1 quarantined"
    assert "the label is a list of 2" in lines[1]
    assert true_labels(logged) == {"r0": "1"}


@pytest.mark.parametrize(("version", "role"), [("", "champion"), ("2", "other")])
def test_predictions_are_logged_when_that_is_asked_for(
    in_project: Registry, tmp_path: Path, version: str, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout, log = Layout.find(), tmp_path / "log"
    params = load(layout.params).override({"serving.log.folder": str(log)})
    monkeypatch.setattr("headway.cli.predict.project", lambda: (layout, params))
    path = tmp_path / "in.csv"
    path.write_text(f'text\n"{TEXTS[0]}"\n', encoding="utf-8")
    predict([str(path)], out=str(tmp_path / "without.csv"), version=version)
    assert not log.exists()
    predict([str(path)], out=str(tmp_path / "with.csv"), version=version, log=True)
    ((row,),) = (batch.to_pylist() for batch in read_log(params.serving.log))
    assert (row["role"], row["version"], row["source"]) == (role, version or "1", "batch")
    (written,) = csv.DictReader((tmp_path / "with.csv").open(encoding="utf-8", newline=""))
    assert written["request_id"] == row["request_id"]
    with pytest.raises(HeadwayError, match="--log is for files"):
        predict(text=[TEXTS[0]], log=True)
