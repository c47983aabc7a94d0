"""Opens the storage of a study, a journal file or a PostgreSQL database, and fails the trials of processes that were killed.

Optuna records heartbeats and fails stale trials, in a database only. A journal belongs to one process, so a trial that is
running in it when the process starts was abandoned.
"""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, fail_stale_trials
from optuna.storages._heartbeat import BaseHeartbeat, get_heartbeat_thread, is_heartbeat_enabled
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_exponential

from headway.errors import HeadwayError, Unreachable, first_line, redact_credentials

#: Seconds between two heartbeats of a running trial, and seconds without one after which the trial counts as abandoned.
HEARTBEAT_INTERVAL = 5
GRACE_PERIOD = 15
#: Seconds to wait for a database that does not answer, for example because it is restarting.
SECONDS_TO_CONNECT = 30.0
SECONDS_PER_ATTEMPT = 10
#: Found in the error of a database that answers but refuses, so that trying again cannot help.
REFUSAL = re.compile(r"authentication|no password|pg_hba|does not exist|permission denied")


class Database(RDBStorage):
    """A database whose short failures do not end Optuna's heartbeat thread, which dies with a traceback on any exception."""

    def record_heartbeat(self, trial_id: int) -> None:
        with suppress(SQLAlchemyError, StorageInternalError):  # if it stays away, the search's own next write reports it
            super().record_heartbeat(trial_id)


def open_storage(url: str, journal: Path) -> BaseStorage:
    """Open the storage that ``tune.storage`` names.

    Args:
        url: of a database, its password in PGPASSWORD or ~/.pgpass; "" for the journal.
        journal: file to use without a URL. No other process may use it.

    Raises:
        HeadwayError: the URL is malformed, or the database refuses the connection.
        Unreachable: no database answers.
    """
    if not url:
        journal.parent.mkdir(parents=True, exist_ok=True)
        _repair(journal)
        return JournalStorage(JournalFileBackend(str(journal)))
    try:
        make_url(url).get_dialect().import_dbapi()
    except (ArgumentError, NoSuchModuleError, ImportError, ValueError) as error:
        raise HeadwayError(
            f"tune.storage: {first_line(error)}; expected a URL such as postgresql://user@host/database"
        ) from None
    # Pre-ping: a broken connection is noticed when it is next used, and replaced.
    options = {"creator": lambda: _connect(url), "pool_pre_ping": True}
    with database_errors(url), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return Database(url, options, heartbeat_interval=HEARTBEAT_INTERVAL, grace_period=GRACE_PERIOD)


@contextmanager
def database_errors(url: str) -> Iterator[None]:
    """Report the failure of a database in one line that names it, without its password; a journal's errors pass unchanged.

    Raises:
        HeadwayError: the database refuses.
        Unreachable: the database does not answer.
    """
    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        if not url:
            raise
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        failure = f"tune.storage: the database {redact_credentials(url)} failed ({first_line(cause)})"
        if REFUSAL.search(str(cause)):
            raise HeadwayError(f"{failure}; check its name, the user, and the password in PGPASSWORD or ~/.pgpass") from None
        raise Unreachable(f"{failure}; start it, and run again to continue the search") from None


@contextmanager
def heartbeats(storage: BaseStorage, trial_ids: Sequence[int]) -> Iterator[None]:
    """Record heartbeats of these trials within the block."""
    with ExitStack() as stack:
        for trial_id in trial_ids:
            thread = get_heartbeat_thread(trial_id, storage)
            thread.start()
            stack.callback(thread.join)
        yield


def record_heartbeat(storage: BaseStorage, trial_id: int) -> None:
    """Record one heartbeat, where the storage has any."""
    if is_heartbeat_enabled(storage) and isinstance(storage, BaseHeartbeat):
        storage.record_heartbeat(trial_id)


def fail_abandoned_trials(study: optuna.Study) -> None:
    """Set the trials of killed processes to FAIL. If the last heartbeat is recent, wait for the next one.

    Raises:
        HeadwayError: another process runs this study.
    """
    storage = study._storage
    _fail(study, TrialState.WAITING)  # killed, or just overtaken, between creating a trial and starting it
    if not is_heartbeat_enabled(storage):
        _fail(study, TrialState.RUNNING)
        return
    end = time.monotonic() + GRACE_PERIOD + HEARTBEAT_INTERVAL
    while True:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            fail_stale_trials(study)
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        if not running:
            return
        if time.monotonic() > end:
            raise run_elsewhere(running[0])
        time.sleep(HEARTBEAT_INTERVAL / 5)


def run_elsewhere(trial: FrozenTrial) -> HeadwayError:
    number = trial.user_attrs["number"]
    return HeadwayError(f"another process runs this search (trial {number}); wait until it is done, or end it")


def _fail(study: optuna.Study, state: TrialState) -> None:
    for trial in study.get_trials(deepcopy=False, states=(state,)):
        with suppress(UpdateFinishedTrialError):  # another process was faster
            study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)


def _repair(journal: Path) -> None:
    """Remove what a kill during a write leaves behind: Optuna's lock and an incomplete last line.

    Optuna would wait for the lock for ever, and would append to the incomplete line, so that neither line could be read.
    """
    Path(f"{journal}.lock").unlink(missing_ok=True)
    if journal.is_file():
        with journal.open("rb+") as file:
            file.truncate(file.read().rfind(b"\n") + 1)


def _connect(url: str) -> Any:
    """Open a connection of the driver, with retries while the database does not answer."""
    parsed = make_url(url)
    dialect = parsed.get_dialect()
    driver = dialect.import_dbapi()
    positional, named = dialect().create_connect_args(parsed)
    # Heartbeats are stored without a time zone, so all clients must use the same one.
    options = {"connect_timeout": SECONDS_PER_ATTEMPT, "options": "-c timezone=utc", **named}
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
