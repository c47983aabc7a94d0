"""The command that labels files: which model it asks, what it prints, and what it refuses."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import headway
from headway.cli.predict import predict
from headway.cli.which_model import model_folder
from headway.layout import Layout
from headway.registry.registry import Registry
from headway.serving.package import fingerprint

TEXT = "a charming , funny and quietly moving film"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "in.csv"
    path.write_text(f'id,text\n1,"{TEXT}"\n2,\n3,"{TEXT}"\n')
    return path


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize(("version", "expected"), [("", "1"), ("2", "2")])
def test_every_row_names_the_version_that_labelled_it(
    in_project: Registry, folder: Path, file: Path, capsys: pytest.CaptureFixture[str], version: str, expected: str
) -> None:
    out = file.with_name("out.csv")
    predict([str(file)], out=str(out), version=version)
    (label,) = headway.load(folder).predict([TEXT])
    rows = rows_of(out.read_text())
    assert [row["label"] for row in rows] == [label, "", label]
    assert {row["model_version"] for row in rows} == {expected}
    assert capsys.readouterr().out.splitlines() == [f"{out}: 3 rows: 2 labelled, 1 not", "  1: the text is empty"]


def test_another_version_is_not_mixed_into_an_unfinished_output(
    in_project: Registry, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headway.serving.batch.parts import Output

    out = str(file.with_name("out.csv"))
    with monkeypatch.context() as patched:
        patched.setattr(Output, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            predict([str(file)], out=out, version="1")
    with pytest.raises(headway.HeadwayError, match=r"\(1, now 2\)"):
        predict([str(file)], out=out, version="2")
    predict([str(file)], out=out, version="2", restart=True)
    assert {row["model_version"] for row in rows_of(Path(out).read_text())} == {"2"}


def test_a_pipe_carries_rows_in_and_out_and_the_counts_go_to_standard_error(
    project: Layout, folder: Path, file: Path
) -> None:
    shutil.copytree(folder, project.candidate)
    command = [sys.executable, "-m", "headway.cli", "predict", "-", "--out", "-", "--candidate"]
    done = subprocess.run(command, cwd=project.root, input=file.read_bytes(), capture_output=True, check=True)
    rows = rows_of(done.stdout.decode())
    assert [row["id"] for row in rows] == ["1", "2", "3"]
    assert all(row["model_version"].startswith("candidate-") for row in rows)
    assert "standard output: 3 rows: 2 labelled, 1 not" in done.stderr.decode()


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({}, "--text"),
        ({"files": ["in.csv"], "text": [TEXT]}, "--text"),
        ({"files": [TEXT]}, "--text"),
        ({"files": ["in.csv"]}, "--out"),
        ({"text": [TEXT], "out": "out.csv"}, "--out"),
        ({"text": [TEXT], "top_k": 2}, "--top-k is for files"),
        ({"text": [TEXT], "all_probabilities": True}, "--all-probabilities is for files"),
        ({"text": [TEXT], "text_column": "text"}, "--text-column is for files"),
        ({"text": [TEXT], "columns": "id,text"}, "--columns is for files"),
        ({"text": [TEXT], "workers": 2}, "--workers is for files"),
        ({"text": [TEXT], "restart": True}, "--restart is for files"),
        ({"text": [TEXT], "header": False}, "--no-header is for files"),
        ({"text": [TEXT], "header": True}, "--header is for files"),
        ({"files": ["~nosuchuser-at-all/in.csv"], "out": "out.csv"}, "no such file"),
        ({"files": ["in.csv"], "out": "out.docx"}, r"\.parquet"),
        ({"files": ["in.csv"], "out": "data/out.csv"}, "belongs to the project"),
    ],
)
def test_a_mistake_is_one_line(
    project: Layout, folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], what: str
) -> None:
    shutil.copytree(folder, project.candidate)
    monkeypatch.chdir(project.root)
    (project.root / "in.csv").write_text("text\nfine\n")
    with pytest.raises(headway.HeadwayError, match=what):
        predict(**arguments, candidate=True)
    assert not list(project.root.glob("**/*.parts"))


def test_a_closed_standard_input_is_empty_and_needed_only_if_named(
    project: Layout, folder: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder, project.candidate)
    monkeypatch.chdir(project.root)
    monkeypatch.setattr(sys, "stdin", None)
    out = file.with_name("out.csv")
    predict([str(file)], out=str(out), candidate=True)
    assert len(rows_of(out.read_text())) == 3
    with pytest.raises(headway.HeadwayError, match="stdin: empty"):
        predict(["-"], out=str(file.with_name("other.csv")), candidate=True)


def test_a_candidate_that_is_replaced_meanwhile_stays_the_same_for_a_job(
    project: Layout, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder, project.candidate)
    monkeypatch.chdir(project.root)
    with model_folder("", True) as (model, name):
        shutil.rmtree(project.candidate)
        assert headway.load(model).predict([TEXT])
        assert name == f"candidate-{fingerprint(folder)[:12]}"
    assert not model.exists()
