"""``headway retrain --if-needed`` says why it retrains, or why it does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows import execution, pipeline
from headway import cli
from headway.params import load
from headway.serving.log import LabelRow, add_labels
from headway.serving.log.store import located
from tests.promotion.conftest import House
from tests.promotion.test_monitor_command import CLASSES, champion, log
from tests.real_texts import chinese

__all__ = ["champion"]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runs of the pipeline, which do nothing; every stage is out of date."""
    started: list[str] = []
    monkeypatch.setattr(pipeline, "main", lambda: started.append("run"))
    monkeypatch.setattr(execution, "changed_stages", lambda layout: {"train"})
    return started


def retrain(*arguments: str) -> str:
    done = CliRunner().invoke(cli.app, ["retrain", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def wrong_labels(champion: House, rows: int) -> None:
    """Answers, each of which was wrong."""
    texts = chinese(rows)[0]
    log(texts, [CLASSES[row % 2] for row in range(rows)])
    params = located(load(Path("params.yaml")).serving.log, Path.cwd())
    add_labels(params, [LabelRow(CLASSES[1 - row % 2], request_id=f"r{row}") for row in range(rows)], "test")


def change(before: str, after: str) -> None:
    text = Path("params.yaml").read_text(encoding="utf-8")
    assert before in text
    Path("params.yaml").write_text(text.replace(before, after), encoding="utf-8")


def test_without_the_option_it_runs(champion: House, runs: list[str]) -> None:
    retrain()
    assert runs == ["run"]


def test_without_a_reason_it_says_so(champion: House, runs: list[str]) -> None:
    assert retrain("--if-needed") == "no retraining: monitoring: ok; 0 labels since the last decision\n"
    assert runs == []


def test_an_alarm_is_a_reason(champion: House, runs: list[str]) -> None:
    wrong_labels(champion, 120)
    said = retrain("--if-needed")
    assert said.startswith("retraining: monitoring raised an alarm: the accuracy of the labelled answers is below")
    assert runs == ["run"]
    assert Path("reports/monitor.html").is_file()


def test_an_alarm_is_no_reason_if_it_is_switched_off(champion: House, runs: list[str]) -> None:
    change("  on_alarm: true", "  on_alarm: false")
    wrong_labels(champion, 120)
    assert "no retraining: monitoring: alarm; 120 labels" in retrain("--if-needed")
    assert runs == []


def test_enough_new_labels_are_a_reason(champion: House, runs: list[str]) -> None:
    change("  on_alarm: true", "  on_alarm: false")
    change("  new_labels: 500", "  new_labels: 120")
    wrong_labels(champion, 120)
    assert "retraining: 120 labels arrived since the last decision" in retrain("--if-needed")
    assert runs == ["run"]


def test_a_run_that_would_change_nothing_is_skipped(
    champion: House, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "changed_stages", lambda layout: set())
    wrong_labels(champion, 120)
    assert "but a run would change nothing" in retrain("--if-needed")
    assert runs == []


def test_labels_become_rows_before_it_is_asked_what_has_changed(champion: House, runs: list[str]) -> None:
    change("  feedback: false", "  feedback: true")
    wrong_labels(champion, 120)
    retrain("--if-needed")
    assert Path("data/feedback/labelled.parquet").is_file()
    assert runs == ["run"]


def test_without_a_log_only_a_first_model_is_a_reason(champion: House, runs: list[str]) -> None:
    change("    folder: log ", '    folder: ""  ')
    assert "serving.log.folder is empty" in retrain("--if-needed")
    assert runs == []
