"""Commands of the Makefile when something is missing: one line on stderr, and nothing half-made is left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

#: A supported Python whose venv module fails half-way, as Debian's does without python3-venv.
BROKEN = f"""#!/bin/sh
case "$*" in
    *"-m venv"*) mkdir -p .venv/bin; ln -s {sys.executable} .venv/bin/python; echo "ensurepip is not available"; exit 1 ;;
    *) exec {sys.executable} "$@" ;;
esac
"""

#: A Python that reports any version: its check of sys.version_info runs on this one instead.
OTHER = f"""#!/bin/sh
case "$1" in
    --version) echo "Python {{major}}.{{minor}}.1" ;;
    *) exec {sys.executable} -c "import sys; sys.version_info = ({{major}}, {{minor}}, 1); $2" ;;
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
    # `make test` runs this test, and its make would announce the folders that the inner one enters.
    alone = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return subprocess.run(["make", *words], cwd=folder, env=alone, capture_output=True, text=True, check=False)


def test_an_environment_that_fails_half_way_is_removed_and_the_next_call_tries_again(folder: Path) -> None:
    python = script(folder / "python3.11", BROKEN)
    for _ in range(2):
        done = make(folder, f"PYTHON={python}", ".venv/bin/python")
        assert done.returncode == 2
        assert "ensurepip is not available" in done.stdout
        assert "install python3-venv" in done.stderr
        assert not (folder / ".venv").exists()


def test_a_missing_python_is_reported_before_anything_is_made(folder: Path) -> None:
    done = make(folder, "PYTHON=no-such-python", ".venv/bin/python")
    assert done.returncode == 2
    assert "no-such-python is not installed" in done.stderr
    assert not (folder / ".venv").exists()


@pytest.mark.parametrize("minor", [10, 14])
def test_a_python_that_is_too_old_or_too_new_is_reported_before_anything_is_made(folder: Path, minor: int) -> None:
    python = script(folder / "other", OTHER.format(major=3, minor=minor))
    done = make(folder, f"PYTHON={python}", ".venv/bin/python")
    assert done.returncode == 2
    assert f"is Python 3.{minor}.1" in done.stderr
    assert not (folder / ".venv").exists()


@pytest.mark.parametrize("minor", [11, 12, 13])
def test_every_supported_python_is_accepted(folder: Path, minor: int) -> None:
    python = script(folder / "other", OTHER.format(major=3, minor=minor))
    done = make(folder, f"PYTHON={python}", "--silent", ".venv/bin/python")
    assert "is needed" not in done.stderr


@pytest.mark.parametrize("name", ["moved", "two words #1"])
def test_an_environment_that_was_moved_with_the_project_is_of_the_new_folder(
    repository: Path, tmp_path: Path, name: str
) -> None:
    old = tmp_path / "old"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(old / ".venv")], check=True)
    program = script(old / ".venv" / "bin" / "program", f"#!{old}/.venv/bin/python\nimport sys; print(sys.prefix)\n")
    moved = Path(shutil.copytree(old, tmp_path / name, symlinks=True)) / ".venv"
    for _ in range(2):
        subprocess.run([moved / "bin" / "python", repository / ".ci" / "follow_move.py", moved], check=True)
    assert [file for file in (moved / "bin").iterdir() if file.is_file() and str(old) in file.read_text("latin-1")] == []
    if " " not in name:  # a shebang takes no spaces: pip writes other programs there
        assert subprocess.check_output([moved / "bin" / "program"], text=True).strip() == str(moved)
    assert str(old) in program.read_text(), "the original was changed"


def test_make_notices_an_environment_of_another_folder(repository: Path, folder: Path) -> None:
    (folder / "requirements.lock").touch()
    (folder / "pyproject.toml").touch()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / ".venv")], check=True)
    (folder / ".venv" / "installed").touch()
    assert "follow_move" not in make(folder, "--dry-run", ".venv/installed").stdout
    activate = folder / ".venv" / "bin" / "activate"
    activate.write_text(activate.read_text().replace(str(folder), "/elsewhere"))
    assert ".ci/follow_move.py .venv" in make(folder, "--dry-run", ".venv/installed").stdout


def test_every_command_has_a_line_in_the_help(repository: Path) -> None:
    phony = (repository / "Makefile").read_text().replace("\\\n", " ").partition(".PHONY:")[2].splitlines()[0].split()
    listed = [line.split()[1] for line in make(repository).stdout.splitlines()]
    assert sorted(listed) == sorted(phony)


def test_an_environment_that_is_a_link_to_another_folder_is_left_alone(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / ".venv"
    (other / "bin").mkdir(parents=True)
    (other / "bin" / "activate").write_text(f'VIRTUAL_ENV="{other}"\n')
    (folder / ".venv").symlink_to(other)
    assert "follow_move" not in make(folder, "--dry-run", ".venv/installed").stdout
