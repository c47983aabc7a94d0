"""What is known about scheduled runs, from the Prefect server and from files."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows import missed_runs, server, status
from flows.missed_runs import MissedRun
from headway.errors import HeadwayError
from headway.layout import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


def on_the_server(monkeypatch: pytest.MonkeyPatch, *hours: float) -> None:
    """A server with runs that are due in some hours."""
    now = datetime.now(UTC)
    monkeypatch.setattr(server, "is_there", lambda: True)
    monkeypatch.setattr(server, "connected", nullcontext)
    monkeypatch.setattr(status, "_scheduled", lambda _: [(now + timedelta(hours=one), "retrain") for one in hours])


def test_without_a_server_there_is_nothing_to_say(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "is_there", lambda: False)
    assert status.schedule(layout) == status.Schedule([], [])


def test_the_next_runs_are_listed_and_a_late_one_is_missed(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    on_the_server(monkeypatch, -2, -1, 1, 2, 3, 4)
    found = status.schedule(layout)
    assert len(found.next) == status.MOST_RUNS
    (missed,) = found.missed
    assert missed.run.startswith("retrain of ")
    assert "start it" in missed.remedy
    assert found.problem == ""


def test_a_run_that_is_some_minutes_late_is_not_missed(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    on_the_server(monkeypatch, -0.2, 1)
    assert status.schedule(layout).missed == []


def test_a_server_that_does_not_answer_is_a_problem_and_files_still_count(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    missed = MissedRun("retrain of yesterday", "start it")
    monkeypatch.setattr(missed_runs, "find", lambda _: [missed])

    def refuse() -> bool:
        raise HeadwayError("it does not answer; start it")

    monkeypatch.setattr(server, "is_there", refuse)
    assert status.schedule(layout) == status.Schedule([], [missed], "it does not answer; start it")
    on_the_server(monkeypatch)
    monkeypatch.setattr(status, "_scheduled", lambda _: 1 / 0)
    assert "division by zero" in status.schedule(layout).problem
