"""What a cleanup keeps and removes of DVC's cache: what HEAD, the working folder and named commits need stays."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from headway.cleanup import dvc_cache
from headway.errors import HeadwayError
from headway.files import bytes_of
from headway.layout import Layout

DVC = [sys.executable, "-m", "dvc"]
GIT = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]


@pytest.fixture(scope="module")
def repository_to_copy(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """A repository whose three commits have another data file each, and a fourth in the working folder."""
    layout = Layout(tmp_path_factory.mktemp("repository") / "project")
    layout.root.mkdir()
    run(layout, "git", "init", "--quiet")
    run(layout, *DVC, "init", "--quiet")
    for number in range(1, 5):
        (layout.root / "data.txt").write_text(f"{number}" * 1000)
        run(layout, *DVC, "add", "--quiet", "data.txt")
        if number < 4:
            run(layout, "git", "add", "--all")
            run(layout, *GIT, "commit", "--quiet", "--message", f"data {number}")
    return layout


@pytest.fixture
def layout(repository_to_copy: Layout, tmp_path: Path) -> Layout:
    return Layout(Path(shutil.copytree(repository_to_copy.root, tmp_path / "project")))


def run(layout: Layout, *command: str) -> None:
    subprocess.run(command, cwd=layout.root, check=True, capture_output=True)


def cached(layout: Layout) -> set[str]:
    return {file.read_text()[0] for file in (layout.root / ".dvc" / "cache" / "files").rglob("*") if file.is_file()}


def clean(layout: Layout, revisions: Sequence[str] = ()) -> int:
    groups = dvc_cache.plan(layout, revisions)
    for group in groups:
        for step in group.steps:
            step()
    return sum(group.size for group in groups if group.goes)


@pytest.mark.parametrize(
    ("revisions", "expected"), [((), "34"), (("HEAD~1",), "234"), (("HEAD~2",), "134"), (("HEAD~1", "HEAD~2"), "1234")]
)
def test_what_head_the_working_folder_and_named_commits_need_stays(
    layout: Layout, revisions: tuple[str, ...], expected: str
) -> None:
    assert cached(layout) == set("1234")
    before = bytes_of(layout.root / ".dvc" / "cache" / "files")
    freed = clean(layout, revisions)
    assert cached(layout) == set(expected)
    assert before - bytes_of(layout.root / ".dvc" / "cache" / "files") == freed
    assert clean(layout, revisions) == 0


def test_a_commit_that_does_not_exist_is_named_and_nothing_goes(layout: Layout) -> None:
    with pytest.raises(HeadwayError, match=r"^--rev v9: no such commit"):
        clean(layout, ["v9"])
    assert cached(layout) == set("1234")


def test_a_project_without_dvc_has_no_cache(tmp_path: Path) -> None:
    assert dvc_cache.plan(Layout(tmp_path), []) == []


def test_a_project_without_git_keeps_what_its_working_folder_needs(layout: Layout, tmp_path: Path) -> None:
    subprocess.run(["rm", "-rf", layout.root / ".git"], check=True)
    run(layout, *DVC, "config", "core.no_scm", "true")
    clean(layout)
    assert cached(layout) == {"4"}


def test_a_project_that_works_without_git_keeps_what_its_working_folder_needs_beside_a_repository(layout: Layout) -> None:
    run(layout, *DVC, "config", "core.no_scm", "true")
    with pytest.raises(HeadwayError, match=r"^--rev HEAD: DVC works without git here"):
        clean(layout, ["HEAD"])
    clean(layout)
    assert cached(layout) == {"4"}


@pytest.mark.parametrize("by", ["configuration", "link"])
def test_a_cache_that_other_projects_may_share_is_not_touched(layout: Layout, tmp_path: Path, by: str) -> None:
    own, shared = layout.root / ".dvc" / "cache", tmp_path / "shared"
    own.rename(shared)
    if by == "link":
        own.symlink_to(shared)
    else:
        run(layout, *DVC, "cache", "dir", "--local", str(shared))
    (before,) = {bytes_of(shared)}
    assert clean(layout) == 0
    assert bytes_of(shared) == before
    (told,) = [group for group in dvc_cache.plan(layout, []) if group.count]
    assert (told.count, told.goes) == (4, False)
    assert str(shared) in told.why


def test_what_came_into_the_cache_or_into_use_after_the_plan_stays(layout: Layout) -> None:
    groups = dvc_cache.plan(layout, [])
    for text in ("5", "1"):  # an entry that is in use no more, and one that was planned to go
        (layout.root / "data.txt").write_text(text * 1000)
        run(layout, *DVC, "add", "--quiet", "data.txt")
    for group in groups:
        for step in group.steps:
            step()
    assert cached(layout) == set("1345")
