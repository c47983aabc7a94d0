"""The benchmarks run and print their tables. The measured values are not tested."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.ablation import USUAL
from benchmarks.ideas import IDEAS
from benchmarks.speed import OURS, OURS_BFLOAT16, PEER, SAME, SAME_FULL
from tests.e2e.conftest import Clone

pytestmark = pytest.mark.e2e


@pytest.mark.slow
def test_the_data_benchmark_prints_a_row_for_every_stage_and_size(repository: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.data", "--rows", "150", "300"]
    command += ["--spread-rows", "150", "--train-rows", "300", "400"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for stage in ("ingest", "prepare", "tokenize"):
        sizes = [line.split("│")[2].strip() for line in done.stdout.splitlines() if line.startswith(f"│ {stage}")]
        assert sizes == ["150", "300"]
    assert "Ray, two workers" in done.stdout
    assert "evaluate, for a million tokens more" in done.stdout


def accuracies(repository: Path, *options: str) -> dict[str, float]:
    """Accuracy by model on one fold of a few sentences."""
    command = [sys.executable, "-m", "benchmarks.accuracy", "--subset", "rotten_tomatoes"]
    small = ["--seeds", "1", "--folds", "1", "--max-rows", "600"]
    done = subprocess.run([*command, *small, *options], cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [line.split("│") for line in done.stdout.splitlines() if line.startswith("│")]
    return {row[1].strip(): float(row[2]) for row in rows}


def test_the_accuracy_benchmark_scores_every_row_of_a_fold_once_with_every_model(repository: Path) -> None:
    found = accuracies(repository)
    assert list(found) == ["linear baseline", "n-grams alone", "attention alone", "joint"]
    assert all(0.4 < accuracy < 0.9 for accuracy in found.values())


@pytest.mark.slow
def test_the_accuracy_benchmark_starts_from_word_vectors_if_there_are_some(repository: Path, tmp_path: Path) -> None:
    file = tmp_path / "vectors.txt"
    file.write_text("".join(f"{word} {number} {-number} 1\n" for number, word in enumerate(["film", "the", "bad", "good"])))
    some = ("--max-rows", "3000")  # with fewer it learns nothing, whatever it starts from
    usual, started = accuracies(repository, *some), accuracies(repository, *some, "--word-vectors", str(file))
    assert started["n-grams alone"] == usual["n-grams alone"]
    assert started["attention alone"] != usual["attention alone"]


@pytest.mark.slow
def test_the_label_benchmark_prints_a_row_with_the_wrong_labels_that_it_made(repository: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.label_errors", "--only", "rotten_tomatoes"]
    small = ["--max-rows", "1000", "--seeds", "1"]
    wide = {**os.environ, "COLUMNS": "200"}
    done = subprocess.run([*command, *small], cwd=repository, capture_output=True, text=True, check=False, env=wide)
    assert done.returncode == 0, done.stderr[-2000:]
    (row,) = [line.split("│") for line in done.stdout.splitlines() if line.startswith("│")]
    assert int(row[3]) == round(0.02 * int(row[2].replace(",", "")))


@pytest.mark.slow
def test_the_ablation_trains_the_variants_and_writes_a_page(repository: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.ablation", "--subset", "rotten_tomatoes", "--max-rows", "300"]
    page = tmp_path / "ablation.md"
    variants = ["no linear part", "no dropout in blocks", *IDEAS]
    done = subprocess.run(
        [*command, "--seeds", "1", "--workers", "2", "--only", *variants, "--out", str(page)],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [line.split("|")[1].strip() for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    assert rows == ["variant", "---", USUAL, *variants]
    alone = [row.split("|")[6].strip() for row in page.read_text(encoding="utf-8").splitlines() if row.startswith("| idea")]
    assert len(set(alone)) > 1  # the ideas are different models


@pytest.mark.slow
def test_the_search_benchmark_prints_its_tables_and_targets(repository: Path) -> None:
    small = ["--only", "rotten_tomatoes", "--sentences", "300", "--repeats", "1", "--trials", "4", "--epochs", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.search", *small], cwd=repository, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    targets = lines[lines.index("Targets") + 1 :]
    assert len(targets) == 5
    assert all(line.endswith((": met", ": not met")) for line in targets)


@pytest.mark.slow
def test_the_speed_benchmark_measures_on_the_rows_of_the_last_run_and_prints_its_targets(
    ran: Clone, repository: Path
) -> None:
    command = [sys.executable, "-m", "benchmarks.speed", "--rounds", "1", "--rows", "32", "--lengths", "64", "256"]
    done = ran.run(*command, PYTHONPATH=str(repository))
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    first = [line.split("│")[1].strip() for line in lines if line.startswith("│ ")]
    assert first[:7] == [PEER, SAME_FULL, SAME, OURS, OURS_BFLOAT16, "a plain loop", "Lightning's Trainer"]
    assert {"64", "256", "growth exponent", "n-grams alone", "both"} <= set(first)
    targets = lines[lines.index("Targets") + 1 :]
    assert len(targets) == 8
    assert all(line.endswith((": met", ": not met")) for line in targets)
