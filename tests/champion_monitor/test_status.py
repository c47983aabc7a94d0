"""What `headway status` says, from a history, a record and a log."""

from __future__ import annotations

from pathlib import Path

import pytest

from headway.champion_monitor.publication import RECORD
from headway.champion_monitor.status import status_lines
from headway.files import write_text
from headway.layout import Layout
from headway.monitoring.findings import Watched, record_of
from headway.params import Params
from headway.promotion.decision import Decision
from headway.serving.log import LabelRow, add_labels
from tests.champion_monitor.test_watch import new_monitor
from tests.promotion.conftest import story


@pytest.fixture
def history() -> list[Decision]:
    return story(("promotion", 1), ("refusal", 2), ("promotion", 3), ("refusal", 4), ("refusal", 5), ("refusal", 6))


def lines(
    params: Params, folder: Path, history: list[Decision], runs: tuple[str, ...] = (), missed: tuple[str, ...] = ()
) -> list[str]:
    return list(status_lines(params, Layout(folder), history, runs, missed))


def test_the_champion_its_decisions_and_the_next_run_are_listed(
    params: Params, history: list[Decision], tmp_path: Path
) -> None:
    found = lines(params, tmp_path, history, ("Mon 2027-01-04 03:00 +01:00, retrain",))
    assert found[0].startswith("champion: version 3 of headway, for 0 days")
    assert "accuracy: 91.0% promised" in found
    assert [line.split(",")[0] for line in found if line.startswith("decision")] == [
        f"decision {n}" for n in (6, 5, 4, 3, 2)
    ]
    assert "next run: Mon 2027-01-04 03:00 +01:00, retrain" in found


def test_a_missed_run_is_listed_before_the_next_one(params: Params, history: list[Decision], tmp_path: Path) -> None:
    found = lines(params, tmp_path, history, ("Mon 2027-01-04 03:00 +01:00, retrain",), ("retrain of Sun did not start",))
    assert found.index("missed run: retrain of Sun did not start") < found.index(
        "next run: Mon 2027-01-04 03:00 +01:00, retrain"
    )


def test_only_a_record_of_this_champion_counts(params: Params, history: list[Decision], tmp_path: Path) -> None:
    assert any(line.startswith("monitoring: not yet for this champion") for line in lines(params, tmp_path, history))
    for decision, expected in (("another", "not yet"), (history[2].id, "ok, 0 answers")):
        record = record_of(
            new_monitor(), Watched("headway", "3", decision, history[2].when, "log", 0.9, None, ()), 100, None
        )
        write_text(tmp_path / "reports" / RECORD, record.as_json())
        assert any(line.startswith(f"monitoring: {expected}") for line in lines(params, tmp_path, history))


def test_labels_since_the_last_decision_are_counted(params: Params, history: list[Decision], tmp_path: Path) -> None:
    with_log = params.override({"serving.log.folder": str(tmp_path / "log"), "retrain.new_labels": 7})
    add_labels(with_log.serving.log, [LabelRow("positive", request_id="r0")], "test")
    assert "labels: 1 since the last decision; a reason to retrain from 7 on" in lines(with_log, tmp_path, history)


def test_without_a_champion_the_remedy_is_named(params: Params, tmp_path: Path) -> None:
    found = lines(params, tmp_path, [])
    assert found[0] == "champion: none of headway; `make run` promotes one"
    assert found[-1].startswith("next run: none")
