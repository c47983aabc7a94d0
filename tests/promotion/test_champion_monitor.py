"""A champion of a real registry is monitored, and the former one restored when labels show that it was better."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filelock import FileLock

from headway.champion_monitor import monitor as monitor_module
from headway.champion_monitor.auto_rollback import restore_former_champion
from headway.champion_monitor.monitor import monitor_log
from headway.champion_monitor.publication import RECORD, publish
from headway.champion_monitor.term import current_term
from headway.errors import HeadwayError
from headway.monitoring.record import GuardRecord, MonitoringRecord
from headway.promotion.decision import FORCED, ROLLBACK, Decision
from headway.promotion.project import Project
from headway.registry.version_ref import MONITORING_TAG
from headway.serving.log.rows import SCHEMA, with_classes
from headway.serving.log.store import part_name
from headway.serving.log.writer import open_log
from tests.promotion.conftest import House, decision_content, ref, story

CLASSES = ["negative", "positive"]


@pytest.fixture
def project(house: House, tmp_path: Path) -> Project:
    """Version 2 is champion, version 1 was; three of version 2's answers are in the log."""
    params = house.stock.params.override({"serving.log.folder": str(tmp_path / "log"), "registry.auto_rollback": True})
    layout = house.registry.tracker.layout
    layout.prepared.parent.mkdir(parents=True, exist_ok=True)
    layout.prepared.symlink_to(house.stock.layout.prepared)
    tag = {"headway.split": "{}"}
    for which in (0, 1):
        version = house.version(which)
        for name, value in tag.items():
            house.registry.client.set_model_version_tag(house.registry.name, version.version, name, value)
        house.decide(version, FORCED if which else "promotion")
    time = datetime.now(UTC) + timedelta(seconds=5)
    rows = [
        {
            "request_id": f"r{row}",
            "time": time,
            "version": "2",
            "role": "champion",
            "source": "http",
            "label": "positive",
            "probability": 0.9,
            "characters": 60,
            "unknown_share": 0.0,
        }
        for row in range(3)
    ]
    table = pa.Table.from_pylist(rows, SCHEMA).replace_schema_metadata(with_classes(CLASSES))
    open_log(params.serving.log).write(part_name(time, "w"), time.date(), table)
    return Project(params, layout, house.registry)


def shown(record: MonitoringRecord, doubt: str = "") -> MonitoringRecord:
    """The record, had labels shown that version 1 is better."""
    guard = GuardRecord(
        former="1", rows=900, only_champion=20, only_former=70, difference=0.0556, low=0.02, high=0.09,
        log10=3.1, highest=3.2, threshold=1.3, crossed_row=412,
        doubt=doubt,
    )  # fmt: skip
    return record.model_copy(update={"guard": guard})


def test_what_is_found_is_stored_with_the_version_and_on_a_page(project: Project) -> None:
    record = monitor_log(project)
    assert (record.version, record.answers, record.status) == ("2", 3, "ok")
    assert record.promised == 0.9105
    published = publish(project, record, print)
    assert "nothing shows that version 2 has become worse" in published.page.read_text(encoding="utf-8").lower()
    version = project.registry.version("2")
    assert version is not None
    assert version.tags[MONITORING_TAG].startswith("ok, ")
    assert not published.is_news


def test_the_same_warning_is_news_once(project: Project) -> None:
    record = monitor_log(project)
    worse = record.model_copy(update={"status": "warning", "reasons": ("length: other than on the test rows",)})
    assert [publish(project, one, print).is_news for one in (record, worse, worse, record, worse)] == [
        False,
        True,
        False,
        False,
        True,
    ]
    alarm = worse.model_copy(update={"status": "alarm"})
    assert publish(project, alarm, print).is_news


def test_a_former_champion_that_was_better_is_restored_on_record(project: Project, house: House) -> None:
    record = monitor_log(project)
    published: list[Decision] = []
    assert restore_former_champion(project, record, published.append, nullcontext) is None
    decision = restore_former_champion(project, shown(record), published.append, nullcontext)
    assert decision is not None
    assert (decision.kind, decision.candidate.version, house.champion()) == (ROLLBACK, "1", "1")
    assert "version 1 alone was right on 70" in decision.reason
    assert published == [decision]
    assert restore_former_champion(project, shown(record), published.append, nullcontext) is None, (
        "the champion is another one"
    )


def test_labels_in_doubt_restore_nothing(project: Project, house: House) -> None:
    record = shown(monitor_log(project), "12 labels are too few to be sure that they are a random sample")
    assert restore_former_champion(project, record, lambda _: None, nullcontext) is None
    assert house.champion() == "2"


def test_rows_that_join_the_test_split_do_not_change_the_reference(project: Project) -> None:
    before = monitor_log(project)
    prepared = project.layout.prepared
    table = pq.read_table(prepared / "test.parquet")
    folder = prepared.resolve()
    prepared.unlink()
    shutil.copytree(folder, prepared)
    pq.write_table(pa.concat_tables([table, table.slice(0, 1)]), prepared / "test.parquet")
    assert monitor_log(project) == before


def test_example_texts_stay_in_the_project(project: Project) -> None:
    record = monitor_log(project).model_copy(update={"examples": ("the film that only we may keep",)})
    published = publish(project, record, print)
    assert "the film that only we may keep" in (project.layout.reports / RECORD).read_text(encoding="utf-8")
    version = project.registry.version("2")
    assert version is not None
    assert published.page.is_file()
    folder = Path(project.registry.client.download_artifacts(version.run_id or "", "monitoring"))
    stored = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}
    assert set(stored) == {"page.html", "record.json"}
    assert not any("only we may keep" in text for text in stored.values())
    beside_the_log = Path(project.params.serving.log.folder) / "monitor" / "record.json"
    stored_there = MonitoringRecord.model_validate_json(beside_the_log.read_text(encoding="utf-8"))
    assert stored_there == record.model_copy(update={"examples": ()})


def test_a_second_monitor_waits_and_then_says_so(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor_module, "SECONDS_TO_WAIT", 0)
    before = monitor_log(project)
    with (
        FileLock(project.layout.scratch / "monitor.lock"),
        pytest.raises(HeadwayError, match="another `headway monitor` is running"),
    ):
        monitor_log(project)
    assert monitor_log(project) == before


def test_it_is_not_restored_unless_wanted(project: Project, house: House) -> None:
    off = replace(project, params=project.params.override({"registry.auto_rollback": False}))
    assert restore_former_champion(off, shown(monitor_log(off)), lambda _: None, nullcontext) is None
    assert house.champion() == "2"


def test_the_term_begins_with_the_last_change() -> None:
    history = story(("promotion", 1), ("promotion", 2), ("refusal", 3), ("rollback", 1))
    term = current_term(history, "m")
    assert (term.champion, term.number, term.former) == (ref(1), 4, ref(2))
    assert term.promised == decision_content(ref(1), None)["scores"]["candidate"]["accuracy"]


def test_without_a_champion_there_is_nothing_to_monitor() -> None:
    for history in ([], story(("refusal", 1)), story(("promotion", 1), ("retirement", 1))):
        with pytest.raises(HeadwayError, match="has no champion"):
            current_term(history, "m")


def test_without_a_log_the_remedy_is_told(project: Project) -> None:
    off = replace(project, params=project.params.override({"serving.log.folder": ""}))
    with pytest.raises(HeadwayError, match=r"serving\.log\.folder: is empty"):
        monitor_log(off)
