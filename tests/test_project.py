"""The project's own files agree with one another: versions of Python, the version of the project, lock files, the CI workflow."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML

from headway import __version__

PYTHONS = ["3.11", "3.12", "3.13"]
LOCKS = ["requirements.lock", "requirements-dev.lock"]
WORKFLOW = ".github/workflows/ci.yml"


@pytest.fixture(scope="module")
def project(repository: Path) -> dict[str, Any]:
    return tomllib.loads((repository / "pyproject.toml").read_text())["project"]


def locked(repository: Path, lock: str, python: str) -> dict[str, str]:
    """The version of every package that a lock file installs on Linux with one Python."""
    environment = {"python_version": python, "python_full_version": f"{python}.9", "sys_platform": "linux"}
    lines = [line for line in (repository / lock).read_text().splitlines() if line and not line.lstrip().startswith("#")]
    needed = [found for found in map(Requirement, lines) if not found.marker or found.marker.evaluate(environment)]
    versions = {canonicalize_name(found.name): str(found.specifier) for found in needed}
    assert len(versions) == len(needed), "a package is locked to two versions"
    return versions


def test_the_changelog_has_a_section_for_this_version(repository: Path) -> None:
    assert re.findall(r"^## (\S+) - ", (repository / "CHANGELOG.md").read_text(), re.MULTILINE)[0] == __version__


def test_supported_pythons_are_the_same_everywhere(repository: Path, project: dict[str, Any]) -> None:
    supported = SpecifierSet(project["requires-python"])
    assert [python for python in ("3.10", *PYTHONS, "3.14") if f"{python}.0" in supported] == PYTHONS
    assert [line.rpartition(" ")[2] for line in project["classifiers"] if re.search(r":: 3\.\d+$", line)] == PYTHONS
    assert f"PYTHONS ?= {' '.join(PYTHONS)}\n" in (repository / "Makefile").read_text()
    workflow = YAML(typ="safe").load(repository / WORKFLOW)
    assert workflow["jobs"]["check-and-test"]["strategy"]["matrix"]["python"] == PYTHONS


def test_the_workflow_follows_the_schema_of_github_workflows(repository: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", WORKFLOW]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_workflow_runs_the_commands_that_people_run(repository: Path) -> None:
    workflow = YAML(typ="safe").load(repository / WORKFLOW)
    commands = [step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]]
    assert [command.split()[-1] for command in commands if command.startswith("make ")] == ["check", "test"]


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_serves_every_python_and_every_direct_dependency(
    repository: Path, project: dict[str, Any], lock: str, python: str
) -> None:
    versions = locked(repository, lock, python)
    extras = project["optional-dependencies"].values() if lock == "requirements-dev.lock" else []
    direct = [Requirement(line) for group in (project["dependencies"], *extras) for line in group]
    for needed in direct:
        assert needed.specifier.contains(versions[canonicalize_name(needed.name)].removeprefix("==")), needed


@pytest.mark.parametrize("python", PYTHONS)
def test_the_development_lock_has_the_versions_that_the_other_lock_has(repository: Path, python: str) -> None:
    runtime, development = (locked(repository, lock, python) for lock in LOCKS)
    assert runtime.items() <= development.items()


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_names_no_index_no_path_and_no_local_build(repository: Path, lock: str) -> None:
    for line in (repository / lock).read_text().splitlines():
        assert re.match(r"#|    # |[a-z0-9.-]+==[0-9a-z.]+( ; |$)", line), line
        assert "://" not in line
        assert not line.startswith("nvidia-"), "the CPU build of PyTorch needs no CUDA packages"


def test_the_annotations_count_for_users_of_the_package(repository: Path) -> None:
    settings = tomllib.loads((repository / "pyproject.toml").read_text())["tool"]
    assert (repository / "src" / "headway" / "py.typed").is_file()
    assert "py.typed" in settings["setuptools"]["package-data"]["headway"]
    assert settings["mypy"]["strict"]
