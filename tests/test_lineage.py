"""The commit of a result, in real repositories."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from headway.errors import HeadwayError
from headway.layout import Layout
from headway.lineage import code_fingerprint, commit_of, git_commit, results_fingerprint
from tests.conftest import new_project


def git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(params=[".", "below/it"], ids=["the repository's root", "a folder of the repository"])
def committed(request: pytest.FixtureRequest, tmp_path: Path) -> Layout:
    """A project with a lock, metrics and code, all committed."""
    top = tmp_path / "repository"
    layout = new_project(top / "below" / "it") if request.param != "." else new_project(top)
    layout.lock.write_text("schema: '2.0'\n")
    layout.metrics("test").parent.mkdir()
    layout.metrics("test").write_text("{}")
    (layout.root / "code.py").write_text("")
    (top / "elsewhere.txt").write_text("")
    git(top, "init", "-q")
    git(top, "add", "--all")
    git(top, "commit", "-qm", "first")
    return layout


def test_files_rewritten_by_a_run_do_not_change_its_commit(committed: Layout) -> None:
    head = git(committed.root, "rev-parse", "HEAD")
    committed.lock.write_text("schema: '2.0'\nstages: {}\n")
    committed.metrics("test").write_text('{"accuracy": 0.9}')
    committed.scratch.mkdir()
    assert git_commit(committed) == head


@pytest.mark.parametrize("file", ["params.yaml", "dvc.yaml", "code.py"])
def test_a_change_of_any_edited_file_is_marked(committed: Layout, file: str) -> None:
    head = git(committed.root, "rev-parse", "HEAD")
    with (committed.root / file).open("a") as edited:
        edited.write("# another line\n")
    committed.lock.write_text("schema: '2.0'\nstages: {}\n")
    assert git_commit(committed) == f"{head}+changes"


def test_a_change_elsewhere_in_the_repository_is_marked(committed: Layout) -> None:
    top = Path(git(committed.root, "rev-parse", "--show-toplevel"))
    (top / "elsewhere.txt").write_text("changed")
    assert git_commit(committed).endswith("+changes")


def test_without_git_or_a_commit_the_hash_is_empty(tmp_path: Path) -> None:
    layout = new_project(tmp_path / "project")
    assert git_commit(layout) == ""
    git(layout.root, "init", "-q")
    assert git_commit(layout) == ""


def test_a_repository_that_git_does_not_read_is_reported_with_its_remedy(
    committed: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own switch for its tests
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    for query in (git_commit, lambda layout: commit_of(layout, "HEAD")):
        with pytest.raises(HeadwayError, match=r"another user; run `git config --global --add safe\.directory /.+`$"):
            query(committed)


@pytest.mark.parametrize("content", ["<<<<<<< HEAD\nstages: {}\n=======\n", "stages: [", "- a", "", "\xff"])
def test_a_damaged_lock_is_one_line(tmp_path: Path, content: str) -> None:
    layout = new_project(tmp_path / "project")
    layout.lock.write_bytes(content.encode("latin-1"))
    with pytest.raises(HeadwayError, match=r"^dvc\.lock:[^\n]+$"):
        results_fingerprint(layout)


@pytest.mark.parametrize("file", ["study.py", "notes.md"])
def test_the_code_of_a_stage_is_its_modules_and_the_templates_of_its_pages(tmp_path: Path, file: str) -> None:
    layout = new_project(tmp_path / "project")
    folder = layout.root / "src" / "headway" / "search"
    folder.mkdir(parents=True)
    before = code_fingerprint(layout, "tune")
    (folder / file).write_text("changed")
    assert code_fingerprint(layout, "tune") != before


def test_pages_are_no_part_of_what_an_execution_and_its_results_are_known_by(tmp_path: Path) -> None:
    layout = new_project(tmp_path / "project")
    folder = layout.root / "src" / "headway" / "reporting"
    folder.mkdir(parents=True)
    assert results_fingerprint(layout) == ""
    layout.lock.write_text("stages: {train: {cmd: train}}\n")
    code, results = code_fingerprint(layout), results_fingerprint(layout)
    (folder / "page.py").write_text("changed")
    layout.lock.write_text("stages: {report: {cmd: report}, train: {cmd: train}}\n")
    assert (code_fingerprint(layout), results_fingerprint(layout)) == (code, results)
    assert code_fingerprint(layout, "report") != code
    layout.lock.write_text("stages: {train: {cmd: another}}\n")
    assert results_fingerprint(layout) != results
