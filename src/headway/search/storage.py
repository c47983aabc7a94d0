"""Where a study is kept: a journal file by default, a PostgreSQL database by URL."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy import Connection, make_url, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_exponential

from headway.errors import HeadwayError, Unreachable, first_line, redact_credentials

#: Seconds between two signs of life of a running trial, and without one until it counts as interrupted.
SECONDS_BETWEEN_BEATS = 5.0
SECONDS_OF_GRACE = 15.0
#: How long a database is waited for that does not answer, as one that is started anew.
SECONDS_TO_CONNECT = 30.0
SECONDS_A_CONNECTION = 10
#: What a server says that answers, and goes on saying.
REFUSAL = re.compile(r"authentication|no password|pg_hba|does not exist|permission denied")


def open_storage(url: str, journal: Path) -> BaseStorage:
    """The storage that ``tune.storage`` names.

    Args:
        url: of a database, its password in the environment (PGPASSWORD) or in ~/.pgpass; "" for the journal.
        journal: file that keeps the study when there is no URL; this process has it to itself.

    Raises:
        HeadwayError: the URL is none, or the database refuses.
        Unreachable: no database answers there.
    """
    if not url:
        journal.parent.mkdir(parents=True, exist_ok=True)
        _repair(journal)
        return JournalStorage(JournalFileBackend(str(journal)))
    try:
        make_url(url).get_dialect().import_dbapi()
    except (ArgumentError, NoSuchModuleError, ImportError, ValueError) as error:
        raise HeadwayError(f"tune.storage: {first_line(error)}; expected as in postgresql://user@host/database") from None
    with answering(url):
        # A connection that broke is noticed when it is next taken, and replaced.
        return RDBStorage(url, engine_kwargs={"creator": lambda: _connect(url), "pool_pre_ping": True})


@contextmanager
def answering(url: str) -> Iterator[None]:
    """Turns what a database's failure raises into one line that names it, without a password; of a journal, nothing.

    Raises:
        HeadwayError: it refuses.
        Unreachable: it does not answer.
    """
    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        if not url:
            raise
        cause = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
        what = f"tune.storage: the database {redact_credentials(url)} failed ({first_line(cause)})"
        if REFUSAL.search(str(cause)):
            raise HeadwayError(f"{what}; check its name, the user, and the password in PGPASSWORD or ~/.pgpass") from None
        raise Unreachable(f"{what}; start it, and run again: the study goes on") from None


@contextmanager
def heartbeats(storage: BaseStorage, trial_ids: Sequence[int]) -> Iterator[None]:
    """While the block runs, a database is told that these trials are being worked at."""
    if not isinstance(storage, RDBStorage):
        yield
        return
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(SECONDS_BETWEEN_BEATS):
            try:
                _beat(storage, trial_ids)
            except (SQLAlchemyError, StorageInternalError):
                continue  # it may be back for the next one; what the search itself writes tells when it is not

    _beat(storage, trial_ids)
    thread = threading.Thread(target=beat, name="heartbeats", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def is_beating(storage: BaseStorage, trial_id: int) -> bool:
    """Whether another process works at a running trial; a journal, which one process has to itself, holds none such.

    Of a trial whose last sign of life is recent, the next one is waited for.
    """
    if not isinstance(storage, RDBStorage):
        return False
    with storage.engine.connect() as connection:
        first, age = _last_beat(connection, trial_id)
        end = time.monotonic() + SECONDS_OF_GRACE - age
        while time.monotonic() < end:
            time.sleep(SECONDS_BETWEEN_BEATS / 10)
            if _last_beat(connection, trial_id)[0] != first:
                return True
    return False


def _repair(journal: Path) -> None:
    """Take away what a kill in the middle of a write leaves: Optuna's lock, and a line that is not complete.

    Optuna would wait for the one, and write its next line behind the other, which then nobody can read.
    """
    Path(f"{journal}.lock").unlink(missing_ok=True)
    if journal.is_file():
        with journal.open("rb+") as file:
            file.truncate(file.read().rfind(b"\n") + 1)


def _beat(storage: RDBStorage, trial_ids: Sequence[int]) -> None:
    for trial_id in trial_ids:
        storage.record_heartbeat(trial_id)


def _last_beat(connection: Connection, trial_id: int) -> tuple[Any, float]:
    """When it was, by the database's clock, and how many seconds ago; 0 for a trial that has none yet."""
    query = "SELECT heartbeat, extract(epoch FROM localtimestamp - heartbeat) FROM trial_heartbeats WHERE trial_id = :id"
    row = connection.execute(text(query), {"id": trial_id}).one_or_none()
    connection.rollback()  # or the next look would see the same moment
    return (row[0], float(row[1])) if row else (None, 0.0)


def _connect(url: str) -> Any:
    """A connection of the driver's own; a database that does not answer is asked again for a while."""
    parsed = make_url(url)
    dialect = parsed.get_dialect()
    driver = dialect.import_dbapi()
    positional, named = dialect().create_connect_args(parsed)
    # Heartbeats are without a time zone, so all who write them have to be in one.
    options = {"connect_timeout": SECONDS_A_CONNECTION, "options": "-c timezone=utc", **named}
    for attempt in Retrying(
        retry=retry_if_exception(
            lambda error: isinstance(error, driver.OperationalError) and not REFUSAL.search(str(error))
        ),
        stop=stop_after_delay(SECONDS_TO_CONNECT),
        wait=wait_exponential(multiplier=0.5, max=5),
        reraise=True,
    ):
        with attempt:
            return driver.connect(*positional, **options)
    raise AssertionError("a retry ends with a result or an error")
