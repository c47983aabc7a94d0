"""Answers whose label has arrived become rows to learn from, once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headway.champion_monitor.feedback import FILE, collect_feedback
from headway.champion_monitor.triggers import labels_since, reasons_to_retrain
from headway.errors import HeadwayError
from headway.layout import Layout
from headway.params import LogParams, Params, RetrainParams
from headway.promotion.project import Project
from headway.serving.log import LabelRow, add_labels
from headway.serving.log.rows import SCHEMA, text_hash
from headway.serving.log.store import part_name
from headway.serving.log.writer import open_log

START = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.fixture
def project(params: Params, tmp_path: Path) -> Project:
    layout = Layout(tmp_path)
    given = params.override(
        {"serving.log.folder": str(tmp_path / "log"), "serving.log.texts": "full", "data.feedback": True}
    )
    return Project(given, layout, None)  # type: ignore[arg-type] # the registry is not asked


def log_texts(log: LogParams, texts: list[str], role: str = "champion", day: int = 0) -> None:
    """Log answers with the request ids c00, c01, … on day 0; s00, … in the shadow."""
    time = START + timedelta(days=day)
    rows = [
        {
            "request_id": f"{role[0]}{day}{number}",
            "time": time,
            "version": "1",
            "role": role,
            "source": "http",
            "label": "positive",
            "probability": 0.9,
            "characters": len(text),
            "text_sha256": text_hash(text),
            "text": text,
        }
        for number, text in enumerate(texts)
    ]
    open_log(log).write(part_name(time, f"{role}-{day}"), time.date(), pa.Table.from_pylist(rows, SCHEMA))


def written(project: Project) -> list[tuple[str, str, str]]:
    table = pq.read_table(project.layout.feedback / FILE)
    return list(zip(*(table[name].to_pylist() for name in ("text", "label", "time")), strict=True))


def test_labelled_texts_are_written_once_and_stay(project: Project) -> None:
    log = project.params.serving.log
    log_texts(log, ["fine", "dull", "so so"])
    assert collect_feedback(project) == 0
    assert not (project.layout.feedback / FILE).exists()
    add_labels(log, [LabelRow("positive", request_id="c00"), LabelRow("negative", text="dull")], "test")
    assert collect_feedback(project) == 2
    assert written(project) == [("fine", "positive", START.isoformat()), ("dull", "negative", START.isoformat())]
    add_labels(log, [LabelRow("negative", request_id="c02")], "test")
    open_log(log).remove(START.date())  # the log expires
    log_texts(log, ["so so"], day=1)
    add_labels(log, [LabelRow("negative", text="so so")], "test")
    assert (collect_feedback(project), collect_feedback(project)) == (1, 0)
    assert [row[0] for row in written(project)] == ["fine", "dull", "so so"]


def test_contradicted_labels_and_shadows_are_left_out(project: Project) -> None:
    log = project.params.serving.log
    log_texts(log, ["fine"])
    log_texts(log, ["dull"], role="shadow")
    add_labels(log, [LabelRow("positive", request_id="c00"), LabelRow("negative", text="fine")], "test")
    add_labels(log, [LabelRow("negative", request_id="s00")], "test")
    assert collect_feedback(project) == 0


def test_labels_that_the_map_would_change_again_are_one_line(project: Project) -> None:
    log_texts(project.params.serving.log, ["fine"])
    add_labels(project.params.serving.log, [LabelRow("1", request_id="c00")], "test")
    params = project.params.override({"data.label_map": {"0": "1", "1": "2"}})
    with pytest.raises(HeadwayError, match="would be mapped twice"):
        collect_feedback(Project(params, project.layout, project.registry))


def test_a_file_of_ones_own_without_times_is_kept(project: Project) -> None:
    project.layout.feedback.mkdir(parents=True)
    pq.write_table(pa.table({"label": ["positive"], "text": ["mine"]}), project.layout.feedback / FILE)
    log_texts(project.params.serving.log, ["fine"])
    add_labels(project.params.serving.log, [LabelRow("positive", request_id="c00")], "test")
    assert collect_feedback(project) == 1
    assert [row[0] for row in written(project)] == ["mine", "fine"]
    pq.write_table(pa.table({"text": ["mine"]}), project.layout.feedback / FILE)
    with pytest.raises(HeadwayError, match="has no column 'label'"):
        collect_feedback(project)


@pytest.mark.parametrize("texts", ["none", "hashed"])
def test_a_log_without_texts_is_one_line(project: Project, texts: str) -> None:
    params = project.params.override({"serving.log.texts": texts})
    with pytest.raises(HeadwayError, match=f"serving.log.texts is {texts}; set it to full"):
        collect_feedback(Project(params, project.layout, project.registry))


def test_without_a_log_there_is_nothing_to_collect(project: Project) -> None:
    params = project.params.override({"serving.log.folder": ""})
    assert collect_feedback(Project(params, project.layout, project.registry)) == 0


def test_labels_are_counted_from_a_time_on(project: Project) -> None:
    log = project.params.serving.log
    log_texts(log, ["fine", "dull"])
    before = datetime.now(UTC)
    add_labels(log, [LabelRow("positive", request_id="c00"), LabelRow("negative", request_id="c01")], "test")
    after = datetime.now(UTC)
    store = open_log(log)
    assert (labels_since(store, None), labels_since(store, before), labels_since(store, after)) == (2, 2, 0)


def test_enough_labels_are_a_reason_to_retrain() -> None:
    params = RetrainParams(on_alarm=True, new_labels=10)
    decided = [object()]
    assert reasons_to_retrain(params, decided, None, 9) == []  # type: ignore[arg-type] # only whether there are any counts
    (reason,) = reasons_to_retrain(params, decided, None, 10)  # type: ignore[arg-type]
    assert reason.startswith("10 labels arrived")
    never = RetrainParams(on_alarm=True, new_labels=0)
    assert reasons_to_retrain(never, decided, None, 10_000) == []  # type: ignore[arg-type]


def test_no_model_is_a_reason_to_train() -> None:
    assert reasons_to_retrain(RetrainParams(on_alarm=False, new_labels=0), [], None, 0) == ["there is no model yet"]
