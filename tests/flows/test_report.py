"""What a flow run prints and publishes as artifacts: the headline and the closing tables."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from flows import pipeline, report
from flows.execution import RAN, UP_TO_DATE, StageResult
from flows.report import Report
from headway.errors import HeadwayError
from headway.files import write_json
from headway.layout import Layout
from headway.lineage import execution_key
from headway.params import Params
from headway.promotion.decision import PROMOTION
from headway.promotion.outcome import PROMOTED, REFUSED, UNCHANGED, WAITING, Outcome
from headway.promotion.project import EXECUTION
from headway.tracking import Tracker
from headway.tracking_labels import VIEW, data_name
from tests.promotion.conftest import story
from tests.reporting.test_learning import MAJORITY
from tests.reporting.test_learning import report as training_report

STAGES = (StageResult("prepare", UP_TO_DATE, 0.4), StageResult("train", RAN, 61.26))
NOT_LEARNED = training_report(MAJORITY)
LINES = ("promote:", "✓ enough_test_rows: 2,415 test rows, at least 100 required")


def scores(accuracy: float) -> dict[str, Any]:
    measured = {"accuracy_low": accuracy - 0.01, "accuracy_high": accuracy + 0.01, "macro_f1": 0.8999}
    return {"rows": 2415, "accuracy": accuracy, **measured, "negative_log_likelihood": 0.25}


def closing(
    outcome: str = PROMOTED, champion: str | None = "3", search: str = "8 trials, 2 pruned", lines: tuple[str, ...] = LINES
) -> Report:
    models = {"candidate": scores(0.92), "linear baseline": scores(0.91)}
    return Report(STAGES, Outcome(outcome, "3", champion, list(lines), models), 0.95, search, 433.14)


@pytest.mark.parametrize(
    ("outcome", "champion", "headline"),
    [
        (PROMOTED, "3", "PROMOTED: version 3 is champion"),
        (UNCHANGED, "2", "UNCHANGED: version 2 stays champion"),
        (REFUSED, "2", "REFUSED: version 3 is not promoted, version 2 stays champion"),
        (REFUSED, None, "REFUSED: version 3 is not promoted, there is no champion"),
        (WAITING, "2", "WAITING: version 3 passed the gate and waits for approval, version 2 stays champion"),
        (WAITING, None, "WAITING: version 3 passed the gate and waits for approval, there is no champion"),
    ],
)
def test_the_headline_says_who_is_champion_now(outcome: str, champion: str | None, headline: str) -> None:
    assert closing(outcome, champion).headline == headline


def cells(printed: str, first: str) -> list[str]:
    """The row of a printed table that begins with this cell."""
    rows = [[cell.strip() for cell in line.strip("│┃").split("│")] for line in printed.splitlines() if line.startswith("│")]
    (row,) = [row for row in rows if row[0] == first]
    return row


def test_the_closing_tables_hold_every_stage_the_search_the_total_and_every_model(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    report.show(closing())
    printed = capsys.readouterr().out
    assert cells(printed, "prepare") == ["prepare", "up to date", ""]
    assert cells(printed, "train") == ["train", "ran", "61.3"]
    assert cells(printed, "search") == ["search", "8 trials, 2 pruned", ""]
    assert cells(printed, "total") == ["total", "", "433.1"]
    assert "the same 2,415 rows" in printed
    assert "95% interval" in printed
    assert cells(printed, "candidate") == ["candidate", "0.9200", "0.9100 to 0.9300", "0.8999", "0.2500"]
    assert cells(printed, "linear baseline")[1] == "0.9100"
    assert "PROMOTED: version 3 is champion\n  ✓ enough_test_rows" in printed


def test_a_slice_that_no_row_matches_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    shown = closing()
    shown.outcome.scores["candidate"]["slices"] = {"long": {"rows": 0}, "short": {"rows": 3}}
    report.show(shown)
    assert "\nno test row matches 1 slice: long\n" in capsys.readouterr().out


def test_a_part_that_did_not_learn_is_named_in_the_closing_tables_and_in_the_artifact(
    project: Layout, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_json(project.metrics("training"), NOT_LEARNED)
    (line,) = report.describe_learning(project)
    shown = replace(closing(), not_learned=(line,))
    report.show(shown)
    assert f"\n{line}\nPROMOTED" in capsys.readouterr().out
    made: dict[str, Any] = {}
    monkeypatch.setattr(report, "create_table_artifact", lambda *_, **__: None)
    monkeypatch.setattr(report, "create_markdown_artifact", lambda content, key, description: made.update({key: content}))
    report.publish(shown)
    assert "- The attention part did not learn" in made["headway-decision"]


def test_an_outcome_of_one_line_shows_that_line(capsys: pytest.CaptureFixture[str]) -> None:
    report.show(closing(UNCHANGED, lines=("nothing to decide",)))
    assert "stays champion\n  nothing to decide\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("found", "description"),
    [
        ({"trials": 8, "pruned": 2, "failed": 0, "winner": 3}, "8 trials, 2 pruned"),
        ({"trials": 9, "pruned": 0, "failed": 1, "winner": 0}, "9 trials, 1 failed, defaults kept"),
        ({"trials": 1, "pruned": 0, "failed": 0, "winner": 0}, "1 trial, defaults kept"),
    ],
)
def test_the_search_is_described_in_numbers(project: Layout, found: dict[str, int], description: str) -> None:
    write_json(project.metrics("search"), found)
    assert report.describe_search(project) == description


def test_without_a_search_there_is_no_description(project: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.describe_search(project) == ""
    report.show(closing(search=""))
    assert "search" not in capsys.readouterr().out


def test_what_the_search_left_damaged_is_one_line(project: Layout) -> None:
    project.metrics("search").parent.mkdir()
    project.metrics("search").write_text("{")
    with pytest.raises(HeadwayError, match="damaged"):
        report.describe_search(project)


def test_the_artifacts_hold_what_the_tables_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, Any] = {}

    def keep(content: Any, key: str, description: str) -> None:
        made[key] = content

    monkeypatch.setattr(report, "create_table_artifact", keep)
    monkeypatch.setattr(report, "create_markdown_artifact", keep)
    report.publish(closing())
    assert made["headway-stages"] == [
        {"stage": "prepare", "outcome": "up to date", "seconds": 0.4},
        {"stage": "train", "outcome": "ran", "seconds": 61.3},
    ]
    assert [row["model"] for row in made["headway-metrics"]] == ["candidate", "linear baseline"]
    assert made["headway-metrics"][0]["accuracy"] == 0.92
    assert made["headway-decision"].startswith("# PROMOTED: version 3 is champion\n\n- promote:\n- ✓ enough_test_rows")


def test_the_path_of_the_index_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    report.show(replace(closing(), page="reports/index.html"))
    assert "reports/index.html\n" in capsys.readouterr().out


@pytest.fixture
def tracker(params: Params, project: Layout) -> Tracker:
    return Tracker(params, project)


def test_a_flow_run_links_to_the_runs_and_the_version_in_mlflow(tracker: Tracker) -> None:
    parent = tracker.pipeline_run()
    key = execution_key(tracker.params, tracker.layout)
    (record,) = story((PROMOTION, 3))
    decided = record.model_copy(update={"project": {EXECUTION: key}})
    links = report.mlflow_links(tracker, replace(closing().outcome, decision=decided))
    assert links == {
        "MLflow: version 3": f"http://127.0.0.1:5000/#/models/headway/versions/3{VIEW}",
        "MLflow: pipeline run": f"http://127.0.0.1:5000/{tracker.run_path(parent.id)}",
        "MLflow: training run": f"http://127.0.0.1:5000/{tracker.run_path('run 3')}",
    }
    tracker.own = False  # a database that is opened directly serves no pages
    assert report.mlflow_links(tracker, closing().outcome) == {}
    tracker.uri = "https://user:secret@mlflow.example"
    (address,) = report.mlflow_links(tracker, closing().outcome).values()
    assert address.endswith(f"mlflow.example/#/models/headway/versions/3{VIEW}")
    assert "secret" not in address


def test_a_flow_run_is_named_after_the_data_set_and_a_broken_project_does_not_matter(
    params: Params, project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.root)
    assert pipeline._run_name().startswith(f"{data_name(params)} · 20")
    project.params.write_text("nothing: here")
    assert pipeline._run_name().startswith("20")


def test_the_artifact_of_the_decision_is_a_page_with_its_checks_scores_and_links(monkeypatch: pytest.MonkeyPatch) -> None:
    (record,) = story((PROMOTION, 1))
    made: dict[str, Any] = {}
    monkeypatch.setattr(report, "create_table_artifact", lambda *_, **__: None)
    monkeypatch.setattr(report, "create_markdown_artifact", lambda content, key, description: made.update({key: content}))
    linked: list[str] = []
    monkeypatch.setattr(report, "create_link_artifact", lambda link, link_text, key, description: linked.append(link))
    address = "http://127.0.0.1:5000/#/models/headway/versions/3"
    shown = replace(closing(lines=tuple(record.summary)), links={"MLflow: version 3": address})
    report.publish(replace(shown, outcome=replace(shown.outcome, decision=record)))
    written = made["headway-decision"]
    assert written.startswith("# PROMOTED: version 3 is champion\n\n**Accuracy +1.67 points** against the linear baseline")
    assert "| ✓ | no worse than baseline | accuracy +1.67" in written
    assert f"[MLflow: version 3]({address})" in written
    assert record.id[:12] in written
    assert "{" not in written, "the record's JSON"
    assert linked == [address]
