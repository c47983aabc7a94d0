"""What a cleanup finds: things of one kind that stay or go for one reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Group:
    """Things of one kind that stay or go for one reason.

    Attributes:
        what: the kind of thing, in the plural.
        count: number of things.
        size: in bytes.
        why: they stay or go.
        steps: functions that remove them, one by one, each safe to repeat; empty if they stay.
        paths: files and folders to name before they are removed.
    """

    what: str
    count: int
    size: int
    why: str
    steps: tuple[Callable[[], object], ...] = ()
    paths: tuple[Path, ...] = ()

    @property
    def goes(self) -> bool:
        """Whether the things are removed."""
        return bool(self.steps)
