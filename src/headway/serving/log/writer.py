"""The log of a running service: rows wait in memory, and one thread writes them. Nothing here blocks or fails an answer."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Self

import numpy as np
import pyarrow as pa

from headway.errors import HeadwayError, first_line
from headway.params import LogParams
from headway.serving.log.rows import Answered, ServedModelLike, table_of
from headway.serving.log.store import PartStore, new_writer, part_name


@dataclass(frozen=True)
class Limits:
    """When a part is closed, how much may wait in memory, and how soon a failed write is tried again.

    Attributes:
        seconds_per_part: a part is closed this long after its first row. A process that is killed loses at most this time's rows.
        rows_per_part, characters_per_part: from which a part is closed earlier.
        rows_waiting, characters_waiting: of rows that are not written yet; beyond them rows are dropped.
        first_pause, longest_pause: seconds before the next attempt; each pause is twice as long as the one before.
    """

    seconds_per_part: float = 30.0
    rows_per_part: int = 10_000
    characters_per_part: int = 1 << 24
    rows_waiting: int = 100_000
    characters_waiting: int = 1 << 27
    first_pause: float = 1.0
    longest_pause: float = 60.0


@dataclass(frozen=True)
class LogCounters:
    """What has become of the rows since the start.

    Attributes:
        rows_written: in parts that are complete.
        rows_dropped: because too many waited, or could not be written until the end.
        rows_waiting: in memory.
        parts_written: complete parts.
        failed_writes: attempts to write a part that failed.
        problem: why rows are dropped or not written at the moment; None if all is well.
    """

    rows_written: int = 0
    rows_dropped: int = 0
    rows_waiting: int = 0
    parts_written: int = 0
    failed_writes: int = 0
    problem: str | None = None


#: Classes and day.
_Key = tuple[tuple[str, ...], date]


@dataclass
class _OpenPart:
    """Rows that will be a part. Answers become a table before those of another model, which they would keep in memory."""

    closes: float  # when it is closed, by the monotonic clock
    first: datetime  # time of its earliest row
    rows: int = 0
    characters: int = 0
    answers: list[tuple[Answered, int]] = field(default_factory=list)  # with the number of characters
    tables: list[pa.Table] = field(default_factory=list)


@dataclass(frozen=True)
class _ClosedPart:
    """A part that waits until it can be written."""

    name: str
    day: date
    table: pa.Table
    characters: int


class PredictionLog:
    """Keeps what was answered. :meth:`add` returns at once; a background thread makes parts of the rows and writes them.

    If the folder cannot be written to, rows wait in memory and the thread tries again; if too many wait, new rows are dropped and
    counted. It goes on by itself when the folder is back.
    """

    def __init__(self, store: PartStore, texts: str, source: str, limits: Limits) -> None:
        self._store, self._texts, self._source, self._limits = store, texts, source, limits
        self._changed = threading.Condition()
        # Shared with the thread, under the lock of ``_changed``.
        self._incoming: list[tuple[Answered, int]] = []  # with the number of characters
        self._rows_waiting = self._characters_waiting = 0
        self._written = self._dropped = self._parts = self._failures = 0
        self._problem: str | None = None
        self._ends: float | None = None  # when the thread gives up, by the monotonic clock; None before :meth:`close`
        self._abandoned = False
        # The thread's own.
        self._open: dict[_Key, _OpenPart] = {}
        self._closed: deque[_ClosedPart] = deque()
        self._pause, self._next_attempt = limits.first_pause, 0.0
        self._thread = threading.Thread(target=self._run, name="prediction log", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, params: LogParams, source: str, limits: Limits | None = None) -> Self:
        """Start the log in the folder of ``serving.log``.

        Args:
            source: of the texts, such as ``http``.

        Raises:
            HeadwayError: no folder is set, or it cannot be written to.
        """
        store = open_log(params)
        store.require_writable()
        return cls(store, params.texts, source, limits or Limits())

    def add(
        self,
        model: ServedModelLike,
        ids: Sequence[str],
        texts: Sequence[str | None],
        probabilities: np.ndarray,
        role: str = "champion",
    ) -> None:
        """Log some answers. Never raises, and never waits for the disk or the network.

        Args:
            model: that answered.
            ids: of the requests, one for each text, by which true labels find the rows later.
            probabilities: float32, (texts, classes); NaN for a text that cannot be classified. It must not change afterwards.
            role: of the model: ``champion`` or ``shadow``.
        """
        characters = sum(len(text or "") for text in texts)
        answered = Answered(model, ids, texts, probabilities, role, self._source, datetime.now(UTC))
        with self._changed:
            is_full = (
                self._rows_waiting + len(ids) > self._limits.rows_waiting
                or self._characters_waiting + characters > self._limits.characters_waiting
            )
            if is_full or self._ends is not None:
                self._dropped += len(ids)
                self._problem = self._problem or ("too many rows wait" if is_full else "the log is closed")
                return
            self._incoming.append((answered, characters))
            self._rows_waiting += len(ids)
            self._characters_waiting += characters
            self._changed.notify()

    @property
    def counters(self) -> LogCounters:
        """What has become of the rows so far."""
        with self._changed:
            return LogCounters(self._written, self._dropped, self._rows_waiting, self._parts, self._failures, self._problem)

    def close(self, seconds: float) -> None:
        """Write the rows that wait. Those that are left after ``seconds`` count as dropped. May be called twice."""
        with self._changed:
            self._ends = self._ends or time.monotonic() + seconds
            self._changed.notify()
        self._thread.join(seconds)
        with self._changed:
            self._abandoned = True  # a write that hangs and succeeds later counts as dropped
            self._dropped += self._rows_waiting
            self._rows_waiting = self._characters_waiting = 0

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._incoming or self._ends is not None, self._seconds_to_wait())
                incoming, self._incoming = self._incoming, []
                ends = self._ends
            self._collect(incoming)
            del incoming
            self._close_parts(every=ends is not None)
            self._write_parts(at_once=ends is not None)
            if ends is not None and (not self._closed or time.monotonic() >= ends):
                return
            if ends is not None:
                time.sleep(min(self._limits.first_pause, max(0.0, ends - time.monotonic())))

    def _seconds_to_wait(self) -> float | None:
        """Seconds until a part is due, or until the next attempt; None if nothing is."""
        due = [self._next_attempt] if self._closed else [part.closes for part in self._open.values()]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _collect(self, incoming: Sequence[tuple[Answered, int]]) -> None:
        """Put answers into the open parts of their classes and days."""
        for answered, characters in incoming:
            if answered.problem:
                self._count_lost(len(answered.ids), characters, answered.problem)
                continue
            key = (tuple(answered.model.package.classes), answered.time.date())
            if key not in self._open:
                self._open[key] = _OpenPart(time.monotonic() + self._limits.seconds_per_part, answered.time)
            part = self._open[key]
            if part.answers and part.answers[-1][0].model is not answered.model:
                self._tabulate(part)
            part.first = min(part.first, answered.time)
            part.answers.append((answered, characters))
            part.rows += len(answered.ids)
            part.characters += characters
            if part.rows >= self._limits.rows_per_part or part.characters >= self._limits.characters_per_part:
                self._close_part(key)
        if self._closed:  # writes fail, so that parts stay open for longer
            for part in self._open.values():
                self._tabulate(part)

    def _tabulate(self, part: _OpenPart) -> None:
        """Make a table of a part's answers."""
        answers, part.answers = part.answers, []
        if not answers:
            return
        try:
            part.tables.append(table_of([answered for answered, _ in answers], self._texts))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with these rows, those after them are logged
            rows, characters = sum(len(one.ids) for one, _ in answers), sum(size for _, size in answers)
            part.rows -= rows
            part.characters -= characters
            self._count_lost(rows, characters, first_line(error))

    def _close_parts(self, every: bool) -> None:
        """Close the parts that are due. While writes fail, full parts alone are closed, so that no small ones pile up."""
        now = time.monotonic()
        for key in [key for key, part in self._open.items() if every or (part.closes <= now and not self._closed)]:
            self._close_part(key)

    def _close_part(self, key: _Key) -> None:
        part = self._open.pop(key)
        self._tabulate(part)
        if part.tables:
            name = part_name(part.first, new_writer())
            self._closed.append(_ClosedPart(name, key[1], pa.concat_tables(part.tables), part.characters))

    def _write_parts(self, at_once: bool) -> None:
        """Write closed parts in order, until one fails."""
        while self._closed and (at_once or time.monotonic() >= self._next_attempt):
            part = self._closed[0]
            try:
                self._store.write(part.name, part.day, part.table)
            except HeadwayError as error:
                with self._changed:
                    self._failures += 1
                    self._problem = str(error)
                self._next_attempt = time.monotonic() + self._pause
                self._pause = min(2 * self._pause, self._limits.longest_pause)
                return
            self._closed.popleft()
            self._pause = self._limits.first_pause
            self._count_written(part)

    def _count_written(self, part: _ClosedPart) -> None:
        with self._changed:
            if not self._abandoned:
                self._written += part.table.num_rows
                self._parts += 1
                self._rows_waiting -= part.table.num_rows
                self._characters_waiting -= part.characters
                self._problem = None

    def _count_lost(self, rows: int, characters: int, problem: str) -> None:
        with self._changed:
            if not self._abandoned:
                self._dropped += rows
                self._rows_waiting -= rows
                self._characters_waiting -= characters
                self._problem = problem


def open_log(params: LogParams) -> PartStore:
    """The folder of the log.

    Raises:
        HeadwayError: no folder is set, or its kind of URL is unknown.
    """
    if not params.folder:
        raise HeadwayError("serving.log.folder: is empty, so nothing is logged; set it to a folder or URL in params.yaml")
    return PartStore.open(params.folder)
