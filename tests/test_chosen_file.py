"""``--out`` writes a new file, replaces a regular one with ``--force`` only, and never anything else."""

import os
import shutil
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from headway.chosen_file import require_writable, write_chosen
from headway.errors import HeadwayError
from headway.layout import Layout


def refused(path: Path, force: bool = True) -> str:
    with pytest.raises(HeadwayError) as caught:
        write_chosen(path, "text", "card", force)
    with pytest.raises(HeadwayError):
        require_writable(path, "card", force)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_new_file_is_written_with_its_folders_and_the_usual_mode(tmp_path):
    before = os.umask(0o022)
    try:
        write_chosen(tmp_path / "new" / "deep" / "card.md", "ü\n", "card")
    finally:
        os.umask(before)
    file = tmp_path / "new" / "deep" / "card.md"
    assert file.read_text(encoding="utf-8") == "ü\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert os.listdir(file.parent) == ["card.md"]


def test_a_file_that_exists_is_replaced_with_force_only(tmp_path):
    file = tmp_path / "card.md"
    file.write_text("old")
    assert "--force" in refused(file, force=False)
    assert file.read_text() == "old"
    write_chosen(file, "new", "card", force=True)
    assert file.read_text() == "new"
    assert os.listdir(tmp_path) == ["card.md"]


def test_a_file_made_meanwhile_is_not_replaced(tmp_path, monkeypatch):
    file = tmp_path / "card.md"
    link = os.link

    def made_meanwhile(source, target):
        file.write_text("theirs")
        link(source, target)

    monkeypatch.setattr(os, "link", made_meanwhile)
    with pytest.raises(HeadwayError, match="--force"):
        write_chosen(file, "mine", "card")
    assert file.read_text() == "theirs"
    assert os.listdir(tmp_path) == ["card.md"]


@pytest.mark.parametrize("force", [False, True])
def test_nothing_but_a_regular_file_is_ever_replaced(tmp_path, force):
    target = tmp_path / "target.md"
    target.write_text("kept")
    (tmp_path / "link").symlink_to(target)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        place = os.getcwd()
        os.chdir(tmp_path)  # the path of a socket must be short
        listener.bind("socket")
        os.chdir(place)
        for name in ("link", "dangling", "folder", "fifo", "socket"):
            before = (tmp_path / name).lstat()
            refused(tmp_path / name, force)
            assert (tmp_path / name).lstat()[:4] == before[:4], name
    refused(Path("/dev/null"), force)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert target.read_text() == "kept"
    assert not (tmp_path / "nowhere").exists()


def test_a_path_that_cannot_exist_is_one_line(tmp_path):
    file = tmp_path / "file"
    file.write_text("kept")
    for path in (file / "below.md", tmp_path / ("x" * 300), tmp_path / "nul\0.md"):
        with pytest.raises(HeadwayError, match="cannot write the card") as caught:
            write_chosen(path, "text", "card")
        assert "--force" not in str(caught.value), path
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("with_git", [False, True])
def test_the_files_of_a_project_are_not_replaced(project: Layout, with_git):
    own = ["params.yaml", "dvc.yaml", "src/module.py", "data/raw/rows.parquet", "mlruns/mlflow.db", ".dvc/config"]
    own += [".headway/prefect/server.env", ".venv/bin/headway"]
    if with_git:
        own += ["README.md", ".gitignore", "docs/page.md"]
    for name in own[1:]:
        (project.root / name).parent.mkdir(parents=True, exist_ok=True)
        (project.root / name).write_text("kept")
    before = project.params.read_text()
    if with_git:
        subprocess.run(["git", "init", "--quiet"], cwd=project.root, check=True)
        subprocess.run(["git", "add", "--all"], cwd=project.root, check=True)
        assert "project" in refused(project.root / ".git" / "hooks" / "post-commit")
    for name in own:
        assert "project" in refused(project.root / name)
    assert project.params.read_text() == before
    assert all((project.root / name).read_text() == "kept" for name in own[1:])
    shutil.rmtree(project.root / "src")
    for name in ("card.md", "docs/card.md", "data/input/card.md"):
        write_chosen(project.root / name, "text", "card")
        write_chosen(project.root / name, "again", "card", force=True)


def test_a_project_reached_through_a_link_is_the_same_project(project: Layout, tmp_path):
    (tmp_path / "link").symlink_to(project.root)
    assert "project" in refused(tmp_path / "link" / "params.yaml")
