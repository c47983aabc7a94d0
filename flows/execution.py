"""Runs one stage through DVC, and locks the project so that only one flow runs in it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from headway.errors import HeadwayError, redact_credentials
from headway.foreign_text import one_line
from headway.layout import Layout
from headway.process import stream

DVC = [sys.executable, "-m", "dvc"]
RAN, RESTORED, UP_TO_DATE = "ran", "restored", "up to date"
UNCHANGED = "didn't change, skipping"
#: More than DVC needs to write a small file.
SECONDS_TO_WRITE = 0.5
#: Hints that DVC prints after every stage, which are not about the stage.
HINTS = (
    "Generating lock file",
    "Updating lock file",
    "To track the changes",
    "git add ",
    "To enable auto staging",
    "dvc config ",
    "Use `dvc push`",
)
MISSING = re.compile(r"No such file or directory: '(.+)'")
OWN, DVC_OWN = "headway: ", "ERROR: "


class StageFailed(HeadwayError):
    """A stage ended with an error.

    Attributes:
        explained: whether the stage reported the cause itself, in which case a retry would fail the same way.
    """

    def __init__(self, message: str, explained: bool) -> None:
        super().__init__(message)
        self.explained = explained


@dataclass(frozen=True)
class StageResult:
    """How a stage ended: ``ran``, ``restored`` from DVC's cache, or ``up to date``."""

    name: str
    outcome: str
    seconds: float


def changed_stages(layout: Layout) -> set[str] | None:
    """Names of the stages that DVC finds changed, None if ``dvc status`` fails (``dvc repro`` then reports why)."""
    done = subprocess.run([*DVC, "status", "--json"], cwd=layout.root, capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    return set(json.loads(done.stdout or "{}"))


def repro(stage: str, layout: Layout, log: Callable[[str], None]) -> StageResult:
    """Run one stage with ``dvc repro --single-item`` and pass its output to ``log``, line by line.

    Raises:
        StageFailed: the stage failed; the message is the stage's own.
    """
    started = time.monotonic()
    lines: list[str] = []

    def on_line(line: str) -> None:
        line = one_line(redact_credentials(line))  # DVC's own lines quote addresses as they are
        if line and not line.strip().startswith(HINTS):
            lines.append(line)
            log(line)

    status = stream([*DVC, "repro", "--single-item", stage], layout.root, os.environ, on_line)
    if status:
        raise _failure(stage, status, lines)
    seconds = time.monotonic() - started
    if any(line.startswith("Running stage") for line in lines):
        return StageResult(stage, RAN, seconds)
    return StageResult(stage, UP_TO_DATE if any(line.endswith(UNCHANGED) for line in lines) else RESTORED, seconds)


def _failure(stage: str, status: int, lines: list[str]) -> StageFailed:
    """The error that a stage, or DVC, reported."""
    own = next((line for line in lines if line.startswith(OWN)), None)
    if own:
        return StageFailed(f"stage {stage}: {own.removeprefix(OWN)}", explained=True)
    message = next((line for line in lines if line.startswith(DVC_OWN)), f"dvc ended with status {status}")
    missing = MISSING.search(message)
    if missing:
        what = f"{missing[1]} does not exist; create it, or correct its path in params.yaml or dvc.yaml"
        return StageFailed(f"stage {stage}: {what}", explained=True)
    return StageFailed(f"stage {stage}: {message.removeprefix(DVC_OWN)}", explained=False)


@contextmanager
def exclusive(layout: Layout) -> Iterator[None]:
    """Hold the project's flow lock; the operating system releases it when this process ends, even after a kill.

    Raises:
        HeadwayError: another flow holds it.
    """
    layout.scratch.mkdir(exist_ok=True)
    holder = layout.scratch / "flow.json"
    lock = FileLock(layout.scratch / "flow.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise HeadwayError(f"another flow is running in this project{_describe(holder)}; wait for it or end it") from None
    try:
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        holder.write_text(json.dumps({"process": os.getpid(), "since": now}))
        _repair_dvc(layout)
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _repair_dvc(layout: Layout) -> None:
    """Remove DVC's list of the paths in use, if a kill has left half of it; every later DVC command would refuse to read it.

    DVC writes it anew. One that is being written right now is complete a moment later.
    """
    in_use = layout.root / ".dvc" / "tmp" / "rwlock"
    for seconds in (SECONDS_TO_WRITE, 0.0):
        try:
            json.loads(in_use.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return
        except ValueError:
            time.sleep(seconds)
        else:
            return
    in_use.unlink(missing_ok=True)


def _describe(holder: Path) -> str:
    try:
        noted = json.loads(holder.read_text())
    except (OSError, ValueError):
        return ""
    return f" (process {noted['process']}, since {noted['since']})"
