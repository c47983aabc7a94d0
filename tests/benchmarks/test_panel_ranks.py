"""Rank correlations of trials with full trainings: the numbers, the points, and that finished points are not repeated."""

from __future__ import annotations

import io
import math
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from benchmarks.panel import cells, measurement, ranks
from benchmarks.panel.cells import Cell
from benchmarks.panel.measurement import params_of
from benchmarks.panel.points import PointMeasurements
from benchmarks.panel.ranks import correlations, points_of, space_named, table_of
from benchmarks.panel.sets import PanelSet
from tests.real_texts import english


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own for everything that a run keeps."""
    for module in (cells, measurement):
        monkeypatch.setattr(module, "FOLDER", tmp_path / "panel")
    return tmp_path / "panel"


def scores(accuracy: float, nll: float) -> dict[str, float]:
    return {"accuracy": accuracy, "nll": nll}


def result(joint: dict[str, float], attention: dict[str, float], full: dict[str, float]) -> dict[str, Any]:
    seconds = {"trial": 2.0, "full": 10.0}
    return {"joint": joint, "attention": attention, "full": full, "again": joint, "seconds": seconds, "reason": ""}


RESULTS = [
    result(scores(0.7, 0.6), scores(0.6, 0.8), scores(0.8, 0.5)),
    result(scores(0.8, 0.5), scores(0.5, 0.9), scores(0.9, 0.4)),
    result(scores(0.6, 0.7), scores(0.7, 0.7), scores(0.7, 0.6)),
]


def test_correlations_are_of_the_ranks_of_trials_with_those_of_full_trainings() -> None:
    found = correlations(RESULTS)
    assert found["joint", "accuracy"] == found["joint", "nll"] == pytest.approx(1)
    assert found["attention", "accuracy"] == found["attention", "nll"] == pytest.approx(-1)
    equal = [{**one, "joint": scores(0.5, 0.5)} for one in RESULTS]
    assert math.isnan(correlations(equal)["joint", "accuracy"])


def test_a_training_that_failed_is_the_worst() -> None:
    worst, best = result({}, {}, scores(0.1, 2.0)), result({}, {}, scores(0.99, 0.01))
    assert all(value == pytest.approx(1) for value in correlations([RESULTS[0], worst]).values())
    assert all(value == pytest.approx(-1) for value in correlations([RESULTS[0], best]).values())
    assert correlations([*RESULTS, worst])["joint", "nll"] == pytest.approx(1)
    assert correlations([*RESULTS, result(scores(0.1, 2.0), scores(0.1, 2.0), {})])["joint", "accuracy"] == pytest.approx(1)


def test_the_table_has_a_row_for_each_cell_and_the_median_of_known_correlations() -> None:
    equal = [{**one, "joint": scores(0.5, 0.5)} for one in RESULTS]
    out = io.StringIO()
    Console(file=out, width=200).print(table_of({"one": RESULTS, "two": RESULTS[:2], "three": equal}))
    lines = (line.split("│") for line in out.getvalue().splitlines() if line.startswith("│"))
    rows = {name.strip(): [cell.strip() for cell in others] for _, name, *others, _ in lines}
    assert rows["one"] == ["3", "1.00", "1.00", "-1.00", "-1.00", "1.00", "1.00", "6", "30"]
    assert rows["three"][1:3] == ["—", "—"]
    assert rows["median"] == ["", "1.00", "1.00", "-1.00", "-1.00", "1.00", "1.00", "", ""]


@pytest.mark.parametrize("space", ["shipped", "wide"])
def test_points_are_those_of_trial_0_and_different_ones_of_the_space(space: str) -> None:
    found, again = (points_of(space_named(space), 5) for _ in range(2))
    assert found == again
    assert found[0]["training.learning_rate"] == 0.003
    assert len({tuple(point.items()) for point in found}) == 6
    one = Cell(PanelSet("numbers", "en", "Latin", "MIT", "a package", list), 0, pd.DataFrame({"text": [], "label": []}))
    for point in found:
        assert point.keys() == space_named(space).keys()
        params_of(one, 1, {}).at(point)


def test_a_finished_point_is_not_measured_again_and_belongs_to_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[dict[str, Any]] = []
    one = Cell(PanelSet("numbers", "en", "Latin", "MIT", "a package", list), 0, pd.DataFrame({"text": [], "label": []}))

    def measure(self: PointMeasurements, point: dict[str, Any], checkpoints: Path) -> dict[str, Any]:
        done.append(point)
        return {"number": len(done)}

    monkeypatch.setattr(PointMeasurements, "_measure_at", measure)
    points: list[dict[str, Any]] = [{"model.dropout": 0.1}, {"model.dropout": 0.2}]
    for _ in range(2):
        found = [PointMeasurements(one, 1, params_of(one, 1, {})).at(point) for point in points]
    assert found == [{"number": 1}, {"number": 2}]
    assert done == points
    monkeypatch.setattr(measurement, "code_fingerprint", lambda layout, stage: f"another {stage}")
    assert PointMeasurements(one, 1, params_of(one, 1, {})).at(points[0]) == {"number": 3}


def test_a_real_point_is_a_trial_and_the_full_training(capsys: pytest.CaptureFixture[str]) -> None:
    texts, labels = english(400)
    rows = pd.DataFrame({"text": texts, "label": ["negative" if label == 0 else "positive" for label in labels]})
    one = Cell(PanelSet("sentences", "en", "Latin", "MIT", "a package", list), 0, rows)
    small = {"model.d_model": 8, "model.bigram_buckets": 512, "training.max_epochs": 2, "training.threads": 1}
    measurements = PointMeasurements(one, 1, params_of(one, 1, {**small, "tune.max_epochs": 1, "tune.train_share": 1.0}))
    found = measurements.at({"training.learning_rate": 0.004})
    assert found["point"] == {"training.learning_rate": 0.004}
    assert found["reason"] == ""
    assert found["seconds"].keys() == {"trial", "full", "again"}
    for name in ("joint", "attention", "full", "again"):
        assert 0.4 < found[name]["accuracy"] <= 1
        assert 0 < found[name]["nll"] < 0.8
    assert found["joint"] != found["attention"] != found["full"] != found["again"]
    assert [file.suffix for file in measurements.folder.glob("point-*")] == [".json"], "checkpoints are removed"
    assert measurements.at({"training.learning_rate": 1e30})["full"] == {}
    assert "diverged" in measurements.at({"training.learning_rate": 1e30})["reason"]
    assert capsys.readouterr().out == ""


def test_an_unknown_cell_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["ranks", "--only", "no-such-cell"])
    with pytest.raises(SystemExit) as ended:
        ranks.main()
    assert ended.value.code == 2
    assert "bench: no set or cell is named no-such-cell" in capsys.readouterr().out
