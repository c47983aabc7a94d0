"""Several processes of the service on one machine, which accept connections at one socket. One that dies is started again."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import TYPE_CHECKING

from headway import environment
from headway.errors import HeadwayError
from headway.files import TEMPORARY_PREFIX
from headway.process import die_with_parent
from headway.serving.http.listener import in_terminal
from headway.serving.http.logs import configure_logs
from headway.serving.http.settings import METRICS_FOLDER, ServeSettings

if TYPE_CHECKING:
    from headway.serving.http.server import Opened

SPAWN = multiprocessing.get_context("spawn")
SECONDS_BETWEEN_LOOKS = 0.2
#: A process that ends sooner than this after its start is started again after a pause, which doubles up to the longest.
SHORT_LIFE, LONGEST_PAUSE = 30.0, 60.0

log = logging.getLogger(__name__)

#: Opens the application in a process. It is pickled, so it is a function of a module, or a partial of one.
Open = Callable[[ServeSettings], "Opened"]


@dataclass(eq=False)
class Worker:
    """One process and its pipe, through which it says that it is ready, or why it cannot start.

    Attributes:
        reload: whether SIGHUP came before it was ready, so that it has to be sent then.
    """

    process: SpawnProcess
    pipe: Connection
    started: float
    ready: bool = False
    reload: bool = False


class Workers:
    """The processes of one service."""

    def __init__(self, open_app: Open, settings: ServeSettings, listener: socket.socket, folder: str) -> None:
        self._open, self._settings, self._listener, self._folder = open_app, settings, listener, folder
        self._workers: list[Worker] = []
        self._due: list[float] = []  # when further processes are to be started
        self._pause = 0.0
        self._stopping = False

    def run(self, on_ready: Callable[[str], None]) -> None:
        """Run until a signal ends it; ``on_ready`` gets the version as soon as all processes are ready.

        Raises:
            HeadwayError: a process cannot start, before all have been ready once.
        """
        with self._signals():
            try:
                for _ in range(self._settings.workers):
                    self._start()
                if version := self._first_ready():
                    on_ready(version)
                while not self._stopping:
                    self._look()
                    time.sleep(SECONDS_BETWEEN_LOOKS)
            finally:
                self._end()

    def _start(self) -> None:
        ours, theirs = SPAWN.Pipe(duplex=False)
        process = SPAWN.Process(target=_work, args=(self._open, self._settings, self._listener, theirs), daemon=False)
        interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited: until it serves, the parent ends it
        try:
            process.start()
        finally:
            signal.signal(signal.SIGINT, interrupt)
        theirs.close()
        self._workers.append(Worker(process, ours, time.monotonic()))

    def _first_ready(self) -> str:
        """Wait until all processes are ready; the version of the last one, "" if a signal came first."""
        version = ""
        while not self._stopping and not all(worker.ready for worker in self._workers):
            for worker in self._workers:
                alive = worker.process.is_alive()  # before it is asked what it has said
                found, failure = _said(worker)
                if failure or not alive:
                    raise HeadwayError(failure or f"a process of the service ended at its start ({_how_it_ended(worker)})")
                version = found or version
            time.sleep(SECONDS_BETWEEN_LOOKS)
        return "" if self._stopping else version

    def _look(self) -> None:
        """Replace processes that have ended."""
        from prometheus_client.multiprocess import mark_process_dead

        now = time.monotonic()
        os.utime(self._folder)  # so that `headway gc` does not take it for one that a killed process left
        for worker in list(self._workers):
            alive = worker.process.is_alive()
            _, failure = _said(worker)
            if alive:
                continue
            self._workers.remove(worker)
            mark_process_dead(worker.process.pid, self._folder)  # type: ignore[no-untyped-call]
            short = now - worker.started < SHORT_LIFE
            self._pause = min(LONGEST_PAUSE, max(1.0, 2 * self._pause)) if short else 0.0
            self._due.append(now + self._pause)
            reason = failure or _how_it_ended(worker)
            log.warning("process %s ended: %s; another one starts in %.0f s", worker.process.pid, reason, self._pause)
        for due in [due for due in self._due if due <= now]:
            self._due.remove(due)
            self._start()

    def _end(self) -> None:
        """End all processes, in order if they do, and wait for them."""
        self._listener.close()
        for worker in self._workers:
            worker.process.terminate()
        deadline = time.monotonic() + self._settings.end_seconds
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def stop(_number: int, _frame: FrameType | None) -> None:
            self._stopping = True

        def reload(number: int, _frame: FrameType | None) -> None:
            self._stopping = self._stopping or in_terminal()
            for worker in self._workers:
                if worker.ready and worker.process.is_alive() and worker.process.pid:
                    os.kill(worker.process.pid, number)
                worker.reload = not worker.ready

        handlers = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: reload}
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def run_workers(open_app: Open, settings: ServeSettings, listener: socket.socket, on_ready: Callable[[str], None]) -> None:
    """Run the service in several processes, which share a folder for their metrics; see :meth:`Workers.run`."""
    configure_logs()
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX) as folder:
        os.environ[METRICS_FOLDER] = folder
        try:
            Workers(open_app, settings, listener, folder).run(on_ready)
        finally:
            del os.environ[METRICS_FOLDER]


def _said(worker: Worker) -> tuple[str, str]:
    """What a process has said since the last time: the version that it serves, or why it cannot start."""
    try:
        if worker.ready or not worker.pipe.poll():
            return "", ""
        worker.ready, text = worker.pipe.recv()
    except EOFError:
        return "", ""
    if worker.ready and worker.reload and worker.process.is_alive() and worker.process.pid:
        os.kill(worker.process.pid, signal.SIGHUP)
    return (text, "") if worker.ready else ("", text)


def _how_it_ended(worker: Worker) -> str:
    status = worker.process.exitcode
    if status is not None and status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}"


def _work(open_app: Open, settings: ServeSettings, listener: socket.socket, pipe: Connection) -> None:
    """What a process does."""
    die_with_parent()
    environment.configure()
    from headway.serving.http.server import serve

    try:
        opened = open_app(settings)
    except HeadwayError as error:
        pipe.send((False, str(error)))
        sys.exit(2)
    serve(opened, settings, listener, lambda: pipe.send((True, opened.version)))
