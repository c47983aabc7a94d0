"""The time column goes from every kind of source to the prepared splits, decides them, and is no slice."""

from __future__ import annotations

import csv
import json
import random
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from headway import cli
from headway.data.text.splits import SPLITS
from headway.errors import HeadwayError
from headway.evaluation.slices import slices
from headway.files import read_json
from headway.layout import Layout
from headway.params import load
from headway.reporting.data.remarks import remarks
from headway.stages.baseline import baseline
from headway.stages.evaluate import evaluate
from headway.stages.ingest import ingest
from headway.stages.prepare import prepare
from headway.stages.report import report
from tests.folders import sha256_of_folder

START = datetime(2024, 1, 1, 12, tzinfo=UTC)
WORDS = [f"word{number}" for number in range(300)]


def rows_by_day(days: int, labels: str = "ab", seed: int = 0) -> pd.DataFrame:
    """A row a day of texts that share nothing, in another order."""
    draw = random.Random(seed)
    rows = [
        {
            "text": " ".join(draw.choices(WORDS, k=8)),
            "label": labels[day % len(labels)],
            "when": START + timedelta(days=day),
        }
        for day in range(days)
    ]
    return pd.DataFrame(draw.sample(rows, days))


def by_time(params: Any, **knobs: Any) -> Any:
    file = {"data.source": "file", "data.path": "own.csv", "split.time_column": "when", "data.max_bad_share": 0.5}
    return params.override(
        {**file, "evaluation.bootstrap_samples": 100, **{k.replace("__", "."): v for k, v in knobs.items()}}
    )


def run(table: pd.DataFrame, params: Any, layout: Layout) -> Any:
    table.to_csv(layout.root / "own.csv", index=False)
    ingest(params, layout)
    return prepare(params, layout)


def prepared(layout: Layout) -> dict[str, pa.Table]:
    return {name: pq.read_table(layout.prepared / f"{name}.parquet") for name in SPLITS}


