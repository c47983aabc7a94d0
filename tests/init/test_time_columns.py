"""``headway init`` names columns with times and switches nothing on; a time column that is set stays if the data have it."""

from __future__ import annotations

import random

import pandas as pd
import pytest

from headway import init
from headway.init.time_columns import time_columns
from headway.params import load
from tests.real_texts import english

DAYS = [f"2024-{1 + row % 12:02}-{1 + row % 28:02}" for row in range(60)]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("anything", DAYS),
        ("anything", [f"{day}T10:00:00+01:00" for day in DAYS]),
        ("anything", [f"{day[8:]}.{day[5:7]}.{day[:4]}" for day in DAYS]),
        ("anything", [*DAYS[:58], "soon", ""]),
        ("createdAt", [str(1_700_000_000 + row) for row in range(60)]),
        ("post_date", [day.replace("-", "") for day in DAYS]),
    ],
)
def test_a_column_with_times_is_found(name, values):
    assert time_columns({"text": ["fine"] * 60, name: values}, ["text"]) == [name]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("order", [str(1_700_000_000 + row) for row in range(60)]),
        ("stars", [str(row % 5) for row in range(60)]),
        ("date", ["2024-03-11"] * 60),
        ("date", ["2024-03-11", "2024-03-12"] * 30),
        ("date", [f"0{1 + row % 9}/0{1 + row // 9}/2024" for row in range(60)]),
        ("date", [*DAYS[:30], *[""] * 30]),
        ("comment", ["fine on 2024-03-11"] * 60),
        ("year", [str(1990 + row % 30) for row in range(60)]),
        ("", DAYS),
    ],
    ids=["ids", "stars", "one time", "two times", "open order", "gaps", "texts", "years", "no name"],
)
def test_a_column_that_cannot_split_the_rows_by_time_is_none(name, values):
    assert time_columns({"text": ["fine"] * 60, name: values}, ["text"]) == []


def test_the_text_and_the_label_are_no_time_columns():
    assert time_columns({"text": DAYS, "label": DAYS}, ["text", "label"]) == []


@pytest.fixture
def table():
    texts, labels = english(300)
    days = [f"2024-{1 + row // 28 % 12:02}-{1 + row % 28:02}" for row in range(len(texts))]
    random.Random(0).shuffle(days)
    return pd.DataFrame({"text": texts, "label": labels, "written": days})


def survey(project, table, **words):
    table.to_csv(project.root / "own.csv", index=False)
    return init.survey(project, str(project.root / "own.csv"), report_progress=lambda _: None, **words)


def test_a_time_column_is_named_but_not_switched_on(project, table, capsys):
    found = survey(project, table)
    init.show(found)
    output = " ".join(capsys.readouterr().out.split())
    assert (
        "! Column with times: written. The rows are split by a hash. With split.time_column: written, the latest" in output
    )
    assert not [knob for knob in found.changes if knob.startswith("split.")]
    assert found.profile.time is None


def test_a_time_column_that_is_set_stays_if_the_data_have_it_and_is_emptied_otherwise(project, table, capsys):
    plain = project.params.read_text(encoding="utf-8")
    chosen = plain.replace('time_column: ""', "time_column: written").replace('train_until: ""', 'train_until: "2024-06-30"')
    project.params.write_text(chosen, encoding="utf-8")
    found = survey(project, table)
    assert found.profile.time.column == "written"
    assert not [knob for knob in found.changes if knob.startswith("split.")]
    init.show(found)
    assert "with times" not in capsys.readouterr().out
    found = survey(project, table.drop(columns="written"))
    assert found.changes["split.time_column"] == found.changes["split.train_until"] == ""
    init.write(project, found.changes)
    assert load(project.params).split.time_column == ""


def test_a_column_that_names_splits_is_not_proposed_beside_a_time_column_that_is_set(project, table):
    table["part"] = ["test" if row % 5 == 0 else "train" for row in range(len(table))]
    assert survey(project, table).changes["data.split_column"] == "part"
    plain = project.params.read_text(encoding="utf-8")
    project.params.write_text(plain.replace('time_column: ""', "time_column: written"), encoding="utf-8")
    assert "data.split_column" not in survey(project, table).changes
