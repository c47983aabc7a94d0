"""``headway encoders``: the list, and adding one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from headway import cli
from headway.encoders import listing
from headway.files import sha256_of_file
from headway.layout import Layout
from tests.encoders.conftest import PARAMETERS, write_encoder


@pytest.fixture
def encoders(project: Layout, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(project.root)
    return project.encoders


def printed(*words: str, width: int = 200) -> str:
    done = CliRunner().invoke(cli.app, ["encoders", *words], env={"COLUMNS": str(width)})
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("width", [60, 200])
def test_the_list_has_what_a_choice_depends_on(encoders: Path, tmp_path: Path, width: int) -> None:
    made = write_encoder(tmp_path / "made", model_type="roberta")
    added = printed("add", str(made), "--name", "organisation/tiny")
    assert sha256_of_file(made / "model.safetensors") in added
    shown = printed(width=width)
    (found,), problems = listing.listing(encoders)
    assert problems == []
    for cell in ("organisation/tiny", "roberta", "apache-2.0", found.files.fingerprint[:12]):
        assert cell in shown


def test_weights_are_counted_without_buffers_of_integers(encoders: Path, tiny: Path) -> None:
    import numpy as np
    from safetensors.numpy import load_file, save_file

    tensors = load_file(tiny / "model.safetensors")
    save_file(tensors | {"embeddings.position_ids": np.arange(512)}, tiny / "model.safetensors")
    ((found,), _) = listing.listing(encoders)
    assert found.parameters == PARAMETERS
    assert found.size == sum(path.stat().st_size for path in tiny.iterdir())


def test_an_encoder_that_cannot_be_used_is_listed_with_the_reason(encoders: Path, tiny: Path) -> None:
    write_encoder(encoders / "other", model_type="t5")
    shown = printed()
    assert "tiny" in shown
    assert "model_type is 't5'" in shown


def test_an_empty_folder_says_how_to_add_one(encoders: Path) -> None:
    assert "headway encoders add" in printed()


def test_the_same_encoder_again_is_no_error(encoders: Path, tmp_path: Path) -> None:
    made = write_encoder(tmp_path / "made")
    printed("add", str(made))
    assert "already there" in printed("add", str(made))


def test_git_sees_no_file_of_an_encoder(repository: Path, tmp_path: Path) -> None:
    import subprocess

    subprocess.run(["git", "init", "--quiet", tmp_path / "clone"], check=True)
    shutil.copytree(repository / "data" / "encoders", tmp_path / "clone" / "data" / "encoders", ignore=lambda *_: set())
    write_encoder(tmp_path / "clone" / "data" / "encoders" / "organisation" / "tiny")
    (tmp_path / "clone" / "data" / "encoders" / "mine.dvc").touch()
    done = subprocess.run(
        ["git", "ls-files", "--others", "--exclude-standard"],
        cwd=tmp_path / "clone",
        capture_output=True,
        text=True,
        check=True,
    )
    names = {Path(name).name for name in done.stdout.split()}
    assert names == {".gitignore", "README.md", "mine.dvc"}
    assert len(done.stdout.split()) == 4  # with the folder that stands for no encoder
