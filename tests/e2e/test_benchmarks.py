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
