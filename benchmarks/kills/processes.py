"""Starts commands, and kills them.

Most are forked from a process that has imported everything already, so that a kill falls into the work and not into seconds of
imports; ``headway run`` is started as a person starts it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil

from tests.apart import CONTEXT
from tests.e2e.conftest import Clone

#: Imported before the processes are forked.
COMMANDS = "benchmarks.kills.commands"
CONTEXT.set_forkserver_preload([COMMANDS])
#: Seconds that any command may take.
PATIENCE = 400.0
#: What a kill hits: every process of the job, as when a container ends; the command alone; or the process with the most memory,
#: as the kernel does when memory is short.
EVERY, COMMAND, LARGEST = "every process", "the command", "the largest process"


class Stuck(Exception):
    """A command has not ended in time."""


@dataclass(frozen=True)
class Started:
    """A command that was started.

    Attributes:
        poll: returns its exit status, negative after a signal; None while it runs.
    """

    pid: int
    poll: Callable[[], int | None]

    def wait(self, seconds: float = PATIENCE) -> int:
        """Its exit status; it is killed, and Stuck raised, if it does not end."""
        end = time.monotonic() + seconds
        while (status := self.poll()) is None:
            if time.monotonic() > end:
                kill(self, EVERY)
                raise Stuck(f"it has not ended after {seconds:.0f} s")
            time.sleep(0.005)
        return status


def forked(function: str, *arguments: Any, folder: Path, log: Path) -> Started:
    """Run a function of :mod:`benchmarks.kills.commands` in a process of its own, in a folder, with its output in a file."""
    log.write_bytes(b"")
    process = CONTEXT.Process(target=_in_folder, args=(function, arguments, folder, log))
    process.start()
    assert process.pid is not None
    return Started(process.pid, lambda: process.exitcode)


def commanded(clone: Clone, *words: str, log: Path) -> Started:
    """Start a command as a person does."""
    process = clone.start(*words, log=log)
    return Started(process.pid, process.poll)


def kill(started: Started, what: str) -> None:
    """Kill by SIGKILL; nothing happens if the command has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        command = psutil.Process(started.pid)
        if what == COMMAND:
            command.kill()
            return
        tree = [command, *command.children(recursive=True)]
        if what == LARGEST:
            max(tree, key=_memory).kill()
            return
        for signal in (psutil.Process.suspend, psutil.Process.kill):  # stopped first, so that none sees another one end
            for process in tree:
                with contextlib.suppress(psutil.NoSuchProcess):
                    signal(process)


def output_of(command: list[str], folder: Path) -> str:
    """What a short command prints."""
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def _memory(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.NoSuchProcess):
        return int(process.memory_info().rss)
    return 0


def _in_folder(function: str, arguments: tuple[Any, ...], folder: Path, log: Path) -> None:
    os.setsid()
    os.chdir(folder)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    getattr(import_module(COMMANDS), function)(*arguments)
