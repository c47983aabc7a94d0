"""A broken project is described, not refused."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from headway.doctor import project_files as files
from headway.doctor.check import FAULT, OK, WARNING, Check, guarded
from headway.doctor.examination import find_root
from headway.doctor.version_control import check_dvc, check_git
from headway.files import write_json
from headway.layout import Layout
from headway.notifications import VARIABLE


def states(checks: Iterable[Check]) -> list[str]:
    return [check.state for check in checks]


def params_of(layout: Layout) -> list[Check]:
    return list(guarded("params.yaml", lambda: files.check_params(layout)))


def edit(layout: Layout, before: str, after: str) -> None:
    text = layout.params.read_text()
    assert before in text
    layout.params.write_text(text.replace(before, after, 1))


def repository_at(layout: Layout) -> None:
    subprocess.run(["git", "init", "-q", str(layout.root)], check=True)
    (layout.root / ".dvc").mkdir()


def commit(layout: Layout, message: str) -> None:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", "-C", str(layout.root), "add", "."], check=True)
    subprocess.run(["git", "-C", str(layout.root), *identity, "commit", "-q", "-m", message], check=True)


# The folder


def test_a_folder_outside_of_projects_is_a_fault(tmp_path: Path) -> None:
    assert find_root(tmp_path) is None
    assert states(files.check_project(None, tmp_path)) == [FAULT]


@pytest.mark.parametrize("lost", ["params.yaml", "dvc.yaml"])
def test_what_a_project_lacks_is_named_with_the_command_that_restores_it(project: Layout, lost: str) -> None:
    (project.root / lost).unlink()
    below = project.root / "below"
    below.mkdir()
    assert find_root(below) == project.root
    (check,) = files.check_project(project.root, below)
    assert check.state == FAULT
    assert lost in check.found
    assert f"git checkout {lost} flows" in check.remedy


def test_the_repository_is_whole(repository: Path) -> None:
    assert states(files.check_project(repository, repository)) == [OK]


# params.yaml


def test_right_params_pass(project: Layout) -> None:
    assert states(params_of(project)) == [OK]


def test_each_mistake_is_a_check_of_its_own(project: Layout) -> None:
    edit(project, "  patience:", "  patients:")
    edit(project, "seed: ", "seed: -")
    seed, patience = params_of(project)
    assert (seed.state, patience.state) == (FAULT, FAULT)
    assert "seed" in seed.found
    assert "training.patients: unknown key" in patience.found
    assert "did you mean patience?" in patience.remedy


def test_a_file_of_an_older_version_is_one_fault_that_points_to_the_upgrade(project: Layout) -> None:
    lines = project.params.read_text().splitlines(keepends=True)
    start = next(number for number, line in enumerate(lines) if line.startswith("tokenizer:"))
    del lines[start + 1 : start + 7]
    project.params.write_text("".join(lines))
    (check,) = params_of(project)
    assert check.state == FAULT
    assert "6 settings missing" in check.found
    assert "tokenizer." in check.found
    assert "upgrade.md" in check.remedy


def test_a_former_name_hides_no_other_missing_setting(project: Layout) -> None:
    edit(project, "  dim_feedforward: 128", "  d_feedforward: 128")
    edit(project, "  d_model: 64", "  # d_model: 64")
    found = {check.found.partition(": ")[2]: check.remedy for check in params_of(project)}
    assert found["model.d_feedforward was renamed"] == "rename it to model.dim_feedforward"
    assert "model.d_model: missing" in found
    assert len(found) == 2


def test_what_is_no_yaml_is_a_fault_with_its_line(project: Layout) -> None:
    project.params.write_text("seed: [1\n")
    (check,) = params_of(project)
    assert check.state == FAULT
    assert "params.yaml:" in check.found


def test_a_slice_that_cannot_be_computed_is_a_fault(project: Layout) -> None:
    edit(project, "slices: {}", "slices: {long: lenght > 3}")
    (check,) = params_of(project)
    assert check.state == FAULT
    assert "lenght" in check.found
    assert "did you mean length?" in check.remedy


def test_an_unfinished_merge_of_the_stage_graph_is_a_fault(project: Layout) -> None:
    project.lock.write_text("<<<<<<< HEAD\n=======\n>>>>>>> theirs\n")
    graph, lock = guarded("dvc.yaml", lambda: files.check_graph(project))
    assert graph.state == OK
    assert (lock.state, "merge conflict" in lock.found) == (FAULT, True)


# Permissions, runs, notifications


def test_an_unreadable_folder_is_a_fault(project: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    assert states(files.check_permissions(project)) == [OK]
    project.tracking.mkdir()
    real = os.access  # tests may run as root, which may read everything
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != project.tracking and real(path, mode))
    (check,) = files.check_permissions(project)
    assert check.state == FAULT
    assert str(project.tracking) in check.found
    assert "chmod" in check.remedy


def test_a_run_in_progress_is_shown_and_a_killed_one_is_a_warning(project: Layout) -> None:
    assert list(files.check_running(project)) == []
    project.scratch.mkdir()
    for process, state in ((os.getpid(), OK), (2**22 + 1, WARNING)):
        write_json(project.scratch / "flow.json", {"process": process, "since": "2026-12-01T03:00:00+00:00"})
        (check,) = files.check_running(project)
        assert check.state == state
        assert "2026-12-01T03:00:00" in check.found
    (project.scratch / "flow.json").write_text('{"process": 1')
    assert list(files.check_running(project)) == []


def test_mistakes_in_the_file_of_addresses_are_warnings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert states(files.check_notifications()) == [OK]
    file = tmp_path / "notify.txt"
    monkeypatch.setenv(VARIABLE, str(file))
    assert states(files.check_notifications()) == [WARNING]
    file.write_text("mailto://user:hidden-secret@mail.example.org\nnonsense\n")
    file.chmod(0o644)
    found = list(files.check_notifications())
    assert states(found) == [WARNING, WARNING]
    assert f"chmod 600 {file}" in found[0].remedy
    assert "hidden-secret" not in str(found)
    file.write_text("mailto://user:hidden-secret@mail.example.org\n")
    file.chmod(0o600)
    assert states(files.check_notifications()) == [OK]


# git and DVC


def test_a_project_without_git_is_a_fault(project: Layout) -> None:
    (project.root / ".dvc").mkdir()
    (check,) = guarded("git", lambda: check_git(project))
    assert check.state == FAULT
    assert "git init" in check.remedy
    (project.root / ".dvc" / "config").write_text("[core]\n    no_scm = true\n")
    assert states(check_git(project)) == [OK]


def test_git_is_described_and_not_written_to(project: Layout) -> None:
    repository_at(project)
    assert states(check_git(project)) == [WARNING]  # no commit yet
    commit(project, "Start")
    (check,) = check_git(project)
    assert (check.state, "nothing changed" in check.found) == (OK, True)
    project.params.write_text(project.params.read_text() + "\n")
    index = project.root / ".git" / "index"
    before = index.read_bytes()
    os.utime(project.graph, (10**9, 10**9))  # git would refresh its index
    (check,) = check_git(project)
    assert (check.state, "1 changed file" in check.found) == (OK, True)
    assert index.read_bytes() == before


def test_a_damaged_index_is_a_fault_with_gits_message(project: Layout) -> None:
    repository_at(project)
    commit(project, "Start")
    (project.root / ".git" / "index").write_bytes(b"damaged" * 20)
    (check,) = check_git(project)
    assert check.state == FAULT
    assert "`git status` fails: error: bad signature" in check.found
    assert "git commit" not in check.remedy


def test_an_unfinished_merge_is_a_fault(project: Layout) -> None:
    repository_at(project)
    commit(project, "Start")
    git = ["git", "-C", str(project.root), "-c", "user.name=Test", "-c", "user.email=test@example.org"]
    subprocess.run([*git, "checkout", "-q", "-b", "theirs"], check=True)
    edit(project, "seed: 1", "seed: 2")
    commit(project, "Theirs")
    subprocess.run([*git, "checkout", "-q", "-"], check=True)
    edit(project, "seed: 1", "seed: 3")
    commit(project, "Ours")
    subprocess.run([*git, "merge", "-q", "theirs"], check=False, capture_output=True)
    (check,) = check_git(project)
    assert check.state == FAULT
    assert "params.yaml" in check.found


def test_dvc_is_described(project: Layout) -> None:
    (check,) = guarded("dvc", lambda: check_dvc(project))
    assert (check.state, check.remedy) == (FAULT, "restore it with `git checkout .dvc`")
    folder = project.root / ".dvc"
    (folder / "tmp").mkdir(parents=True)
    (check,) = check_dvc(project)
    assert (check.state, "no remote" in check.found) == (OK, True)
    (folder / "config").write_text("[core]\n    remote = shared\n['remote \"shared\"']\n    url = s3://bucket/cache\n")
    (check,) = check_dvc(project)
    assert (check.state, "remote shared" in check.found) == (OK, True)
    (folder / "tmp" / "rwlock").write_text('{"data')
    assert states(check_dvc(project)) == [WARNING]
    shutil.rmtree(folder)
