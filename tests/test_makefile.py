"""The Makefile's words where something is missing: one line, and nothing half-made stays behind."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

#: A Python of the right version whose venv module breaks off half-way, as Debian's does without python3.11-venv.
BROKEN = f"""#!/bin/sh
case "$*" in
    *"-m venv"*) mkdir -p .venv/bin; ln -s {sys.executable} .venv/bin/python; echo "ensurepip is not available"; exit 1 ;;
    *) exec {sys.executable} "$@" ;;
esac
"""


def script(file: Path, text: str) -> Path:
    file.write_text(text)
    file.chmod(0o755)
    return file


@pytest.fixture
def folder(repository: Path, tmp_path: Path) -> Path:
    """A folder that holds the Makefile alone."""
    shutil.copy(repository / "Makefile", tmp_path)
    return tmp_path


def make(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *words], cwd=folder, capture_output=True, text=True, check=False)


def test_an_environment_that_breaks_off_half_way_is_removed_and_tried_again(folder: Path) -> None:
    python = script(folder / "python3.11", BROKEN)
    for _ in range(2):
        done = make(folder, f"PYTHON={python}", ".venv/bin/python")
        assert done.returncode == 2
        assert "ensurepip is not available" in done.stdout
        assert (
            f"make: {python} could not make .venv, see above; on Debian and Ubuntu, install python3.11-venv" in done.stderr
        )
        assert not (folder / ".venv").exists()


def test_a_python_that_is_not_there_or_too_old_is_said_before_anything_is_made(folder: Path) -> None:
    missing = make(folder, "PYTHON=python-of-nobody", ".venv/bin/python")
    old = make(
        folder, f"PYTHON={script(folder / 'old', '#!/bin/sh' + chr(10) + 'echo Python 3.9.1; exit 1')}", ".venv/bin/python"
    )
    assert "python-of-nobody is not installed; install Python 3.11" in missing.stderr
    assert "is Python 3.9.1, Python 3.11 is needed" in old.stderr
    assert missing.returncode == old.returncode == 2
    assert not (folder / ".venv").exists()
