"""The benchmarks where there is nothing to measure yet; that they run at all is shown in e2e."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from headway.layout import Layout


def test_the_speed_benchmark_before_any_run_says_what_to_run_first(repository: Path, project: Layout) -> None:
    path = os.pathsep.join(filter(None, [str(repository), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.speed"],
        cwd=project.root,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "bench: there are no encoded rows to measure on; `make run` makes them, then try again\n"
