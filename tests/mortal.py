"""A process that dies before a call to MLflow that would have changed something, as often as there are such calls; and one that
really does, by SIGKILL, between any two writes."""

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
    """Nothing that catches errors catches it; unlike after kill -9, what ends in any case (``finally``) still does."""


class Mortal:
    """MLflow's client until its n-th call that changes something, before which the process dies."""

    def __init__(self, client: Any, deadline: int) -> None:
        self._client, self._left = client, deadline

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not name.startswith(CHANGES):
            return found

        def call(*words: Any, **more: Any) -> Any:
            self._left -= 1
            if self._left < 0:
                raise Killed(name)
            return found(*words, **more)

        return call


def each_kill(database: Path, act: Callable[[int], object], step: int = 1) -> Iterator[int]:
    """Every place in which a kill can fall, or every so many-th, one after the other, until the act is through without one.

    Args:
        database: MLflow's, as it stands now before every attempt.
        act: with the number of calls that go through before the one that kills.

    Yields:
        That number, after each kill.
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
    """End this process by SIGKILL, like kill -9, before its n-th write from now on: a statement that changes a database, a
    commit, a file that is opened to be written, renamed or removed, or a new folder.

    Args:
        deadline: from 0; None lets it live.

    Returns:
        Tells how many writes there were.
    """
    seen = 0

    def write() -> None:
        nonlocal seen
        if seen == deadline:
            os.kill(os.getpid(), signal.SIGKILL)
        seen += 1

    def audit(name: str, words: tuple[Any, ...]) -> None:
        to_write = name == "open" and isinstance(words[2], int) and words[2] & (os.O_WRONLY | os.O_RDWR)
        if (to_write and not str(words[0]).startswith("/dev/")) or name in ("os.rename", "os.remove", "os.mkdir"):
            write()

    def execute(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if not statement.lstrip().upper().startswith(("SELECT", "PRAGMA")):
            write()

    sys.addaudithook(audit)
    event.listen(Engine, "before_cursor_execute", execute)
    event.listen(Engine, "commit", lambda _: write())
    return lambda: seen