def quarantined(layout: Layout) -> list[dict[str, str]]:
    with (layout.prepared / "quarantine.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def seconds(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(when=[int(when.timestamp()) for when in table["when"]])


def days(form: str) -> Any:
    return lambda table: table.assign(when=table["when"].dt.strftime(form))


FILES = {
    "own.csv": lambda table, path: table.to_csv(path, index=False),
    "seconds.csv": lambda table, path: seconds(table).to_csv(path, index=False),
    "german.tsv": lambda table, path: days("%d.%m.%Y %H:%M")(table).to_csv(path, index=False, sep="\t"),
    "american.csv": lambda table, path: days("%m/%d/%Y %I:%M %p")(table).to_csv(path, index=False),
    "milliseconds.jsonl": lambda table, path: (
        seconds(table).assign(when=lambda rows: 1000 * rows["when"]).to_json(path, orient="records", lines=True)
    ),
    "nested.jsonl": lambda table, path: path.write_text(
        "".join(json.dumps(row | {"when": row["when"].isoformat()}) + "\n" for row in table.to_dict("records"))
    ),
    "timestamps.parquet": lambda table, path: table.to_parquet(path),
    "naive.parquet": lambda table, path: table.assign(when=table["when"].dt.tz_localize(None)).to_parquet(path),
}


@pytest.mark.parametrize("name", FILES)
def test_times_from_every_kind_of_file_become_timestamps_in_utc_of_the_prepared_splits(params, project, name):
    table = rows_by_day(60)
    FILES[name](table, project.root / name)
    chosen = by_time(params, data__path=name)
    ingest(chosen, project)
    assert pq.read_table(project.raw / "rows.parquet").column_names[-1] == "time"
    result = prepare(chosen, project)
    assert result.splits == {"train": 48, "validation": 6, "test": 6}
    times = dict(zip(table["text"], table["when"], strict=True))
    for part in prepared(project).values():
        assert part.schema.field("time").type == pa.timestamp("us", tz="UTC")
        assert part["time"].to_pylist() == [times[text] for text in part["text"].to_pylist()]
    assert min(prepared(project)["test"]["time"].to_pylist()) == START + timedelta(days=54)
    assert max(prepared(project)["train"]["time"].to_pylist()) == START + timedelta(days=47)


def test_times_come_from_the_hub_and_from_the_names_of_folders_too(params, project, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", project.root / "cache")
    (project.root / "hub" / "data").mkdir(parents=True)
    rows_by_day(30).to_csv(project.root / "hub" / "data" / "train.csv", index=False)
    hub = {"data__source": "hub", "data__hub_name": "./hub", "data__hub_revision": "0" * 40}
    ingest(by_time(params, data__slice_columns=["when"], **hub), project)
    assert pq.read_table(project.raw / "rows.parquet")["time"].null_count == 0
    for month, part in rows_by_day(30).groupby(lambda row: row % 5):
        folder = project.root / "own" / f"when=2024-0{month + 1}"
        folder.mkdir(parents=True)
        part[["text", "label"]].to_csv(folder / "rows.csv", index=False)
    chosen = by_time(params, data__path="own", data__files="**/*.csv")
    ingest(chosen, project)
    assert prepare(chosen, project).time.spans["test"] == ("2024-05-01", "2024-05-01")


def test_the_time_column_may_also_be_a_slice_column(params, project):
    chosen = by_time(params, data__slice_columns=["when"])
    run(rows_by_day(40), chosen, project)
    part = prepared(project)["test"]
    assert part.column_names == ["id", "text", "label", "label_id", "when", "time"]
    assert part["when"].to_pylist() == [str(when) for when in part["time"].to_pylist()]


# Rows without a time


def test_rows_without_a_readable_time_are_quarantined_with_the_reason_and_counted(params, project):
    table = rows_by_day(60).astype({"when": object})
    table["when"] = [when.isoformat() for when in table["when"]]
    table.loc[[0, 1], "when"] = ["", "  "]
    table.loc[[2, 3], "when"] = ["=tomorrow", "2024-02-30"]
    table.loc[4, ["text", "when"]] = ["", ""]
    result = run(table, by_time(params), project)
    counts = {reason: rows for reason, rows in result.rows_quarantined.items() if rows}
    assert counts == {"missing time": 2, "unreadable time": 2, "missing text": 1}
    assert result.bad_share == round(5 / 60, 6)
    assert result.rows_in == result.rows_kept + 5
    reasons = {row["reason"] for row in quarantined(project)}
    assert reasons == {"missing time", "unreadable time: =tomorrow", "unreadable time: 2024-02-30", "missing text"}


def test_too_many_rows_without_a_time_stop_the_pipeline_like_other_bad_rows(params, project):
    table = rows_by_day(40).assign(when="soon")
    with pytest.raises(HeadwayError, match=r"^100\.0% of the 40 rows cannot be used.*: unreadable time 40;"):
        run(table, by_time(params, data__max_bad_share=0.1), project)


# One clear line


@pytest.mark.parametrize(
    ("table", "knobs", "message"),
    [
        (rows_by_day(40).assign(when="2024-03-11"), {}, r"1 different time in column 'when', expected three or more"),
        (rows_by_day(40).assign(when=["2024", "2025"] * 20), {}, r"2 different times in column 'when'"),
        (
            rows_by_day(40).assign(when="03/11/2024"),
            {},
            r"'03/11/2024', and no date in it tells whether the day or the month",
        ),
        (rows_by_day(40, "a" * 36 + "bbbb"), {}, r"the training rows, from .* have only the label 'a'"),
        (rows_by_day(40).drop(columns="when"), {}, r"has no column 'when' \(split\.time_column\)"),
        (rows_by_day(40), {"split__train_until": "2023-12-31"}, r"2023-12-31 leaves 0 training and 0 validation rows"),
        (rows_by_day(40), {"split__train_until": "2024-01-01"}, r"2024-01-01 leaves 1 training and 0 validation rows"),
    ],
    ids=["one time", "two times", "open order", "one label", "no column", "too early", "one day"],
)
def test_times_that_cannot_split_the_rows_are_refused_in_one_line(params, project, table, knobs, message):
    with pytest.raises(HeadwayError, match=message) as raised:
        run(table, by_time(params, **knobs), project)
    assert "\n" not in str(raised.value)
    assert not project.prepared.exists()


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"data.split_column": "part"}, r"split\.time_column: .*data\.split_column names another"),
        ({"data.test_files": "test.csv"}, r"split\.time_column: .*data\.test_files names another"),
        (
            {"data.source": "hub", "data.hub_name": "a/b", "data.hub_revision": "0" * 40, "data.hub_test_split": "test"},
            r"split\.time_column: .*data\.hub_test_split names another",
        ),
        ({"split.time_column": "text"}, r"split\.time_column: 'text' is the column of the texts or the labels"),
        ({"data.slice_columns": ["time"]}, r"remove 'time' from data\.slice_columns"),
        ({"split.train_until": "last year"}, r"split\.train_until: .*'last year' is not a day"),
        ({"split.train_until": "20240630"}, r"split\.train_until: .*'20240630' is not a day"),
        ({"split.train_until": "2024-06-30", "split.time_column": ""}, r"train_until is set, but time_column is empty"),
    ],
)
def test_params_that_contradict_a_time_column_are_refused(params, knobs, message):
    with pytest.raises(HeadwayError, match=message):
        params.override({"data.source": "file", "split.time_column": "when", **knobs})


