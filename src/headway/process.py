"""Child processes that end with their parents, and commands whose whole process group can be ended."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

PR_SET_PDEATHSIG = 1
SECONDS_TO_END = 10.0
#: DVC sets this for the command of a stage.
RUN_BY_DVC = "DVC_STAGE"


def die_with_parent() -> None:
    """Ask Linux to end this process when the one that started it is gone, even by kill -9; elsewhere it does nothing."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1 and parent != 1:
            os._exit(1)  # it was gone before it could be watched


def stream(command: Sequence[str], cwd: Path, environment: Mapping[str, str], on_line: Callable[[str], None]) -> int:
    """Run a command in a process group of its own, hand over its output line by line, return its exit status.

    Whatever ends this call early, an exception in ``on_line`` or Ctrl+C, ends the whole group before it is raised on. Ctrl+C
    does so also when other code, a logging handler or a finaliser that it happened to fall into, has swallowed it.
    """
    with noted_interrupts() as interrupts:
        return _stream(command, cwd, environment, on_line, interrupts)


def _stream(
    command: Sequence[str],
    cwd: Path,
    environment: Mapping[str, str],
    on_line: Callable[[str], None],
    interrupts: Sequence[int],
) -> int:
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
        preexec_fn=die_with_parent,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if interrupts:
                raise KeyboardInterrupt
            on_line(line.rstrip())
        status = process.wait()
        if interrupts:
            raise KeyboardInterrupt
        return status
    except BaseException:
        _end_group(process)
        raise
    finally:
        process.stdout.close()


@contextmanager
def noted_interrupts() -> Iterator[Sequence[int]]:
    """The SIGINTs that arrive within the block, each of which is handled as before; none outside of the main thread."""
    noted: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield noted
        return

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        before(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)


def _end_group(process: subprocess.Popen[str]) -> None:
    """SIGINT to the group, as Ctrl+C gives it, so that a search knows that a person ended it; after some seconds SIGTERM to
    what is left, and in the end SIGKILL."""
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            break
        try:
            process.wait(None if sign == signal.SIGKILL else SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            continue
