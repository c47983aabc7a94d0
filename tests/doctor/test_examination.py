"""The command as a whole: one line each for what was found and what to do, whatever is broken, and nothing is changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from headway.doctor import project_files, version_control
from headway.doctor.check import FAULT, OK, Check, guarded, of_error
from headway.doctor.examination import examine
from headway.errors import HeadwayError
from headway.layout import Layout
from tests.folders import sha256_of_folder


def run(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PREFECT_", "PYTHONPATH"))}
    env = {**kept, "HOME": str(folder), **environment}
    command = [sys.executable, "-m", "headway.cli", "doctor"]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=120)


def whole_project(repository: Path, root: Path) -> Layout:
    """A project of its own with the files that git tracks, committed, in which nothing has run."""
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    for name in filter(None, tracked):
        if not name.startswith(("tests/", "docs/", "benchmarks/")) and (repository / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(repository / name, root / name)
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    for words in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "Start"]):
        subprocess.run(["git", "-C", str(root), *words], check=True)
    return Layout(root)


def lines_of(done: subprocess.CompletedProcess[str], state: str) -> dict[str, tuple[str, str]]:
    """What was found and what to do, by the names of the checks in a state."""
    lines = done.stdout.splitlines()
    found: dict[str, tuple[str, str]] = {}
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith(state):
            name, _, words = line.removeprefix(state).strip().partition(": ")
            found[name] = (words, after.strip().removeprefix("→ ") if after.startswith(" ") else "")
    return found


def test_a_whole_project_has_no_fault_and_is_not_changed(repository: Path, tmp_path: Path) -> None:
    layout = whole_project(repository, tmp_path / "project")
    before = sha256_of_folder(layout.root)
    # Its code is not the one that runs, which is a warning; nothing may be compiled into it.
    done = run(layout.root, PYTHONDONTWRITEBYTECODE="1", PREFECT_HOME=str(tmp_path / "prefect"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    ok, warnings = lines_of(done, "ok"), lines_of(done, "warning")
    assert {"python", "disk", "memory", "threads"} <= ok.keys() | warnings.keys()  # as the machine is
    assert {"project", "packages", "permissions", "params.yaml"} <= ok.keys()
    assert {"dvc.yaml", "dvc.lock", "git", "dvc", "mlflow", "registry", "notifications", "schedule"} <= ok.keys()
    assert "headway" in warnings
    assert done.stdout.splitlines()[-1].endswith(", 0 faults")
    assert sha256_of_folder(layout.root) == before


def test_outside_of_a_project_the_machine_is_checked_and_one_fault_says_where_to_go(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 1
    assert lines_of(done, "fault").keys() == {"project"}
    assert "python" in lines_of(done, "ok")
    assert list(tmp_path.iterdir()) == []


def test_a_working_directory_that_was_removed_is_one_line(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    command = f"mkdir {gone} && cd {gone} && rmdir {gone} && {sys.executable} -m headway.cli doctor"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("headway: the working directory: No such file or directory")


def test_a_project_in_ruins_has_every_fault_named_with_a_remedy(project: Layout) -> None:
    project.params.write_text(project.params.read_text().replace("seed: 1", "seed: one", 1))
    project.lock.write_text("stages: [\n")
    project.tracking.mkdir()
    project.tracking_database.write_text("no database " * 100)
    (project.root / "flows").mkdir()
    (project.root / "flows" / "__init__.py").write_text("raise RuntimeError('ruin')\n")
    done = run(project.root)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    faults = lines_of(done, "fault")
    assert {"project", "params.yaml", "dvc.yaml", "git", "dvc", "mlflow", "schedule"} <= faults.keys()
    assert all(remedy for _, remedy in faults.values())
    assert "seed" in faults["params.yaml"][0]
    assert "RuntimeError: ruin" in faults["schedule"][0]
    assert lines_of(done, "warning")["registry"] == (
        "not checked, because params.yaml cannot be used",
        "correct params.yaml first",
    )


def test_servers_that_are_down_are_faults(repository: Path, tmp_path: Path) -> None:
    layout = whole_project(repository, tmp_path / "project")
    down = "http://user:hidden-secret@127.0.0.1:9"
    done = run(layout.root, MLFLOW_TRACKING_URI=down, PREFECT_API_URL="http://127.0.0.1:9/api")
    assert done.returncode == 1
    faults = lines_of(done, "fault")
    assert {"mlflow", "registry", "schedule"} == faults.keys()
    assert "does not answer" in faults["mlflow"][0]
    assert "start" in faults["schedule"][1]
    assert "hidden-secret" not in done.stdout + done.stderr


def test_neither_pytorch_nor_mlflow_is_imported(tmp_path: Path, project: Layout) -> None:
    code = """
import sys
from pathlib import Path
from headway.doctor.examination import examine
print([check.name for check in examine(Path.cwd(), lambda layout: [])])
print(sorted({"torch", "mlflow", "pytorch_lightning", "sklearn", "prefect", "dvc"} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=project.root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_error_that_nobody_foresaw_is_a_fault_and_the_other_checks_go_on(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Layout) -> list[Check]:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(version_control, "check_dvc", broken)
    found = {check.name: check for check in examine(project.root, lambda _: [Check("schedule", OK, "none")])}
    assert found["dvc"].state == FAULT
    assert "ZeroDivisionError" in found["dvc"].found
    assert "--debug" in found["dvc"].remedy
    assert "schedule" in found


def test_a_package_that_is_missing_is_a_fault_of_what_needs_it_alone(project: Layout) -> None:
    code = """
import sys
from pathlib import Path
for name in ("sqlalchemy", "pydantic", "psutil"):
    sys.modules[name] = None
from headway.doctor.examination import examine
for check in examine(Path.cwd(), lambda layout: []):
    print(check.state, check.name, check.found, check.remedy, sep="|")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=project.root, capture_output=True, text=True, check=True)
    found = {line.split("|")[1]: line.split("|") for line in done.stdout.splitlines()}
    assert found["packages"][0] == "warning"  # this project has no lock
    assert found["mlflow"][0] == found["memory"][0] == found["params.yaml"][0] == FAULT
    assert "psutil, which is not installed" in found["memory"][2]
    assert "pip install" in found["memory"][3]


def test_a_package_that_cannot_be_imported_is_a_fault_of_what_needs_it_alone(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Layout) -> None:
        raise ImportError("cannot import name 'validate_core_schema' from 'pydantic_core'")

    monkeypatch.setattr(project_files, "load_params", broken)
    monkeypatch.setattr(project_files, "check_params", broken)
    found = {check.name: check for check in examine(project.root, lambda _: [])}
    assert found["params.yaml"].state == FAULT
    assert "ImportError" in found["params.yaml"].found
    assert found["disk"].found


def test_a_message_is_divided_into_what_was_found_and_what_to_do() -> None:
    check = of_error("disk", HeadwayError("the disk is full; it has 1 GB; free some space"), "unused")
    assert (check.found, check.remedy) == ("the disk is full; it has 1 GB", "free some space")
    check = of_error("disk", HeadwayError("the disk is full"), "free some space")
    assert (check.found, check.remedy) == ("the disk is full", "free some space")
    (check,) = guarded("disk", lambda: [Check("disk", OK, "fine")])
    assert check.state == OK
