"""Where a study is kept: a journal file by default, a database by URL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend

from headway.errors import HeadwayError


def open_storage(url: str, journal: Path) -> BaseStorage:
    """The storage that ``tune.storage`` names.

    Args:
        url: of a database; "" for the journal.
        journal: file that keeps the study when there is no URL.
    """
    if url:
        raise HeadwayError("tune.storage: databases are not built yet; leave it empty")
    journal.parent.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(str(journal)))


@contextmanager
def heartbeats(storage: BaseStorage, trial_ids: Sequence[int]) -> Iterator[None]:  # noqa: ARG001
    """While the block runs, the storage is told that these trials are being worked at, if it can keep that."""
    yield


def is_beating(storage: BaseStorage, trial_id: int) -> bool:  # noqa: ARG001
    """Whether another process works at a running trial; a journal, which one process has to itself, holds none such."""
    return False
