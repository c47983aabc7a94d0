"""The model that answers now. A background thread looks for another one, checks it, and swaps it in."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from headway.errors import HeadwayError, Unreachable, first_line
from headway.serving.live.model import ServedModel
from headway.serving.live.source import ModelSource
from headway.serving.package import ModelPackage

logger = logging.getLogger(__name__)

#: Seconds before a model that failed is fetched again, at most; the pause doubles from the seconds between two checks.
LONGEST_PAUSE = 3600.0
#: Seconds that the next model waits for the last requests of the one before the current, so that memory holds two at most.
LONGEST_WAIT = 60.0
#: Seconds that :meth:`LiveModel.stop` waits for a download in progress, which then ends with the process.
LONGEST_STOP = 2.0


@dataclass(frozen=True)
class LiveStatus:
    """How the model that answers came to be, and whether it is the one that should.

    Attributes:
        version: that answers now.
        loaded_at: when it took over, in UTC.
        checked_at: when the source last said which model is to be served, in UTC.
        swaps: how often another model took over since the start.
        failures: attempts to serve another model that failed because of that model.
        problem: why the newest model is not served, or why it is unknown which one that is; None if it is served.
    """

    version: str
    loaded_at: datetime
    checked_at: datetime
    swaps: int = 0
    failures: int = 0
    problem: str | None = None


@dataclass(frozen=True)
class _Failure:
    """A model that cannot be served: its key, attempts so far, when it is fetched again (monotonic seconds), and why."""

    key: str
    attempts: int
    retry_at: float
    problem: str


class LiveModel:
    """Holds the model that answers, and replaces it by the newest one of a source.

    A model takes over only after its hashes and golden predictions were checked. Whatever fails, the current one stays, and
    :attr:`status` says why. No lock is held while requests are answered: a request reads :attr:`current` once and keeps what
    it got until it is done; the memory of a model is freed when the last such request ends.
    """

    def __init__(self, source: ModelSource, seconds_between_checks: float) -> None:
        self._source = source
        self._seconds = seconds_between_checks
        self._current: ServedModel | None = None
        self._status: LiveStatus | None = None
        self._key = ""
        self._failure: _Failure | None = None
        self._previous: Callable[[], ModelPackage | None] = lambda: None
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="headway-live-model", daemon=True)

    def start(self) -> None:
        """Load the first model, then look for another one regularly if the source may have one, and after every hint.

        Raises:
            Unreachable: the registry does not answer.
            HeadwayError: there is no model to serve, or it is damaged.
        """
        self._key = self._source.newest()
        self._current = self._source.fetch(self._key)
        now = datetime.now(UTC)
        self._status = LiveStatus(self._current.version, loaded_at=now, checked_at=now)
        self._thread.start()

    def stop(self) -> None:
        """Look for no other model any more. The current one can still be used."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(LONGEST_STOP)

    @property
    def current(self) -> ServedModel:
        """The model that answers now. Read it once per request or batch: the next read may give another one."""
        current = self._current
        assert current is not None, "start() loads the first model"
        return current

    @property
    def status(self) -> LiveStatus:
        """A snapshot of the state."""
        status = self._status
        assert status is not None, "start() loads the first model"
        return status

    def check_now(self) -> None:
        """Have the background thread look for another model now, also for one that failed before. Returns at once."""
        self._wake.set()

    def _run(self) -> None:
        while True:
            hinted = self._wake.wait(self._seconds if self._source.moves else None)
            self._wake.clear()
            if self._stopping.is_set():
                return
            self._check(hinted)

    def _check(self, hinted: bool) -> None:
        """Ask the source which model is to be served, and swap it in if it is another one."""
        try:
            key = self._source.newest()
        except Exception as error:  # noqa: BLE001 - whatever happens, the current model goes on answering
            self._report(_reason(error))
            return
        self._update(checked_at=datetime.now(UTC))
        if key == self._key:
            self._failure = None
            self._report(None)
            return
        failure = self._failure if self._failure and self._failure.key == key else None
        if failure and time.monotonic() < failure.retry_at and not hinted:
            self._report(failure.problem)
            return
        self._wait_for_previous()
        if self._stopping.is_set():
            return
        try:
            served = self._source.fetch(key)
        except Unreachable as error:
            self._report(_reason(error))
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(key, failure.attempts + 1 if failure else 1, _reason(error))
        else:
            if not self._stopping.is_set():
                self._swap(key, served)

    def _swap(self, key: str, served: ServedModel) -> None:
        self._previous = weakref.ref(self.current.package)
        before = self.current.version
        self._current = served
        self._key, self._failure = key, None
        self._update(version=served.version, loaded_at=datetime.now(UTC), swaps=self.status.swaps + 1)
        self._report(None)
        logger.info("version %s of %s answers now instead of version %s", served.version, served.name, before)

    def _fail(self, key: str, attempts: int, problem: str) -> None:
        pause = min(self._seconds * 2 ** min(attempts - 1, 30), max(LONGEST_PAUSE, self._seconds))
        self._failure = _Failure(key, attempts, time.monotonic() + pause, problem)
        self._update(failures=self.status.failures + 1)
        self._report(problem)

    def _wait_for_previous(self) -> None:
        """Wait until no request uses the model before the current one, but not forever for a request that hangs."""
        end = time.monotonic() + LONGEST_WAIT
        while self._previous() is not None and time.monotonic() < end and not self._stopping.wait(0.05):
            pass

    def _report(self, problem: str | None) -> None:
        """Store what is wrong, and log it once."""
        if problem and problem != self.status.problem:
            logger.warning("version %s goes on answering: %s", self.status.version, problem)
        self._update(problem=problem)

    def _update(self, **changes: object) -> None:
        self._status = replace(self.status, **changes)  # type: ignore[arg-type]  # only the background thread writes it


def _reason(error: Exception) -> str:
    """An error in one line; one that is no HeadwayError is logged with its traceback, because it is a defect."""
    if isinstance(error, HeadwayError):
        return str(error)
    logger.error("unexpected error while looking for another model", exc_info=error)
    return first_line(error)
