"""A process that dies before a call to MLflow that would have changed something, as often as there are such calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

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
