"""Installed packages are compared with the lock, and the code that runs with the project's."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from headway.doctor.check import FAULT, OK, WARNING
from headway.doctor.packages import check_headway, check_packages

TORCH = importlib.metadata.version("torch").partition("+")[0]


def state(root: Path, *lines: str) -> list[tuple[str, str]]:
    (root / "requirements.lock").write_text("\n".join(lines))
    return [(check.state, check.found) for check in check_packages(root)]


def test_the_repository_is_installed_as_locked(repository: Path) -> None:
    assert [check.state for check in check_packages(repository)] == [OK]
    assert [check.state for check in check_headway(repository)] == [OK]


def test_a_build_of_the_locked_version_passes(tmp_path: Path) -> None:
    """Such as 2.13.0+cpu."""
    assert state(tmp_path, "# comment", f"torch=={TORCH}", "    # via headway")[0][0] == OK


def test_another_version_is_a_warning_that_names_both(tmp_path: Path) -> None:
    ((found, words),) = state(tmp_path, "torch==1.0.0")
    assert found == WARNING
    assert f"torch {importlib.metadata.version('torch')} instead of 1.0.0" in words


def test_a_missing_package_is_a_fault_unless_this_platform_does_not_need_it(tmp_path: Path) -> None:
    ((found, words),) = state(tmp_path, "no-such-package==1.0", "nor-this-one==1.0 ; sys_platform == 'win32'")
    assert found == FAULT
    assert "no-such-package" in words
    assert "nor-this-one" not in words


def test_a_missing_lock_is_a_warning(tmp_path: Path) -> None:
    assert [check.state for check in check_packages(tmp_path)] == [WARNING]


def test_another_projects_code_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "src" / "headway").mkdir(parents=True)
    (check,) = check_headway(tmp_path)
    assert check.state == WARNING
    assert "not the code of this project" in check.found


def test_a_stale_installation_is_a_warning(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.1.0")
    (check,) = check_headway(repository)
    assert check.state == WARNING
    assert "installed as 0.1.0" in check.found
    assert "pip install" in check.remedy
