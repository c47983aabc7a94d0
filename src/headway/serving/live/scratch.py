"""Temporary folders for downloads. One that a killed process leaves behind is removed by the next process."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from headway.errors import HeadwayError
from headway.files import TEMPORARY_PREFIX

PREFIX = f"{TEMPORARY_PREFIX}live-"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty temporary folder that is removed at the end; those that killed processes left are removed at the beginning.

    A process holds a lock on its folder, which the system releases when the process ends in any way.

    Raises:
        HeadwayError: the folder cannot be created or written to.
    """
    try:
        remove_left_over()
        folder, lock = _locked_folder()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)
    except OSError as error:
        raise HeadwayError(
            f"{tempfile.gettempdir()}: a model cannot be downloaded there ({error.strerror or type(error).__name__}); "
            "free space, or name another folder in TMPDIR"
        ) from error


def remove_left_over() -> None:
    """Remove the temporary folders of processes that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # another process removed it first, or another user owns it
            lock = _lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _locked_folder() -> tuple[Path, int]:
    """A new folder, and the descriptor that holds its lock."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        with suppress(FileNotFoundError):  # removed by another process before it was locked
            lock = _lock(folder, fcntl.LOCK_EX)
            if folder.exists():
                return folder, lock
            os.close(lock)


def _lock(folder: Path, how: int) -> int:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, how)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
