"""Wrong labels are listed with their texts, and the list, filled in, corrects them."""

from __future__ import annotations

import csv
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from headway import cli
from headway.data.corrections import read
from headway.errors import HeadwayError
from headway.files import read_json
from headway.label_errors import LabelError, LabelErrors, as_csv, contradicted, find, out_of_fold
from headway.layout import Layout
from headway.params import Params
from headway.reporting.label_errors.page import render
from headway.stages.ingest import ingest
from headway.stages.prepare import prepare

TOPICS = ["cat", "dog", "fish", "bird"]
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def topic_rows(n: int, topics: list[str], seed: int = 0) -> list[tuple[str, str]]:
    """Texts that a linear model can label: each has some words of its topic among words that all topics share."""
    draw = np.random.default_rng(seed)
    rows = []
    for number in range(n):
        topic = topics[number % len(topics)]
        words = [f"{topic}{index}" for index in draw.integers(0, 5, size=6)]
        words += ["".join(draw.choice(list(LETTERS), 4)) for _ in range(4)]
        rows.append((" ".join(words), topic))
    return rows


@pytest.fixture
def prepared(params: Params, project: Layout) -> Any:
    """Writes rows as a source and runs the data stages; returns the params that they ran with."""

    def run(rows: list[tuple[str, str]], **knobs: Any) -> Params:
        with (project.root / "own.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *rows])
        chosen = params.override({"data.source": "file", "data.path": "own.csv", **knobs})
        ingest(chosen, project)
        prepare(chosen, project)
        return chosen

    return run


def with_wrong(rows: list[tuple[str, str]], wrong: dict[int, str]) -> list[tuple[str, str]]:
    return [(text, wrong.get(number, label)) for number, (text, label) in enumerate(rows)]


def fill_in(listed: str, right: dict[str, str]) -> str:
    """A list with right labels by text, as a spreadsheet would save it."""
    rows = list(csv.DictReader(io.StringIO(listed.removeprefix("\ufeff"))))
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0], delimiter=";")
    writer.writeheader()
    writer.writerows(row | {"right_label": right.get(row["text"], "")} for row in rows)
    return out.getvalue()


