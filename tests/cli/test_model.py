"""Which model ``predict`` and ``explain`` ask, and which texts they refuse."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import headway
from headway.cli import model as commands
from headway.cli.predict import predict
from headway.layout import Layout
from headway.registry.registry import Registry

TEXT = "a charming , funny and quietly moving film"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Versions whose files were loaded, in order."""
    loaded: list[str] = []
    load = Registry.load_with_size

    def record(registry: Registry, version: Any) -> Any:
        loaded.append(str(version.version))
        return load(registry, version)

    monkeypatch.setattr(Registry, "load_with_size", record)
    return loaded


def labels(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(("version", "expected"), [("", "1"), ("1", "1"), ("2", "2")])
def test_predict_asks_the_champion_or_the_named_version(
    in_project: Registry, folder: Path, asked: list[str], capsys: pytest.CaptureFixture[str], version: str, expected: str
) -> None:
    predict(text=[TEXT], version=version)
    assert asked == [expected]
    assert labels(capsys) == headway.load(folder).predict([TEXT])


def test_explain_asks_the_named_version(in_project: Registry, asked: list[str], tmp_path: Path) -> None:
    commands.explain(TEXT, str(tmp_path / "page.html"), version="2")
    assert asked == ["2"]
    assert (tmp_path / "page.html").is_file()


def test_the_candidate_is_asked_without_mlflow(
    project: Layout, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folder, project.candidate)
    monkeypatch.chdir(project.root)
    predict(text=[TEXT], candidate=True)
    assert labels(capsys) == headway.load(folder).predict([TEXT])
    commands.explain(TEXT, candidate=True)
    assert not project.tracking.exists()


def test_a_missing_candidate_says_how_to_get_one(project: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.root)
    with pytest.raises(headway.HeadwayError, match="headway run"):
        predict(text=[TEXT], candidate=True)


@pytest.mark.parametrize("version", ["99", "0", "01", "champion", "-1"])
def test_a_version_that_does_not_exist_is_one_line(in_project: Registry, version: str) -> None:
    with pytest.raises(headway.HeadwayError, match=f"no version {version}; `headway history`"):
        predict(text=[TEXT], version=version)


def test_two_models_at_once_are_refused() -> None:
    for ask in (
        lambda: predict(text=[TEXT], version="1", candidate=True),
        lambda: commands.explain(TEXT, version="1", candidate=True),
    ):
        with pytest.raises(headway.HeadwayError, match="--version and --candidate"):
            ask()


@pytest.mark.parametrize("bad", ["", "  ", "\u200b\u00a0", "<br />", "half \udcff"])
def test_a_text_that_cannot_be_classified_is_named_before_any_model_is_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bad: str
) -> None:
    monkeypatch.chdir(tmp_path)  # not a project, so that loading a model would fail with another message
    with pytest.raises(headway.HeadwayError, match=r"^text 2 of 3: "):
        predict(text=[TEXT, bad, TEXT])
    with pytest.raises(headway.HeadwayError, match=r"^the text: "):
        commands.explain(bad)
