"""Statistics, targets and page of the panel, from results that are made up."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.panel.cells import Cell
from benchmarks.panel.measurement import ATTENTION, BASELINE, JOINT, NGRAMS
from benchmarks.panel.report import Row, bootstrap_ratio, markdown, mean_gain, targets
from benchmarks.panel.sets import PanelSet


def result(
    baseline: str, joint: str, ngrams: str = "", attention: str = "", ids: str = "", **changes: Any
) -> dict[str, Any]:
    """A result with a letter per test row: 1 if a model is correct."""
    answers = {BASELINE: baseline, NGRAMS: ngrams or baseline, ATTENTION: attention or joint, JOINT: joint}
    models = {
        name: {"accuracy": correct.count("1") / len(correct), "macro_f1": 0.5, "nll": 0.25, "correct": correct}
        for name, correct in answers.items()
    }
    return {
        "majority": 0.25,
        "models": models,
        "weights": [0.8, 0.6],
        "schedule": {"tokens_per_batch": 1024, "steps": 600, "ended_step": 400},
        "seconds": {NGRAMS: 10.0, ATTENTION: 30.0, "join": 1.0, "tokenizer": 5.0, BASELINE: 7.0},
        "ids": list(ids) or [f"row {number}" for number in range(len(baseline))],
        **changes,
    }


def row(*results: dict[str, Any], name: str = "numbers", rows: int = 100, sampled: int = 0) -> Row:
    panel_set = PanelSet(name, "en", "Latin", "MIT", "a package", list)
    frame = pd.DataFrame({"text": [str(number) for number in range(rows)], "label": ["a", "b"] * (rows // 2)})
    return Row(Cell(panel_set, sampled, frame), results)


def test_scores_are_means_over_seeds_and_seconds_medians() -> None:
    first = result("1100", "1110")
    second = result("1111", "1111", seconds={**first["seconds"], ATTENTION: 90.0}, weights=[1.0, 0.0], majority=0.5)
    measured = row(first, second)
    assert measured.score(BASELINE) == 0.75
    assert measured.weight == pytest.approx(0.3)
    assert measured.majority == 0.375
    assert measured.training_seconds == 71.0


def test_a_gain_is_over_the_rows_of_all_seeds_and_a_text_stays_one() -> None:
    once = row(result("0101", "1111", ids="abcd")).gain(BASELINE)
    twice = row(*(result("0101", "1111", ids="abcd") for _ in range(2))).gain(BASELINE)
    other = row(result("0101", "1111", ids="abcd"), result("0101", "1111", ids="efgh")).gain(BASELINE)
    assert once.value == twice.value == other.value == 0.5
    assert once == twice
    assert (other.low, other.high) != (once.low, once.high)
    assert row(result("11", "00")).gain(BASELINE).value == -1
    assert row(result("11", "00")).gain(JOINT, of=BASELINE).value == 1


def test_the_interval_is_that_of_resampled_groups() -> None:
    random = np.random.default_rng(1)
    counts = random.integers(1, 4, size=60)
    sums = np.array([random.integers(-count, count + 1) for count in counts])
    found = bootstrap_ratio(sums, counts)
    drawn = random.integers(0, 60, size=(20_000, 60))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    assert found.value == pytest.approx(sums.sum() / counts.sum())
    assert (found.low, found.high) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.02)


def test_the_mean_weighs_cells_equally_and_its_interval_is_over_sets() -> None:
    cells = [
        row(result("1100", "1110"), name="one"),
        row(result("1100", "1100"), name="one", sampled=500),
        row(result("11", "11"), name="two"),
    ]
    found = mean_gain(cells, BASELINE)
    assert found.value == pytest.approx(0.25 / 3)
    assert (found.low, found.high) == (0.0, 0.125)


def is_met(*rows: Row) -> list[bool]:
    return [met for _, met in targets(rows)]


def test_targets_that_are_met() -> None:
    assert is_met(row(result("1100", "1111", ngrams="1110"))) == [True] * 6


@pytest.mark.parametrize(
    ("missed", "changed"),
    [
        ([0, 2, 3], row(result("1110", "1100", attention="1100"))),
        ([1], row(result("1100", "1111", attention="1000"), result("1100", "1111"))),
        ([2, 3], row(result("1100", "1100"))),
        ([3], row(result("1100", "1110", ngrams="1110"))),
        ([4], row(result("1100", "1111", weights=[1.0, 0.001]))),
        ([5], row(result("1100", "1111", seconds={NGRAMS: 50.0, ATTENTION: 10.0, "join": 1.0}))),
    ],
)
def test_targets_that_are_missed(missed: list[int], changed: Row) -> None:
    assert [index for index, met in enumerate(is_met(changed)) if not met] == missed


def test_a_loss_below_the_margin_is_accepted_and_large_cells_may_take_longer() -> None:
    baseline, joint = "1" * 499 + "0", "1" * 498 + "00"
    assert is_met(row(result(baseline, joint)))[0]
    slow = result("1100", "1111", seconds={NGRAMS: 50.0, ATTENTION: 100.0, "join": 1.0})
    assert is_met(row(slow, rows=20_000))[5]
    assert not is_met(row(slow, rows=20_000), row(slow, rows=500))[5]


def test_a_target_names_the_cells_that_miss_it() -> None:
    words = [words for words, _ in targets([row(result("1110", "1100"), name="worse"), row(result("1100", "1110"))])]
    assert "1 of 2 (not worse)" in words[0]


def test_the_page_has_a_row_per_cell_the_mean_and_what_was_skipped() -> None:
    rows = [row(result("1110", "1100", attention="1000"), name="worse"), row(result("1100", "1110"), sampled=500)]
    page = markdown(rows, {"gone": "npm is not on this machine"}, ["With `training.max_epochs: 8`."])
    lines = page.splitlines()
    (worse, *_), (numbers, *_), (mean, *_) = (
        [line for line in lines if line.startswith(f"| {name} |")] for name in ("worse", "numbers-500", r"**mean**")
    )
    assert re.search(r"\| 100 \| 2 \| 25\.0 \| 75\.0 \| 75\.0 \| 25\.0 \| 50\.0 \| −25\.00 \(−75\.00 to \+0\.00\) \|", worse)
    assert "| 50.0 | 50.0 | 75.0 | 75.0 | +25.00 (" in numbers
    assert "| 25.0 | 62.5 | 62.5 | 50.0 | 62.5 | +0.00 (−25.00 to +25.00) |" in mean
    assert "400 of 600" in page
    assert "**not met**" in page
    assert "Skipped: gone, npm is not on this machine" in lines
    assert "With `training.max_epochs: 8`." in lines
    tables = [line for line in lines if line.startswith("|")]
    assert len({line.count("|") for line in tables}) == 3  # one width per kind of table