def test_a_predefined_test_split_of_another_source_does_not_matter(params):
    assert params.override({"data.test_files": "test.csv", "split.time_column": "when"}).split.time_column == "when"


def test_a_date_without_quotes_which_dvc_cannot_read_is_refused_with_what_to_write(project):
    plain = project.params.read_text(encoding="utf-8").replace('time_column: ""', "time_column: when")
    project.params.write_text(plain.replace('train_until: ""', "train_until: 2024-06-30"), encoding="utf-8")
    with pytest.raises(HeadwayError, match=r'split\.train_until: .*put quotes around it: "2024-06-30"'):
        load(project.params)
    project.params.write_text(plain.replace('train_until: ""', 'train_until: "2024-06-30"'), encoding="utf-8")
    assert load(project.params).split.train_until == "2024-06-30"


# A model of the past, and new classes


def test_a_last_day_leaves_out_later_training_rows_and_keeps_the_test(params, project):
    table = rows_by_day(100)
    run(table, by_time(params), project)
    before = prepared(project)["test"]
    result = run(table, by_time(params, split__train_until="2024-02-09"), project)
    after = prepared(project)
    assert after["test"].equals(before)
    assert result.splits == {"train": 36, "validation": 4, "test": 10}  # the first 40 days
    assert max(after["validation"]["time"].to_pylist()) == START + timedelta(days=39)
    assert result.rows_quarantined["after split.train_until"] == 50
    assert result.rows_in == result.rows_kept + sum(result.rows_quarantined.values())
    assert {remark.key for remark in remarks(result.model_dump()) if remark.warning} >= {"train_until"}


def test_test_rows_of_a_class_that_appears_later_count_as_mistakes_and_are_reported(params, project, monkeypatch):
    table = rows_by_day(200).sort_values("when").reset_index(drop=True)
    table.loc[[165, 170, 190, 199], "label"] = "new"
    result = run(table, by_time(params), project)
    assert read_json(project.prepared / "labels.json", made_by="prepare") == ["a", "b"]
    assert result.time.later_classes == {"new": 4}
    assert result.rows_quarantined["class without training rows"] == 2
    test = prepared(project)["test"]
    rows = [(row["label"], row["label_id"]) for row in test.to_pylist() if row["label"] == "new"]
    assert rows == [("new", -1)] * 2
    (warning,) = [str(remark.words) for remark in remarks(result.model_dump()) if remark.key == "later_classes"]
    assert "new" in warning
    monkeypatch.chdir(project.root)
    project.params.write_text(
        re.sub(r'time_column: ""', "time_column: when", project.params.read_text())
        .replace("source: package", "source: file")
        .replace("path: data/input", "path: own.csv")
    )
    done = CliRunner().invoke(cli.app, ["prepare"])
    assert done.exit_code == 0
    assert "! No training row, up to 2024-06-08 12:00:00, has this class: new (4)." in done.output
    scores = baseline(by_time(params), project)
    assert scores["test"]["rows"] == 20
    assert read_json(project.baseline / "slices.json", made_by="baseline")["label: new"]["accuracy"] == 0


