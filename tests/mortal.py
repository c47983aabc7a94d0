"""Simulated kills before each MLflow call that changes something, and real kills, by SIGKILL, between any two writes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

CHANGES = ("create_", "set_", "log_", "delete_", "update_", "restore_")


class Killed(BaseException):
    """A simulated kill. No ``except Exception`` catches it, but unlike after SIGKILL, ``finally`` blocks run."""


class Mortal:
    """An MLflow client that raises :class:`Killed` before a call that changes something, after ``deadline`` such calls."""

    def __init__(self, client: Any, deadline: int) -> None:
        self._client, self._left = client, deadline

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not name.startswith(CHANGES):
            return found

        def call(*arguments: Any, **more: Any) -> Any:
            self._left -= 1
            if self._left < 0:
                raise Killed(name)
            return found(*arguments, **more)

        return call


def each_kill(database: Path, act: Callable[[int], object], step: int = 1) -> Iterator[int]:
    """Run an act repeatedly, each time killed one changing call later, until it completes without a kill.

    Args:
        database: MLflow's database file, which is restored before each attempt.
        act: takes the number of changing calls that succeed before the kill.
        step: try only every ``step``-th number of calls.

    Yields:
        the number of calls that succeeded, after each kill.
    """
    before = database.read_bytes()
    for deadline in count(0, step):
        database.write_bytes(before)
        try:
            act(deadline)
        except Killed:
            yield deadline
        else:
            return


def die_at(deadline: int | None) -> Callable[[], int]:
    """Kill this process by SIGKILL before its n-th write from now on.

    Writes are statements that change a database, commits, opening a file for writing, renaming or removing a file, and
    creating a folder.

    Args:
        deadline: number of writes that succeed before the kill; None never kills.

    Returns:
        a function that returns the number of writes so far.
    """
    seen = 0

    def write() -> None:
        nonlocal seen
        if seen == deadline:
            os.kill(os.getpid(), signal.SIGKILL)
        seen += 1

    def audit(name: str, arguments: tuple[Any, ...]) -> None:
        to_write = name == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (to_write and not str(arguments[0]).startswith("/dev/")) or name in ("os.rename", "os.remove", "os.mkdir"):
            write()

    def execute(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if not statement.lstrip().upper().startswith(("SELECT", "PRAGMA")):
            write()

    sys.addaudithook(audit)
    event.listen(Engine, "before_cursor_execute", execute)
    event.listen(Engine, "commit", lambda _: write())
    return lambda: seen
