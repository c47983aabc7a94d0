"""The evaluation page that is drawn after the gate: the champion beside the candidate and the baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headway.errors import HeadwayError
from headway.evaluation.confusions import top_confusions
from headway.evaluation.coverage import coverage_curve
from headway.evaluation.metrics import evaluate, evaluate_slices
from headway.evaluation.mistakes import worst_mistakes
from headway.evaluation.predictions import Predictions
from headway.files import write_json
from headway.layout import Layout
from headway.params import Params
from headway.promotion import evaluation_report
from headway.promotion.gate import GateInput
from tests.evaluation.test_resampling import some
from tests.reporting.test_evaluation import HISTORY

ROWS = 60
MASKS = {"a half": np.arange(ROWS) < ROWS / 2}


@pytest.fixture
def evaluated(params: Params, tmp_path: Path) -> tuple[Params, Layout]:
    """A project with what the stages wrote of a candidate and a baseline, and the page that stage report drew."""
    params, layout = params.override({"evaluation.bootstrap_samples": 100}), Layout(tmp_path)
    texts, labels = ["a text"] * ROWS, ["a label"] * ROWS
    for folder, seed in ((layout.evaluation, 1), (layout.baseline, 2)):
        predictions = some(ROWS, 3, seed)
        predictions.save(folder / "test.parquet")
        write_json(folder / "slices.json", evaluate_slices(predictions, MASKS, params.evaluation, params.seed))
        write_json(folder / "coverage.json", coverage_curve(predictions, params.evaluation.confidence))
    candidate, baseline = some(ROWS, 3, 1), some(ROWS, 3, 2)
    write_json(layout.metrics("test"), evaluate(candidate, params.evaluation, params.seed))
    write_json(layout.metrics("baseline"), {"test": evaluate(baseline, params.evaluation, params.seed)})
    write_json(layout.mistakes, worst_mistakes(candidate, texts, labels))
    write_json(layout.confusions, top_confusions(candidate, texts, labels))
    write_json(layout.evaluated_model, {"sha256": "0" * 64, "classes": 3})
    write_json(layout.profile, {"source": "own.csv", "version": ""})
    write_json(layout.training / "history.json", HISTORY)
    layout.reports.mkdir()
    layout.page("candidate").write_text("drawn by the stage", encoding="utf-8")
    return params, layout


def keep(params: Params, layout: Layout, champion: Predictions | HeadwayError | None, number: str | None = "3") -> None:
    """Keep a champion, as a decision does."""
    given = GateInput(some(ROWS, 3, 1), some(ROWS, 3, 2), champion, MASKS)
    metrics = evaluate(champion, params.evaluation, params.seed) if isinstance(champion, Predictions) else None
    evaluation_report.keep(params, layout, given, number, metrics)


def drawn(params: Params, layout: Layout) -> str:
    evaluation_report.write(params, layout)
    return layout.page("evaluation").read_text(encoding="utf-8")


def test_the_page_has_the_champion_that_the_gate_scored(evaluated: tuple[Params, Layout]) -> None:
    champion = some(ROWS, 3, seed=9)
    keep(*evaluated, champion)
    html = drawn(*evaluated)
    assert f"The champion: {100 * champion.correct.mean():.1f}% (" in html
    assert "compared the candidate with, version 3." in html


@pytest.mark.parametrize(
    ("champion", "number", "says"),
    [
        (None, None, "There was no champion to compare with."),
        (HeadwayError("its files are lost"), "3", "The champion, version 3, could not be scored: its files are lost."),
    ],
)
def test_the_page_says_why_it_has_no_champion(
    evaluated: tuple[Params, Layout], champion: HeadwayError | None, number: str | None, says: str
) -> None:
    keep(*evaluated, champion, number)
    html = drawn(*evaluated)
    assert says in html
    assert "The champion:" not in html


@pytest.mark.parametrize(
    "change", ["another candidate", "another level of the intervals", "other test rows", "nothing kept"]
)
def test_a_champion_of_another_decision_is_not_shown(evaluated: tuple[Params, Layout], change: str) -> None:
    params, layout = evaluated
    if change != "nothing kept":
        keep(params, layout, some(ROWS, 3, seed=9))
    if change == "another candidate":
        write_json(layout.evaluated_model, {"sha256": "1" * 64, "classes": 3})
    if change == "another level of the intervals":
        params = params.override({"evaluation.confidence": 0.8})
    if change == "other test rows":
        scored = some(ROWS, 3, 1)
        others = [f"other {one}" for one in scored.ids]
        Predictions(others, scored.labels, scored.probabilities, scored.classes).save(layout.evaluation / "test.parquet")
    html = drawn(params, layout)
    assert "The champion:" not in html
    assert evaluation_report.UNKNOWN in html


def test_the_page_is_drawn_again_only_if_something_changed(
    evaluated: tuple[Params, Layout], monkeypatch: pytest.MonkeyPatch
) -> None:
    params, layout = evaluated
    keep(params, layout, None, None)
    first = drawn(params, layout)
    drawings: list[Any] = []

    def counted(*_: Any) -> Any:
        drawings.append(1)
        return real(*_)

    real = evaluation_report._champion
    monkeypatch.setattr(evaluation_report, "_champion", counted)
    assert drawn(params, layout) == first
    assert not drawings
    layout.page("candidate").write_text("drawn by the stage in another colour", encoding="utf-8")
    drawn(params, layout)
    keep(params, layout, some(ROWS, 3, seed=9))
    drawn(params, layout)
    layout.page("evaluation").unlink()
    drawn(params, layout)
    assert len(drawings) == 3


def test_a_project_whose_stages_drew_no_page_gets_none(evaluated: tuple[Params, Layout]) -> None:
    params, layout = evaluated
    layout.page("candidate").unlink()
    evaluation_report.write(params, layout)
    assert not layout.page("evaluation").exists()
