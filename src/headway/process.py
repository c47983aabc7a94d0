"""Child processes that end with their parent, and commands that are ended with their whole process group."""

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
#: How long a process group has to end after each signal.
SECONDS_TO_END = 10.0
#: Environment variable that DVC sets for the command of a stage.
RUN_BY_DVC = "DVC_STAGE"


def die_with_parent() -> None:
    """On Linux, have the kernel kill this process when its parent ends, even by SIGKILL. Does nothing on other systems."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1 and parent != 1:
            os._exit(1)  # the parent ended before prctl was called


def stream(command: Sequence[str], cwd: Path, environment: Mapping[str, str], on_line: Callable[[str], None]) -> int:
    """Run a command in its own process group, pass each line of its output to ``on_line``, and return its exit status.

    An exception in ``on_line``, or Ctrl+C, ends the whole group and is then raised again. That holds for Ctrl+C even if other
    code that happened to run, such as a logging handler or a finalizer, has swallowed the KeyboardInterrupt.
    """
    with (
        recorded_interrupts() as interrupts,
        subprocess.Popen(
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
        ) as process,
    ):
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


@contextmanager
def recorded_interrupts() -> Iterator[Sequence[int]]:
    """Record the SIGINTs that arrive within the block, and handle them as before. Outside the main thread, none are recorded."""
    recorded: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield recorded
        return

    def record(number: int, frame: FrameType | None) -> None:
        recorded.append(number)
        before(number, frame)

    signal.signal(signal.SIGINT, record)
    try:
        yield recorded
    finally:
        signal.signal(signal.SIGINT, before)


def _end_group(process: subprocess.Popen[str]) -> None:
    """Send SIGINT to the group, as Ctrl+C does, so that a search knows that a person ended it; then SIGTERM, then SIGKILL."""
    for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, signal_number)
        except ProcessLookupError:
            break
        try:
            process.wait(None if signal_number == signal.SIGKILL else SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            continue
