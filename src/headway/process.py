"""This process's user, child processes that end with their parent, and commands that are ended with their whole process group."""

from __future__ import annotations

import ctypes
import getpass
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

PR_SET_PDEATHSIG = 1
#: How long a process group has to end after each signal.
SECONDS_TO_END = 10.0
#: Environment variable that DVC sets for the command of a stage.
RUN_BY_DVC = "DVC_STAGE"


def user_name() -> str:
    """The user that this process runs as; "unknown" for a user without a name, as containers can have."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def die_with_parent() -> None:
    """On Linux, have the kernel kill this process when its parent ends, even by SIGKILL. Does nothing on other systems."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1 and parent != 1:
            os._exit(1)  # the parent ended before prctl was called


def die_with_dvc() -> None:
    """If DVC runs this process as the command of a stage, have it end when DVC ends, even by SIGKILL. Linux only, as above.

    DVC runs commands with ``$SHELL -c``, or with ``/bin/sh`` where SHELL is not set, as in most containers. bash replaces itself
    with the command, but dash stays between DVC and the command, and outlives DVC.
    """
    if RUN_BY_DVC not in os.environ:
        return
    die_with_parent()
    if sys.platform == "linux":
        shell = os.environ.get("SHELL") or "/bin/sh"
        parent = psutil.Process(os.getppid())
        if os.path.realpath(parent.exe()) == os.path.realpath(shell):
            _die_with(parent.ppid())


def _die_with(pid: int) -> None:
    """Have a thread kill this process as soon as the process with an id has ended."""
    try:
        ended = select.poll()
        ended.register(os.pidfd_open(pid), select.POLLIN)
    except ProcessLookupError:
        os._exit(1)

    def kill() -> None:
        ended.poll()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=kill, name="die with DVC", daemon=True).start()


def stream(command: Sequence[str], cwd: Path, environment: Mapping[str, str], on_line: Callable[[str], None]) -> int:
    """Run a command in its own process group, pass each line of its output to ``on_line``, and return its exit status.

    An exception in ``on_line``, Ctrl+C or a termination ends the whole group and is then raised again. That holds for Ctrl+C and
    termination even if other code that happened to run, such as a logging handler or a finalizer, has swallowed the exception.
    """
    with (
        recorded_interrupts() as raise_if_interrupted,
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
                raise_if_interrupted()
                on_line(line.rstrip())
            status = process.wait()
            raise_if_interrupted()
            return status
        except BaseException:
            _end_group(process)
            raise


class Terminated(BaseException):
    """SIGTERM or SIGHUP arrived. It is handled as Ctrl+C is, so that everything is ended and closed in order."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def raise_on_termination() -> None:
    """Have SIGTERM and SIGHUP raise :class:`Terminated` in the main thread. One that is ignored, as under nohup, stays so."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise Terminated(number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, end)


@contextmanager
def recorded_interrupts() -> Iterator[Callable[[], None]]:
    """Record SIGINT, SIGTERM and SIGHUP within the block, and handle them as before.

    Yields a function that raises KeyboardInterrupt or :class:`Terminated` if one has arrived, because other code may have
    swallowed the exception of the handler. Outside the main thread, none are recorded. Neither are signals without a handler.
    """
    recorded: list[int] = []
    before: dict[int, Callable[[int, FrameType | None], Any]] = {}

    def record(number: int, frame: FrameType | None) -> None:
        recorded.append(number)
        before[number](number, frame)

    def raise_if_interrupted() -> None:
        if recorded:
            raise KeyboardInterrupt if recorded[0] == signal.SIGINT else Terminated(recorded[0])

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            handler = signal.getsignal(number)
            if callable(handler):  # SIG_DFL and SIG_IGN are not
                before[number] = handler
                signal.signal(number, record)
    try:
        yield raise_if_interrupted
    finally:
        for restored, handler in before.items():
            signal.signal(restored, handler)


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
