"""The command ``headway gc``: it shows first, removes when asked, and never works while a flow runs."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.execution import exclusive
from headway import cli, preflight
from headway.errors import HeadwayError
from headway.layout import Layout
from tests.test_preflight import Usage


@pytest.fixture
def study(project: Layout, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An old study of 5,000 bytes beside a later one, in the project that is the working directory."""
    monkeypatch.chdir(project.root)
    monkeypatch.setattr(tempfile, "tempdir", str(project.root.parent))
    for name in ("old", "last"):
        folder = project.scratch / "study" / name
        folder.mkdir(parents=True)
        (folder / "journal.log").write_bytes(bytes(5000))
    return project.scratch / "study" / "old"


def gc(*options: str) -> str:
    done = CliRunner().invoke(cli.app, ["gc", *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_nothing_is_removed_until_that_is_asked_for(study: Path, project: Layout) -> None:
    left = project.root / "models" / "candidate.partial"
    left.mkdir(parents=True)
    os.utime(left, (0, 0))
    shown = gc()
    assert "would go" in shown
    assert "5.0 kB can be freed: `headway gc --delete`" in shown
    assert study.is_dir()
    assert str(left) in " ".join(shown.split())
    done = gc("--delete")
    assert "going" in done
    assert "│ removed" not in done
    assert "5.0 kB freed" in done
    assert not study.exists()
    assert "nothing to remove" in gc("--delete")


def test_a_full_disk_can_be_freed(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 5_000_000))
    assert "5.0 kB freed" in gc("--delete")
    assert not study.exists()


def test_nothing_is_removed_while_a_flow_runs(study: Path, project: Layout) -> None:
    with exclusive(project), pytest.raises(HeadwayError, match="another flow is running"):
        gc("--delete")
    assert study.is_dir()