# After the data stages


def test_the_times_make_no_slices_and_no_condition_sees_them(params):
    columns = {"id": ["a", "b"], "text": ["fine", "dull"], "label": ["x", "y"], "label_id": [0, 1]}
    table = pa.table({**columns, "time": pa.array([START, START], pa.timestamp("us", "UTC"))})
    assert not [name for name in slices(table, ["x", "y"], params.evaluation) if "time" in name]
    by_condition = params.override({"evaluation.slices": {"late": "time > 3"}}).evaluation
    with pytest.raises(HeadwayError, match="no column 'time'"):
        slices(table, ["x", "y"], by_condition)
    of_strings = pa.table({**columns, "time": ["day", "night"]})
    assert "time: day" in slices(of_strings, ["x", "y"], params.evaluation), "a slice column may have this name"


@pytest.mark.parametrize("has_times", [True, False])
def test_accuracy_over_time_is_written_by_evaluate_and_baseline_and_drawn_only_with_times(trained, tmp_path, has_times):
    layout = Layout(Path(shutil.copytree(trained.layout.root, tmp_path / "project")))
    test = layout.prepared / "test.parquet"
    if has_times:
        table = pq.read_table(test)
        times = [START + timedelta(days=day) for day in range(table.num_rows)]
        pq.write_table(table.append_column("time", pa.array(times, pa.timestamp("us", "UTC"))), test)
    params = trained.params.override({"evaluation.bootstrap_samples": 100})
    evaluate(params, layout)
    baseline(params, layout)
    files = [layout.over_time, layout.baseline / layout.over_time.name]
    assert [file.is_file() for file in files] == [has_times] * 2
    (page,) = report(params, layout, ["candidate"])
    assert ("<h2>Over time</h2>" in page.read_text(encoding="utf-8")) == has_times
    assert (layout.plots / "over_time.png").is_file() == has_times
    for file in files if has_times else ():
        bins = json.loads(file.read_text(encoding="utf-8"))
        assert sum(entry["rows"] for entry in bins) == len(times)


def test_the_outs_are_the_same_after_every_run(params, project):
    table = rows_by_day(60)
    run(table, by_time(params), project)
    before = sha256_of_folder(project.prepared), sha256_of_folder(project.profile.parent)
    run(table, by_time(params), project)
    assert (sha256_of_folder(project.prepared), sha256_of_folder(project.profile.parent)) == before


def test_without_a_time_column_nothing_of_times_is_in_the_outs(reviews):
    layout = reviews.layout
    assert "time" not in pq.read_table(layout.raw / "rows.parquet").column_names
    assert prepared(layout)["train"].column_names == ["id", "text", "label", "label_id"]
    for file in (layout.profile, layout.metrics("data")):
        found = json.loads(file.read_text(encoding="utf-8"))
        assert "time" not in found
        assert not [
            reason for reason in found["rows_quarantined"] if "time" in reason or "later" in reason or "until" in reason
        ]


def test_a_missing_time_column_is_named_by_its_knob_also_where_folders_hold_the_labels(params, project):
    for label in "ab":
        (project.root / "own" / f"label={label}").mkdir(parents=True)
        (project.root / "own" / f"label={label}" / "rows.csv").write_text("text,day\nfine,2024-03-11\n")
    with pytest.raises(HeadwayError, match=r"has no column 'when' \(split\.time_column\)"):
        ingest(by_time(params, data__path="own", data__files="**/*.csv"), project)
