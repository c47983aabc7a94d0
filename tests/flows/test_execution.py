"""One stage through DVC, and the lock that keeps two flows apart."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.execution import RAN, RESTORED, UP_TO_DATE, StageFailed, changed_stages, exclusive, repro
from headway.errors import HeadwayError
from headway.layout import Layout

GRAPH = """
stages:
  copy:
    cmd: cp in.txt out.txt
    deps: [in.txt]
    outs: [out.txt]
  count:
    cmd: wc -c < out.txt > count.txt
    deps: [out.txt]
    outs: [count.txt]
"""


@pytest.fixture
def small(tmp_path: Path) -> Layout:
    """A DVC project of two shell commands, without git."""
    (tmp_path / "dvc.yaml").write_text(GRAPH)
    (tmp_path / "params.yaml").write_text("{}")
    (tmp_path / "in.txt").write_text("text")
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet", "--no-scm"], cwd=tmp_path, check=True)
    return Layout(tmp_path)


def test_a_stage_runs_once_and_is_up_to_date_afterwards(small: Layout) -> None:
    lines: list[str] = []
    assert changed_stages(small) == {"copy", "count"}
    assert repro("copy", small, lines.append).outcome == RAN
    assert repro("count", small, lines.append).outcome == RAN
    assert changed_stages(small) == set()
    assert repro("copy", small, lines.append).outcome == UP_TO_DATE
    assert "Running stage 'copy':" in lines


def test_a_stage_restored_from_the_cache_is_distinguished_from_an_unchanged_one(small: Layout) -> None:
    for text in ("one", "two"):
        (small.root / "in.txt").write_text(text)
        assert repro("copy", small, lambda line: None).outcome == RAN
    (small.root / "in.txt").write_text("one")
    assert repro("copy", small, lambda line: None).outcome == RESTORED
    assert (small.root / "out.txt").read_text() == "one"


def test_hints_that_say_nothing_of_the_stage_are_not_logged(small: Layout) -> None:
    lines: list[str] = []
    repro("copy", small, lines.append)
    assert not [line for line in lines if "git add" in line or "dvc push" in line or "lock file" in line]


def test_a_missing_dependency_is_named(small: Layout) -> None:
    (small.root / "in.txt").unlink()
    with pytest.raises(StageFailed, match=r"stage copy: .*in\.txt does not exist; create it") as error:
        repro("copy", small, lambda line: None)
    assert error.value.explained


def test_what_a_stage_says_of_its_failure_is_passed_on(small: Layout) -> None:
    small.graph.write_text("stages:\n  bad:\n    cmd: 'echo \"headway: the label column is gone\" >&2; exit 2'\n")
    with pytest.raises(StageFailed, match=r"^stage bad: the label column is gone$") as error:
        repro("bad", small, lambda line: None)
    assert error.value.explained


def test_a_stage_that_dies_without_a_word_may_be_tried_again(small: Layout) -> None:
    small.graph.write_text("stages:\n  bad:\n    cmd: kill -9 $$\n")
    with pytest.raises(StageFailed) as error:
        repro("bad", small, lambda line: None)
    assert not error.value.explained


def test_an_error_about_the_lock_names_its_holder(small: Layout) -> None:
    message = rf"another flow is running .*process {os.getpid()}"
    with exclusive(small), pytest.raises(HeadwayError, match=message), exclusive(small):
        pytest.fail("the lock was given twice")
    with exclusive(small):
        pass


def test_the_lock_is_free_after_its_holder_was_killed(small: Layout) -> None:
    code = f"""
import os, signal
from pathlib import Path
from flows.execution import exclusive
from headway.layout import Layout
with exclusive(Layout(Path({str(small.root)!r}))):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, check=False)
    assert done.returncode == -9
    with exclusive(small):
        pass


@pytest.mark.parametrize("left", ["", '{"write": {', "\0" * 20])
def test_a_list_of_paths_in_use_of_which_a_kill_left_half_stops_no_flow(small: Layout, left: str) -> None:
    repro("copy", small, lambda line: None)
    in_use = small.root / ".dvc" / "tmp" / "rwlock"
    in_use.write_text(left)
    with pytest.raises(StageFailed, match="corrupted"):
        repro("count", small, lambda line: None)
    with exclusive(small):
        assert repro("count", small, lambda line: None).outcome == RAN


def test_a_list_of_paths_in_use_that_can_be_read_stays(small: Layout) -> None:
    in_use = small.root / ".dvc" / "tmp" / "rwlock"
    in_use.write_text('{"write": {}, "read": {}}')
    with exclusive(small):
        assert in_use.is_file()