def test_wrong_labels_in_every_split_are_listed_first_with_the_right_ones(prepared: Any, project: Layout) -> None:
    rows = topic_rows(400, TOPICS)
    wrong = {5: "fish", 101: "cat", 202: "bird", 303: "dog", 350: "dog", 390: "cat", 11: "dog", 12: "fish"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = find(prepared(with_wrong(rows, wrong)), project)
    assert found.checked == 400
    assert found.unchecked == found.reviewed == 0
    first = found.errors[:7]  # one of the eight looks like neither class
    expected = {rows[number][0]: (label, rows[number][1]) for number, label in wrong.items()}
    assert all(expected[error.text] == (error.label, error.suggested_label) for error in first)
    assert all(error.probability > 0.5 for error in first)
    assert {error.split for error in first} - {"train"}


def test_the_same_rows_give_the_same_list(prepared: Any, project: Layout) -> None:
    chosen = prepared(with_wrong(topic_rows(200, TOPICS), {3: "cat"}))
    assert as_csv(find(chosen, project).errors) == as_csv(find(chosen, project).errors)


def test_the_rule_is_that_of_the_article() -> None:
    draw = np.random.default_rng(1)
    labels = draw.integers(0, 5, size=600)
    probabilities = draw.dirichlet(np.ones(5) / 3, size=600)
    probabilities[np.arange(600), labels] += 1
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    labels[:100] = (labels[:100] + 1) % 5
    thresholds = np.array([probabilities[labels == one, one].mean() for one in range(5)])
    above = np.where(probabilities >= thresholds, probabilities, -1.0)
    expected = np.flatnonzero((above.max(axis=1) >= 0) & (above.argmax(axis=1) != labels))
    assert len(expected) > 20
    found = contradicted(labels, probabilities)
    assert sorted(found) == expected.tolist()
    others = probabilities.copy()
    others[np.arange(600), labels] = -1
    margins = (probabilities[np.arange(600), labels] - others.max(axis=1))[found]
    assert (np.diff(margins) >= 0).all()


def test_no_row_is_scored_by_a_model_that_has_seen_it(params: Params) -> None:
    """Texts without a word in common: a model that has seen a text knows its label, any other knows nothing."""
    texts = [f"word{number}a word{number}b shared words" for number in range(60)]
    labels = np.arange(60) % 3
    chosen = params.baseline.model_copy(update={"min_document_frequency": 1})
    probabilities = out_of_fold(texts, labels, chosen, seed=1)
    assert probabilities.shape == (60, 3)
    assert probabilities[np.arange(60), labels].max() < 0.5


def test_many_classes_and_classes_of_one_and_two_rows_are_checked_as_far_as_possible(prepared: Any, project: Layout) -> None:
    topics = [f"topic{number}x" for number in range(60)]
    rows = [*topic_rows(900, topics), ("one of a kind", "lonely"), ("pair one", "pair"), ("pair two", "pair")]
    wrong = {60 + number: topics[number + 7] for number in range(30)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = find(prepared(with_wrong(rows, wrong)), project)
    assert (found.checked, found.unchecked) == (902, 1)
    assert "lonely" not in {error.label for error in found.errors} | {error.suggested_label for error in found.errors}
    right = {rows[number][0]: rows[number][1] for number in wrong}
    first = found.errors[:5]
    assert [error.suggested_label for error in first] == [right.get(error.text) for error in first]
    assert len(first) == 5


def test_rows_without_two_classes_to_compare_are_refused(prepared: Any, project: Layout) -> None:
    rows = [(text, "most") for text, _ in topic_rows(60, TOPICS)]
    with pytest.raises(HeadwayError):
        find(prepared([*rows, ("something else", "single")]), project)


def test_a_filled_in_list_corrects_the_data_and_is_not_asked_about_again(prepared: Any, project: Layout) -> None:
    rows = topic_rows(400, TOPICS)
    source = with_wrong(rows, {5: "fish", 101: "cat", 202: "bird"})
    found = find(prepared(source), project)
    right = {rows[5][0]: "dog", rows[101][0]: "new", rows[202][0]: "bird"}  # the last one is confirmed
    project.corrections.mkdir(parents=True)
    (project.corrections / "list.csv").write_text(fill_in(as_csv(found.errors), right), encoding="utf-8-sig")
    chosen = prepared(source, **{"data.corrections": "list.csv"})
    profile = read_json(project.profile, made_by="prepare")["corrections"]
    assert profile == {
        "files": ["list.csv"],
        "texts": 3,
        "unmatched": 0,
        "rows": 2,
        "rows_by_class": {"dog": 1, "new": 1},
        "new_classes": ["new"],
    }
    again = find(chosen, project)
    assert (again.unchecked, again.reviewed) == (1, 1)
    assert not set(right) & {error.text for error in again.errors}


def test_labels_are_listed_as_the_data_have_them_before_the_label_map(prepared: Any, project: Layout) -> None:
    rows = [(text, {"cat": "K", "dog": "D"}.get(label, label)) for text, label in topic_rows(400, TOPICS)]
    rows[6] = (rows[6][0], "Cat")  # a fish
    rows += [(rows[6][0].upper(), "K")]
    knobs = {"data.label_map": {"K": "Cat", "D": "Dog"}}
    found = find(prepared(rows, **knobs), project)
    first = [error for error in found.errors if error.text == rows[6][0]]
    assert [(error.label, error.suggested_label) for error in first] == [("Cat", "fish"), ("K", "fish")]
    assert len({error.id for error in first}) == 2
    project.corrections.mkdir(parents=True)
    listed = fill_in(as_csv(found.errors), {rows[6][0]: "fish"})
    (project.corrections / "list.csv").write_text(listed, encoding="utf-8")
    chosen = prepared(rows, **knobs, **{"data.corrections": "*"})
    assert read_json(project.profile, made_by="prepare")["rows_quarantined"]["conflicting labels"] == 0
    assert rows[6][0] not in {error.text for error in find(chosen, project).errors}


@pytest.mark.parametrize("label_map", [{}, {"K": "Dog"}, {"K": "fish"}, {"K": "Cat", "fish": ""}, {"Dog": "K"}])
def test_rows_that_were_prepared_with_another_label_map_are_refused(
    prepared: Any, project: Layout, label_map: dict[str, str]
) -> None:
    rows = [(text, {"cat": "K", "dog": "Dog"}.get(label, label)) for text, label in topic_rows(60, TOPICS)]
    chosen = prepared(rows, **{"data.label_map": {"K": "Cat"}})
    changed = chosen.model_copy(update={"data": chosen.data.model_copy(update={"label_map": label_map})})
    with pytest.raises(HeadwayError) as caught:
        find(changed, project)
    assert "dvc repro prepare" in str(caught.value)


def test_rows_that_were_prepared_before_the_last_ingest_are_refused(prepared: Any, project: Layout) -> None:
    chosen = prepared(topic_rows(60, TOPICS))
    with (project.root / "own.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *topic_rows(60, ["cat", "fox"])])
    ingest(chosen, project)
    with pytest.raises(HeadwayError) as caught:
        find(chosen, project)
    assert "'bird'" in str(caught.value)


def of(text: str, label: str = "good", suggested: str = "bad") -> LabelErrors:
    return LabelErrors([LabelError("t0-0", "test", label, suggested, 0.98765, text)], 10, 1, 2)


def test_the_list_is_harmless_in_a_spreadsheet_and_its_cells_fit() -> None:
    listed = as_csv(of("=1+1" + "x" * 40_000, label="-1").errors)
    assert listed.startswith("\ufeffid,")
    (row,) = csv.DictReader(io.StringIO(listed.removeprefix("\ufeff")))
    assert row["right_label"] == ""
    assert row["label"] == "'-1"
    assert row["text"].startswith("'=1+1x")
    assert len(row["text"]) <= 32_767


@pytest.mark.parametrize("text", ["<script>alert(1)</script>\x00", "فيلم سيئ جدا", "x" * 1_000_000])
def test_the_page_shows_any_text_as_a_text(text: str) -> None:
    html = render(of(text, "</bdi><b>", "سيئ"))
    assert "<script" not in html
    assert "</bdi><b>" not in html
    assert 'dir="auto"' in html
    assert len(html) < 100_000


def run(layout: Layout, monkeypatch: pytest.MonkeyPatch, *options: str) -> Any:
    monkeypatch.chdir(layout.root)
    return CliRunner().invoke(cli.app, ["label-errors", *options])


def test_the_command_writes_list_and_page_and_keeps_what_is_filled_in(
    prepared: Any, project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = topic_rows(200, TOPICS)
    prepared(with_wrong(rows, {5: "fish"}))
    done = run(project, monkeypatch, "--most", "1")
    assert done.exit_code == 0, done.output
    assert "fish → dog" in done.output
    assert "move the list into data/corrections, and set data.corrections to label_errors.csv" in done.output
    assert not project.corrections.exists()  # ingest depends on it
    file = project.root / "label_errors.csv"
    assert len(list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8-sig"))))) == 1
    assert rows[5][0] in (project.scratch / "label_errors.html").read_text(encoding="utf-8")
    assert isinstance(run(project, monkeypatch).exception, HeadwayError)  # it exists
    file.write_text(fill_in(file.read_text(encoding="utf-8"), {rows[5][0]: "dog"}), encoding="utf-8")
    assert isinstance(run(project, monkeypatch, "--force").exception, HeadwayError)  # somebody has worked on it
    project.corrections.mkdir(parents=True)
    file.rename(project.corrections / file.name)
    assert read(project.corrections, file.name).right_labels
    done = run(project, monkeypatch, "--out", str(Path("data") / "corrections" / "2.csv"))
    assert done.exit_code == 0
    assert "set data.corrections to 2.csv; data/corrections has changed, so ingest will run again" in done.output


@pytest.mark.parametrize("name", ["list.txt", "list", "list.csv.bak"])
def test_a_list_is_written_to_a_csv_file_only(
    prepared: Any, project: Layout, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    prepared(topic_rows(60, TOPICS))
    (project.root / name).write_text("filled in")
    error = run(project, monkeypatch, "--out", name, "--force").exception
    assert isinstance(error, HeadwayError)
    assert ".csv" in str(error)
    assert (project.root / name).read_text() == "filled in"


def test_test_rows_of_a_class_that_no_training_row_has_are_left_aside(prepared: Any, project: Layout) -> None:
    """Only a split by time has such rows."""
    params = prepared(with_wrong(topic_rows(400, TOPICS), {7: "cat"}))
    before = find(params, project)
    test = project.prepared / "test.parquet"
    table = pq.read_table(test)
    new = {"id": "0", "text": "something new", "label": "new", "label_id": -1}
    pq.write_table(pa.concat_tables([pa.Table.from_pylist([new], table.schema), table]), test)
    assert find(params, project) == before
