"""Measurements: what they depend on, that finished ones are reused, and a real one from the rows to the page."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.panel import __main__ as panel
from benchmarks.panel import cells, measurement
from benchmarks.panel.cells import Cell
from benchmarks.panel.measurement import Measurement, params_of, scores
from benchmarks.panel.sets import PanelSet
from headway.evaluation.predictions import Predictions


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own for everything that a run keeps."""
    for module in (cells, measurement):
        monkeypatch.setattr(module, "FOLDER", tmp_path / "panel")
    monkeypatch.setattr(panel, "PAGE", tmp_path / "panel.md")
    return tmp_path / "panel"


def cell(rows: int = 40) -> Cell:
    texts = [f"text {number}" for number in range(rows)]
    return Cell(
        PanelSet("numbers", "en", "Latin", "MIT", "a package", list),
        0,
        pd.DataFrame({"text": texts, "label": ["a", "b"] * (rows // 2)}),
    )


def measured(one: Cell, seed: int = 1, **overrides: Any) -> Measurement:
    return Measurement(one, seed, params_of(one, seed, {key.replace("__", "."): value for key, value in overrides.items()}))


def test_a_seed_changes_the_split_and_the_training() -> None:
    first, second = (params_of(cell(), seed, {"training.max_epochs": 7}) for seed in (1, 2))
    assert (first.seed, second.seed) == (1, 2)
    assert first.split.salt != second.split.salt
    assert first.training.max_epochs == 7
    assert first.split.test == 0.2
    assert params_of(cell(10_000), 1, {}).split.test == 0.1


def test_a_result_belongs_to_the_rows_the_params_and_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        measured(cell()).file,
        measured(cell(42)).file,
        measured(cell(), 2).file,
        measured(cell(), model__d_model=32).file,
        measured(cell(), tokenizer__lowercase=False).file,
    }
    assert len(files) == 5
    assert measured(cell()).file in files
    assert measured(cell(), gate__champion_margin=0.5).file in files
    assert Path(measurement.__file__) in measurement.BENCHMARK_CODE
    for path in measurement.BENCHMARK_CODE:
        with monkeypatch.context() as edited:
            copy = tmp_path / path.name
            copy.write_text(path.read_text(encoding="utf-8") + "# an edit\n", encoding="utf-8")
            code = tuple(copy if one == path else one for one in measurement.BENCHMARK_CODE)
            edited.setattr(measurement, "BENCHMARK_CODE", code)
            assert measured(cell()).file not in files
    monkeypatch.setattr(measurement, "code_fingerprint", lambda layout, stage: f"another {stage}")
    assert measured(cell()).file not in files


def test_a_finished_measurement_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    done = []

    def measure(one: Measurement) -> dict[str, Any]:
        done.append(one.seed)
        if one.seed == 2 and len(done) == 2:
            raise KeyboardInterrupt
        return {"seed": one.seed}

    monkeypatch.setattr(Measurement, "_measure", measure)
    with pytest.raises(KeyboardInterrupt):
        [measured(cell(), seed).result() for seed in (1, 2, 3)]
    assert [measured(cell(), seed).result() for seed in (1, 2, 3)] == [{"seed": 1}, {"seed": 2}, {"seed": 3}]
    assert done == [1, 2, 2, 3]


def test_scores_are_those_of_the_test_rows() -> None:
    probabilities = np.array([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25], [0.125, 0.75, 0.125]], dtype=np.float32)
    found = scores(Predictions(["a", "b", "c"], np.array([0, 1, 1]), probabilities, ["x", "y", "z"]))
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["macro_f1"] == pytest.approx(2 / 3)  # 2/3 for x and y each; z has no rows
    assert found["nll"] == pytest.approx((math.log(2) + math.log(4) - math.log(0.75)) / 3, rel=1e-6)
    assert found["largest_predicted"] == pytest.approx(2 / 3)
    assert found["correct"] == "101"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "no-such-set"], "no set or cell is named no-such-set"),
        (["--only", "talk-fa", "--override", "training.max_epoch=8"], "training.max_epoch"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cells, "all_cells", lambda sets: ([Cell(sets[0], 0, cell().frame)], {}))
    monkeypatch.setattr(sys, "argv", ["panel", *words])
    with pytest.raises(SystemExit) as ended:
        panel.main()
    assert ended.value.code == 2
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("bench: "))
    assert message in line


def test_a_name_stands_for_a_set_or_one_of_its_cells(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    chosen = []

    def measure(found: list[Cell], *_: Any) -> list[Any]:
        chosen.append([one.name for one in found])
        raise KeyboardInterrupt

    def some(sets: list[PanelSet]) -> tuple[list[Cell], dict[str, str]]:
        return [Cell(one, sampled, cell(max(sampled, 20)).frame) for one in sets for sampled in (500, 0)], {}

    monkeypatch.setattr(panel, "measure", measure)
    monkeypatch.setattr(cells, "all_cells", some)
    for words in (["imdb-500", "talk-fa"], ["imdb", "--rows", "400"], ["imdb"]):
        monkeypatch.setattr(sys, "argv", ["panel", "--only", *words])
        with pytest.raises(KeyboardInterrupt):
            panel.main()
    assert chosen == [["imdb-500", "talk-fa-500", "talk-fa"], ["imdb"], ["imdb-500", "imdb"]]


@pytest.mark.slow
def test_a_real_cell_is_measured_from_its_rows_to_the_page(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    words = ["panel", "--only", "chinese-reviews-500", "--seeds", "2", "--out", str(page)]
    monkeypatch.setattr(sys, "argv", words)
    panel.main()
    assert "| chinese-reviews-500 | 500 | 2 |" in page.read_text(encoding="utf-8")
    assert not panel.PAGE.exists()
    files = sorted((folder / "cells" / "chinese-reviews-500").glob("seed-*/*.json"))
    found = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    assert len(found) == 2
    for one in found:
        assert sum(one["rows"].values()) > 490
        assert one["rows"]["test"] == len(one["ids"]) == len(one["models"]["joint"]["correct"])
        assert one["models"]["joint"]["accuracy"] > 0.6
    assert set(found[0]["ids"]) != set(found[1]["ids"])
    monkeypatch.setattr(Measurement, "_measure", None)
    panel.main()  # again, from what was kept
    assert "chinese-reviews-500" in capsys.readouterr().out
