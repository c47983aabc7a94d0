"""What a cleanup keeps and removes of the scratch folder: the current study stays, leftovers of killed processes go."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from headway.cleanup import Group, scratch
from headway.files import TEMPORARY_PREFIX
from headway.stages.tune import study_key
from tests.conftest import Slice


def folder(path: Path, days: float = 0) -> Path:
    """A folder with a file of 1,000 bytes, last changed some days ago."""
    path.mkdir(parents=True)
    (path / "file").write_bytes(bytes(1000))
    when = time.time() - days * 24 * 3600
    os.utime(path, (when, when))
    return path


def removed(groups: list[Group]) -> int:
    for group in groups:
        for step in group.steps:
            step()
    return sum(group.size for group in groups if group.goes)


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_the_current_study_stays_and_others_go(own_reviews: Slice) -> None:
    layout = own_reviews.layout
    current = folder(layout.scratch / "study" / study_key(own_reviews.params, layout)[:16], days=3)
    others = [folder(layout.scratch / "study" / name) for name in ("a" * 16, "b" * 16)]
    assert removed(scratch.plan(own_reviews.params, layout)) == 2000
    assert current.is_dir()
    assert not any(one.exists() for one in others)
    assert removed(scratch.plan(own_reviews.params, layout)) == 0


def test_the_last_study_stays_where_the_data_stages_have_not_run(own_reviews: Slice) -> None:
    layout = own_reviews.layout
    (layout.encoded / "train.arrow").unlink()
    old, last = (folder(layout.scratch / "study" / name, days) for name, days in (("a", 2), ("b", 1)))
    removed(scratch.plan(own_reviews.params, layout))
    assert last.is_dir()
    assert not old.exists()


@pytest.mark.parametrize("name", ["checkpoints", "encoded"])
def test_the_last_of_each_cache_stays(own_reviews: Slice, name: str) -> None:
    old, last = (folder(own_reviews.layout.scratch / name / key, days) for key, days in (("b", 2), ("a", 1)))
    removed(scratch.plan(own_reviews.params, own_reviews.layout))
    assert last.is_dir()
    assert not old.exists()


def test_what_killed_processes_left_goes_after_a_day(own_reviews: Slice, own_temporary_folder: Path) -> None:
    layout = own_reviews.layout
    places = [
        layout.scratch / "init",
        layout.root / "models" / "candidate.partial",
        own_temporary_folder / f"{TEMPORARY_PREFIX}x",
    ]
    for place in places:
        folder(place, days=0.5)
    assert removed(scratch.plan(own_reviews.params, layout)) == 0
    for place in places:
        os.utime(place, (0, 0))
    assert removed(scratch.plan(own_reviews.params, layout)) == 3000
    assert not any(place.exists() for place in places)


def test_a_link_goes_without_what_it_leads_to(own_reviews: Slice, tmp_path: Path) -> None:
    target = folder(tmp_path / "elsewhere")
    link = own_reviews.layout.scratch / "init"
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(target)
    os.utime(link, (0, 0), follow_symlinks=False)
    removed(scratch.plan(own_reviews.params, own_reviews.layout))
    assert not link.is_symlink()
    assert (target / "file").is_file()


def test_files_of_people_stay_whatever_their_names(own_reviews: Slice, own_temporary_folder: Path) -> None:
    layout = own_reviews.layout
    subprocess.run(["git", "init", "--quiet", layout.root], check=True)
    tracked = folder(layout.root / "results" / "mine.partial")
    subprocess.run(["git", "add", "--force", tracked], cwd=layout.root, check=True)
    project = folder(own_temporary_folder / "headway-demo")
    nested = folder(own_temporary_folder / f"{TEMPORARY_PREFIX}demo")
    (nested / "project").mkdir()
    (nested / "project" / "params.yaml").touch()
    names = ("data/input/reviews.partial", "data/input/reviews.partial.csv", "data/mine.partial", "models/a.partial.csv")
    files = [layout.root / name for name in (*names, "mine.partial", "mlruns/artifacts/mine.partial")]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    for path in (tracked, project, nested, *files):
        os.utime(path, (0, 0))
    assert removed(scratch.plan(own_reviews.params, layout)) == 0
    assert all(path.exists() for path in (tracked, project, nested, *files))


@pytest.mark.parametrize(
    "where",
    [
        "data/raw.partial",
        "reports.partial",
        "results/training/.page.7.partial",
        "mlruns/mlflow.db.partial",
        "data/encoders/organisation/tiny.0123456789ab.partial",
    ],
)
def test_unfinished_files_of_headway_go_and_are_named(own_reviews: Slice, where: str) -> None:
    path = own_reviews.layout.root / where
    path.parent.mkdir(parents=True, exist_ok=True)
    folder(path)
    (path / "inner.partial").touch()
    for one in (path / "inner.partial", path):
        os.utime(one, (0, 0))
    groups = scratch.plan(own_reviews.params, own_reviews.layout)
    assert [one for group in groups for one in group.paths] == [path]
    assert removed(groups) == 1000
    assert not path.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files to another user")
def test_the_temporary_folder_of_another_user_is_cleaned_of_this_users_files(
    own_reviews: Slice, own_temporary_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, others = (folder(own_temporary_folder / f"{TEMPORARY_PREFIX}{name}", days=2) for name in ("own", "others"))
    os.chown(own, 12345, -1)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    removed(scratch.plan(own_reviews.params, own_reviews.layout))
    assert not own.exists()
    assert others.exists()
