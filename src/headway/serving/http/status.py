"""What the service knows of itself and its champion at work, as JSON at ``/status``; a browser gets a page that shows it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from headway.errors import first_line
from headway.serving.http.calls import CallThread
from headway.serving.http.interfaces import ReadMonitoring

if TYPE_CHECKING:
    from headway.serving.http.service import Service

#: Between two looks for what monitoring last found.
SECONDS_BETWEEN_LOOKS = 30.0
PATH = "/status"

logger = logging.getLogger(__name__)


def prefers_page(accept: str) -> bool:
    """Whether an Accept header asks for a page rather than for JSON; without one, and for ``*/*``, it does not."""
    quality = {"text/html": 0.0, "application/json": 0.0}
    for part in accept.lower().split(","):
        kind, *options = (one.strip() for one in part.split(";"))
        if kind in quality:
            quality[kind] = 1.0
            for option in options:
                if option.startswith("q="):
                    with suppress(ValueError):
                        quality[kind] = float(option.removeprefix("q="))
    return quality["text/html"] > quality["application/json"]


class LastMonitoring:
    """What monitoring last found, read from time to time by a thread of its own, so that no request waits for a store."""

    def __init__(self, read: ReadMonitoring | None) -> None:
        self._read = read
        # Two, because a call that has just ended keeps its place for a moment after its result can be taken.
        self._thread = CallThread("monitoring", 2)
        self._found: Mapping[str, Any] | None = None
        self._reading: Future[Mapping[str, Any] | None] | None = None
        self._next_look = 0.0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._thread.stop()

    def refresh(self, now: float) -> None:
        """Take over what has been read, and have it read again if it is time; ``now`` is in seconds of a monotonic clock."""
        if self._read is None:
            return
        if self._reading is not None:
            if not self._reading.done():
                return
            try:
                self._found = self._reading.result()
            except Exception as error:  # noqa: BLE001 - a store raises anything; what was found before stays
                logger.warning("what monitoring found cannot be read: %s", first_line(error))
            self._reading = None
        if now >= self._next_look:
            self._next_look = now + SECONDS_BETWEEN_LOOKS
            self._reading = self._thread.submit(self._read)

    @property
    def found(self) -> Mapping[str, Any] | None:
        """None if there is no log, or nothing was found yet."""
        return self._found


def report(service: Service, started: datetime) -> dict[str, Any]:
    """The status of the service.

    Counts are those of all its processes since the start; ``serving`` and ``log`` are those of the process that answers.
    """
    model, status = service.live.current, service.live.status
    decision, registered = (model.about.get(name, {}) for name in ("decision", "registered"))
    log = service.log.counters if service.log else None
    return {
        "model": {
            "name": model.name,
            "version": model.version,
            "registered_at": registered.get("created_at"),
            "decision": decision.get("headline"),
        },
        "serving": {
            "started_at": started.isoformat(timespec="seconds"),
            "answers_since": status.loaded_at.isoformat(timespec="seconds"),
            "checked_at": status.checked_at.isoformat(timespec="seconds"),
            "swaps": status.swaps,
            "failures": status.failures,
            "problem": status.problem,
            "ready": service.alive and not service.draining,
            "shadow": service.shadow_version,
        },
        "requests": service.metrics.counts(),
        "log": log
        and {
            "rows_written": log.rows_written,
            "rows_waiting": log.rows_waiting,
            "rows_dropped": log.rows_dropped,
            "failed_writes": log.failed_writes,
            "problem": log.problem,
        },
        "monitoring": service.monitoring.found,
        "now": datetime.now(UTC).isoformat(timespec="seconds"),
    }
