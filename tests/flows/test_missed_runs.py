"""A scheduled run that did not start is noticed from files, and announced once."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect.logging import disable_run_logger

from flows import missed_runs, monitor, pipeline
from flows.missed_runs import MissedRun, announce, find, forget_schedule, note_schedule, noted_run
from headway import preflight
from headway.errors import HeadwayError
from headway.files import write_json
from headway.layout import Layout
from headway.notifications import VARIABLE, Message

NOW = datetime(2026, 12, 3, 12, 0, tzinfo=UTC)
GONE = 2**22 + 1


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


def scheduled(layout: Layout, since: datetime, process: int = GONE, **crons: str) -> None:
    """A schedule that began at a time, in a process that has ended."""
    began = psutil.Process(process).create_time() if psutil.pid_exists(process) else 0.0
    when = {"process": process, "began": began, "since": since.isoformat()}
    record = {**when, "zone": "UTC", "crons": crons or {"retrain": "0 3 * * *"}}
    write_json(layout.scratch / missed_runs.RECORD, record)


def ran(layout: Layout, name: str, time: datetime) -> None:
    write_json(layout.scratch / missed_runs.LAST_RUN.format(name), {"time": time.isoformat()})


def test_nothing_is_missed_without_a_schedule(layout: Layout) -> None:
    assert find(layout, NOW) == []
    layout.scratch.mkdir()
    (layout.scratch / missed_runs.RECORD).write_text('{"process": ')  # half written
    assert find(layout, NOW) == []


def test_a_run_after_the_last_due_time_is_enough(layout: Layout) -> None:
    scheduled(layout, NOW - timedelta(days=9))
    ran(layout, "retrain", NOW.replace(hour=3, minute=1))
    assert find(layout, NOW) == []


def test_the_first_run_that_was_due_and_did_not_start_is_missed(layout: Layout) -> None:
    scheduled(layout, NOW - timedelta(days=9))
    ran(layout, "retrain", NOW - timedelta(days=2))
    (missed,) = find(layout, NOW)
    assert missed.run == "retrain of Wed 2026-12-02 03:00 +00:00"
    assert f"process {GONE} has ended" in missed.remedy
    assert '`headway schedule --cron "0 3 * * *" --timezone UTC`' in missed.remedy
    assert f"or remove {layout.scratch / missed_runs.RECORD}" in missed.remedy


def test_a_schedule_misses_nothing_from_before_it_began(layout: Layout) -> None:
    scheduled(layout, NOW.replace(hour=4))
    assert find(layout, NOW) == []
    assert find(layout, NOW + timedelta(days=1)) != []


def test_a_run_may_start_some_minutes_late(layout: Layout) -> None:
    scheduled(layout, NOW - timedelta(days=1))
    ran(layout, "retrain", NOW - timedelta(days=1))
    assert find(layout, NOW.replace(hour=3, minute=14)) == []
    assert find(layout, NOW.replace(hour=3, minute=16)) != []


def test_each_flow_misses_its_own_runs(layout: Layout) -> None:
    scheduled(layout, NOW - timedelta(days=1), retrain="0 3 * * *", monitor="0 * * * *")
    ran(layout, "retrain", NOW)
    (missed,) = find(layout, NOW)
    assert missed.run.startswith("monitor of ")
    assert '--monitor "0 * * * *"' in missed.remedy


def test_a_process_that_still_runs_is_not_said_to_have_ended(layout: Layout) -> None:
    scheduled(layout, NOW - timedelta(days=2), process=os.getpid())
    assert "still runs" in find(layout, NOW)[0].remedy


def test_another_process_with_the_number_of_one_that_has_ended_is_not_taken_for_it(layout: Layout) -> None:
    scheduled(layout, NOW - timedelta(days=2), process=os.getpid())
    file = layout.scratch / missed_runs.RECORD
    write_json(file, {**json.loads(file.read_text()), "began": 1.0})
    assert "has ended" in find(layout, NOW)[0].remedy


def time_of(layout: Layout, name: str) -> str:
    return str(json.loads((layout.scratch / missed_runs.LAST_RUN.format(name)).read_text())["time"])


def test_a_run_is_noted_at_its_start_and_its_end(layout: Layout) -> None:
    with noted_run(layout, "retrain"):
        started = time_of(layout, "retrain")
    assert time_of(layout, "retrain") > started


def test_no_run_is_missed_while_the_flow_runs(layout: Layout) -> None:
    scheduled(layout, NOW - timedelta(days=9), retrain="* * * * *", monitor="* * * * *")
    later = datetime.now(UTC) + timedelta(hours=1)
    with noted_run(layout, "retrain"):
        assert [one.run.split()[0] for one in find(layout, later)] == ["monitor"]
    assert [one.run.split()[0] for one in find(layout, later)] == ["retrain", "monitor"]


def test_a_run_that_was_killed_does_not_count_as_running(layout: Layout) -> None:
    scheduled(layout, NOW - timedelta(days=9))
    run = {"time": (NOW - timedelta(days=2)).isoformat(), "process": GONE, "began": 0.0}
    write_json(layout.scratch / missed_runs.LAST_RUN.format("retrain"), run)
    assert len(find(layout, NOW)) == 1


def test_a_run_that_is_refused_leaves_the_one_in_progress_noted(layout: Layout) -> None:
    scheduled(layout, NOW - timedelta(days=9), retrain="* * * * *")
    later = datetime.now(UTC) + timedelta(hours=1)
    with noted_run(layout, "retrain"):
        with pytest.raises(OSError, match="refused"), noted_run(layout, "retrain"):
            raise OSError("refused")
        assert find(layout, later) == []
    assert len(find(layout, later)) == 1


def test_a_run_goes_on_if_it_cannot_be_noted(layout: Layout) -> None:
    layout.scratch.write_text("no folder")
    with noted_run(layout, "retrain"):
        pass


@pytest.mark.parametrize(("flow", "name"), [(pipeline.pipeline, "retrain"), (monitor.monitor, "monitor")])
def test_a_run_that_started_and_failed_its_first_check_is_not_missed(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, flow: Any, name: str
) -> None:
    def refuse(_: Layout) -> None:
        raise HeadwayError("params.yaml: a mistake")

    monkeypatch.setattr(preflight, "check", refuse)
    monkeypatch.setattr(Layout, "find", lambda _: layout)
    with disable_run_logger(), pytest.raises(HeadwayError, match="a mistake"):
        flow.fn()
    assert time_of(layout, name)


def test_a_schedule_is_kept_until_it_is_ended(layout: Layout) -> None:
    note_schedule(layout, {"retrain": "0 3 * * *"}, "Europe/Berlin")
    assert find(layout) == []
    assert find(layout, datetime.now(UTC) + timedelta(days=2))[0].run.endswith(("+01:00", "+02:00"))
    forget_schedule(layout)
    assert find(layout, datetime.now(UTC) + timedelta(days=2)) == []


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Message]]:
    messages: list[Message] = []
    monkeypatch.setenv(VARIABLE, "unused")
    monkeypatch.setattr(missed_runs, "notify", lambda message, warn: messages.append(message))
    return messages


def test_a_missed_run_is_announced_once(layout: Layout, sent: list[Message]) -> None:
    scheduled(layout, NOW - timedelta(days=2))
    for _ in range(3):
        announce(layout, find(layout, NOW), print)
    assert [message.event for message in sent] == ["missed_run"]
    assert "did not start" in sent[0].line
    ran(layout, "retrain", NOW)
    announce(layout, find(layout, NOW), print)
    announce(layout, find(layout, NOW + timedelta(days=1)), print)
    assert len(sent) == 2


def test_nothing_is_written_while_nothing_is_missed(layout: Layout, sent: list[Message]) -> None:
    announce(layout, [], print)
    assert not layout.scratch.exists()
    assert sent == []


def test_the_record_is_json_that_another_version_can_read(layout: Layout) -> None:
    note_schedule(layout, {"retrain": "0 3 * * *"}, "UTC")
    record = json.loads((layout.scratch / missed_runs.RECORD).read_text())
    assert record["process"] == os.getpid()
    assert record["crons"] == {"retrain": "0 3 * * *"}


def test_what_was_announced_is_remembered_while_others_are_found(layout: Layout, sent: list[Message]) -> None:
    """`headway status` finds late runs of a server too, `headway monitor` only those of the record."""
    record, late = MissedRun("retrain of Mon", "start it"), MissedRun("monitor of Tue", "start it")
    for found in ([record], [late], [record], [], [record, late]):
        announce(layout, found, print)
    assert len(sent) == 2
    many = [MissedRun(f"retrain {number}", "start it") for number in range(2 * missed_runs.MOST_ANNOUNCED)]
    announce(layout, many, print)
    assert len(json.loads((layout.scratch / missed_runs.ANNOUNCED).read_text())) == missed_runs.MOST_ANNOUNCED
