"""The benchmark of the data stages runs and prints its table; how fast anything is, is nobody's business here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e


def test_the_data_benchmark_prints_a_row_for_every_stage_and_size(repository: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.data", "--rows", "150", "300"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for stage in ("ingest", "prepare", "tokenize"):
        sizes = [line.split("│")[2].strip() for line in done.stdout.splitlines() if line.startswith(f"│ {stage}")]
        assert sizes == ["150", "300"]


def test_the_accuracy_benchmark_scores_every_row_of_a_fold_once_with_every_model(repository: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.accuracy", "--subset", "rotten_tomatoes"]
    small = ["--seeds", "1", "--folds", "1", "--max-rows", "600"]
    done = subprocess.run([*command, *small], cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for model in ("linear baseline", "n-grams alone", "attention alone", "joint"):
        (row,) = [line for line in done.stdout.splitlines() if line.startswith(f"│ {model}")]
        assert 0.4 < float(row.split("│")[2]) < 0.9
