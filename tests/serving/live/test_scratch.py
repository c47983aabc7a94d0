"""Temporary folders for downloads: none stays, not even after a kill, and none in use is removed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from headway.errors import HeadwayError
from headway.serving.live.scratch import PREFIX, remove_left_over, scratch_folder

HOLD = """
from headway.serving.live.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "weights").write_text("half of them")
    print(folder, flush=True)
    input()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def holder() -> tuple[subprocess.Popen[str], Path]:
    """A process that uses a folder, and the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    return process, Path(process.stdout.readline().strip())


def test_a_folder_is_removed_at_the_end_also_after_an_error(temporary: Path) -> None:
    with scratch_folder() as folder:
        assert folder.parent == temporary
    with suppress(ZeroDivisionError), scratch_folder() as folder:
        (folder / "file").write_text("")
        raise ZeroDivisionError
    assert not list(temporary.iterdir())


def test_what_a_killed_process_left_is_removed_and_what_another_one_uses_is_not(temporary: Path) -> None:
    (killed, left), (alive, used) = holder(), holder()
    try:
        remove_left_over()
        assert (left / "weights").exists()
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait(60)
        assert (left / "weights").exists()
        with scratch_folder() as own:
            assert {path.name for path in temporary.iterdir()} == {used.name, own.name}
    finally:
        alive.communicate("\n", timeout=60)
    assert not list(temporary.iterdir())


def test_a_link_in_the_temporary_folder_is_not_followed(temporary: Path) -> None:
    (temporary / "precious").mkdir()
    (temporary / f"{PREFIX}link").symlink_to(temporary / "precious")
    remove_left_over()
    assert (temporary / "precious").is_dir()


def test_a_temporary_folder_that_does_not_exist_is_one_line(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / "gone"))
    with pytest.raises(HeadwayError, match="TMPDIR"), scratch_folder():
        pass
