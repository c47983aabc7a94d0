"""What would stop a run later, or be missed in its lineage, is one line before anything starts."""

from __future__ import annotations

import errno
import shutil
import subprocess
import tempfile
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from headway import preflight
from headway.errors import NO_PEFT, NO_TRANSFORMERS, HeadwayError
from headway.layout import Layout
from headway.preflight import check, check_writable
from tests.conftest import REPOSITORY, new_project

WITHOUT_GIT = "dvc config --local core.no_scm true"
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def ready(project: Layout) -> Layout:
    """A project in a repository of its own, for git and for DVC."""
    shutil.copytree(REPOSITORY / ".dvc", project.root / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp", "*.local"))
    shutil.copyfile(REPOSITORY / "dvc.lock", project.lock)
    subprocess.run(["git", "init", "-q", str(project.root)], check=True)
    return project


def refusal(layout: Layout) -> str:
    with pytest.raises(HeadwayError) as caught:
        check(layout)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def edit(layout: Layout, before: str, after: str) -> None:
    text = layout.params.read_text()
    assert before in text
    layout.params.write_text(text.replace(before, after, 1))


def test_a_project_without_mistakes_passes(ready: Layout) -> None:
    before = sorted(ready.root.rglob("*"))
    assert check(ready).seed == 1
    assert sorted(ready.root.rglob("*")) == before
    ready.lock.unlink()  # as before the first run
    check(ready)


@pytest.mark.parametrize("name", ["dvc.lock", "dvc.yaml", "params.yaml"])
def test_an_unfinished_merge_is_reported_with_its_file_and_line(ready: Layout, name: str) -> None:
    path = ready.root / name
    path.write_text(f"# one\n<<<<<<< HEAD\n{path.read_text()}=======\n>>>>>>> theirs\n")
    assert refusal(ready).startswith(f"{name}:2: an unresolved merge conflict (<<<<<<<); ")


def test_a_condition_on_an_unknown_column_is_reported(ready: Layout) -> None:
    edit(ready, "slices: {}", "slices: {long: lenght > 3}")
    assert refusal(ready).startswith("evaluation.slices.long: 'lenght > 3': no column 'lenght'; did you mean length?")


# A pretrained encoder


@pytest.fixture
def encoded(ready: Layout, tiny_encoders: Path) -> Layout:
    """A project with a pretrained encoder."""
    shutil.copytree(tiny_encoders / "roberta", ready.encoders / "tiny")
    edit(ready, "encoder: scratch", "encoder: pretrained")
    edit(ready, "path: none                  # Folder in data/encoders", "path: tiny # Folder in data/encoders")
    edit(ready, "max_length: 256 ", "max_length: 64 ")
    return ready


def test_an_encoder_that_is_there_and_reads_so_much_passes(encoded: Layout) -> None:
    assert check(encoded).pretrained.path == "tiny"


def test_an_unknown_encoder_is_reported_with_those_that_are_there(encoded: Layout) -> None:
    edit(encoded, "path: tiny", "path: large")
    message = refusal(encoded)
    assert str(encoded.encoders / "large") in message
    assert "has tiny" in message
    edit(encoded, "encoder: pretrained", "encoder: scratch")  # no run needs it
    check(encoded)


def test_another_revision_than_the_encoder_has_is_reported(encoded: Layout) -> None:
    edit(encoded, 'revision: ""                # Commit', f"revision: {'a' * 40} # Commit")
    assert f"revision {'a' * 40} is expected" in refusal(encoded)


def test_more_sub_words_than_the_encoder_reads_are_reported(encoded: Layout) -> None:
    edit(encoded, "max_length: 64 ", "max_length: 65 ")
    assert refusal(encoded) == ("pretrained.max_length: 65 sub-words, but tiny reads 64 at most; lower it to 64 or less")


def test_a_missing_library_is_reported(encoded: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert refusal(encoded) == NO_TRANSFORMERS


def test_adapters_need_their_library(encoded: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "peft" else name)
    check(encoded)
    edit(encoded, "mode: frozen", "mode: lora")
    assert refusal(encoded) == NO_PEFT


def test_a_static_encoder_needs_no_library(encoded: Layout, tiny_encoders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(encoded.encoders / "tiny")
    shutil.copytree(tiny_encoders / "static", encoded.encoders / "tiny")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert check(encoded).pretrained.path == "tiny"
    edit(encoded, "mode: frozen", "mode: lora")
    assert "no layers" in refusal(encoded)


# Git


def test_a_folder_without_git_is_reported_with_both_ways_out(tmp_path: Path, ready: Layout) -> None:
    shutil.rmtree(ready.root / ".git")
    message = refusal(ready)
    assert message.startswith(f"{ready.root}: no git repository (")
    assert "git init" in message
    assert WITHOUT_GIT in message
    (ready.root / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")
    assert check(ready).seed == 1


def test_a_missing_git_is_reported(ready: Layout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    message = refusal(ready)
    assert message.startswith("git is not installed")
    assert message.endswith(f"`{WITHOUT_GIT}`")


def test_a_repository_of_another_user_is_reported_with_gits_remedy(ready: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert refusal(ready).endswith(f"run `git config --global --add safe.directory {ready.root}`")


def test_a_project_without_dvcs_folder_is_reported(ready: Layout) -> None:
    shutil.rmtree(ready.root / ".dvc")
    assert ".dvc is missing" in refusal(ready)


# The disk


@pytest.mark.parametrize("folder", [".", ".headway", "data", "results", "mlruns", "metrics", ".dvc/tmp"])
def test_a_folder_that_cannot_be_written_to_is_named(ready: Layout, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    (ready.root / folder).mkdir(exist_ok=True)
    real = tempfile.TemporaryFile

    def deny(dir: Path) -> Any:
        if dir == ready.root / folder:
            raise OSError(errno.EROFS, "Read-only file system")
        return real(dir=dir)

    monkeypatch.setattr(tempfile, "TemporaryFile", deny)  # tests may run as root, which may write everywhere
    assert refusal(ready).startswith(f"{ready.root / folder}: cannot be written to: Read-only file system; ")


def test_a_full_disk_is_reported(ready: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 5_000_000))
    assert refusal(ready) == (
        f"{ready.root}: 5 MB free on its disk, expected at least 200; free some space, for example with "
        "`headway gc --delete`"
    )


def test_a_full_disk_does_not_stop_commands_that_can_free_it(ready: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 0))

    def deny(dir: Path) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", deny)
    check_writable(ready)


# The data


def test_a_server_that_does_not_answer_is_reported(ready: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headway.network.ATTEMPTS", 1)
    edit(ready, "source: package", "source: file")
    edit(ready, "path: data/input", "path: http://127.0.0.1:9/reviews.csv")
    assert refusal(ready).startswith("http://127.0.0.1:9/reviews.csv: cannot be downloaded: ")


def test_only_the_mistakes_in_params_are_looked_for_without_a_repository(tmp_path: Path) -> None:
    """As the stages do, which ``dvc repro`` starts."""
    layout = new_project(tmp_path / "plain")
    edit(layout, "slices: {}", "slices: {long: text > 3}")
    from headway.params import load

    with pytest.raises(HeadwayError, match="expected a number"):
        preflight.check_params(load(layout.params))
