"""A thread that makes calls one after another, apart from the classification, with a bound on how many wait."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Generic, TypeVar

from headway.serving.http.refusals import busy

Result = TypeVar("Result")


@dataclass(frozen=True)
class _Call(Generic[Result]):
    """A call and where its result goes."""

    function: Callable[[], Result]
    future: Future[Result] = field(default_factory=Future)

    def make(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            result = self.function()
        except Exception as error:  # noqa: BLE001 - it goes to the one who waits for it
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


class CallThread:
    """The thread. A call that hangs holds up the next ones, but not the end of the process.

    Args:
        name: of the thread.
        most: number of calls that wait or are being made.
        first: what the thread does first.
    """

    def __init__(self, name: str, most: int, first: Callable[[], object] = lambda: None) -> None:
        self._first = first
        self._calls: SimpleQueue[_Call[object] | None] = SimpleQueue()
        self._room = threading.BoundedSemaphore(most)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the calls that wait. Nothing waits for it."""
        self._calls.put(None)

    def submit(self, function: Callable[[], Result]) -> Future[Result]:
        """Have a call made. Cancelling the future leaves it out, unless it has begun.

        Raises:
            Refusal: too many calls wait.
        """
        if not self._room.acquire(blocking=False):
            raise busy("too many requests of this kind wait; send the request again later", 5, code="queue_full")
        call = _Call(function)
        call.future.add_done_callback(self._release)
        self._calls.put(call)  # type: ignore[arg-type]  # the thread does not look at results
        return call.future

    def _release(self, _: object) -> None:
        self._room.release()

    def _run(self) -> None:
        self._first()
        while self._make_next():
            pass

    def _make_next(self) -> bool:
        """Make the next call; False at the end. Nothing is kept of it, so that a model that was replaced is freed."""
        call = self._calls.get()
        if call is not None:
            call.make()
        return call is not None
