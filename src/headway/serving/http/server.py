"""Runs the service in this process: uvicorn's settings, and the end in order at SIGTERM."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import uvicorn
from fastapi import FastAPI

from headway.serving.http.connections import MOST_CONNECTIONS, OTHER_FILES, Connection, allow_connections
from headway.serving.http.listener import in_terminal
from headway.serving.http.logs import configure_logs
from headway.serving.http.service import Service
from headway.serving.http.settings import ServeSettings


@dataclass(frozen=True)
class Opened:
    """The application of one process, the version that it serves first, and what has to be closed after it."""

    app: FastAPI
    version: str
    close: Callable[[], None]


log = logging.getLogger(__name__)


class DrainingServer(uvicorn.Server):
    """A server that, when it is asked to end, first says that it is not ready, and then answers what it has accepted.

    SIGTERM starts the drain: for ``drain_seconds`` requests are accepted as before while ``/readyz`` answers 503, so that a
    proxy can notice. SIGINT skips this. A second SIGTERM changes nothing, because a service manager may send one to each process,
    which :mod:`headway.serving.http.workers` does too. Either way the process ends with status 0. SIGHUP has the service look
    for another model and read its tokens again; that of a terminal that is closed ends it.
    """

    def __init__(self, config: uvicorn.Config, service: Service, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._service, self._on_ready = service, on_ready
        self._end: float | None = None  # of accepting requests

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # The objects of the imported modules and of the model stay. Looking through them for garbage stops all requests for
        # a tenth of a second.
        gc.collect()
        gc.freeze()
        self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig == signal.SIGTERM:
            self._end = self._end or time.monotonic() + self._service.settings.drain_seconds
        else:
            super().handle_exit(sig, frame)
        self._service.draining = True

    def _hang_up(self, frame: FrameType | None) -> None:
        if in_terminal():
            self.handle_exit(signal.SIGTERM, frame)
        else:
            self._service.reload()

    async def on_tick(self, counter: int) -> bool:
        if self._end is not None and time.monotonic() >= self._end:
            self.should_exit = True
        return await super().on_tick(counter)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle the signals while the server runs. uvicorn would raise them again at the end, for another exit status.

        Afterwards SIGTERM is ignored, so that a late one does not interrupt what has to be closed.
        """
        loop = asyncio.get_running_loop()
        handlers: dict[signal.Signals, Callable[[int, FrameType | None], object]] = {
            signal.SIGTERM: self.handle_exit,
            signal.SIGINT: self.handle_exit,
            # In the event loop: a handler may interrupt the same code, which holds locks.
            signal.SIGHUP: lambda _number, frame: loop.call_soon_threadsafe(self._hang_up, frame),
        }
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, signal.SIG_IGN if number == signal.SIGTERM else handler)


def serve(opened: Opened, settings: ServeSettings, listener: socket.socket, on_ready: Callable[[], None]) -> None:
    """Serve until a signal ends it; ``on_ready`` is called when the first request can be sent."""
    configure_logs()
    Connection.most = allow_connections()
    if settings.queue_texts >= Connection.most:
        log.warning(
            "this process may open few files, so that connections beyond %s are closed; raise `ulimit -n` to %s or more",
            f"{Connection.most:,}",
            f"{MOST_CONNECTIONS + OTHER_FILES:,}",
        )
    config = uvicorn.Config(
        opened.app,
        http=Connection,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=math.ceil(settings.graceful_seconds),
        ssl_certfile=settings.tls_certificate or None,
        ssl_keyfile=settings.tls_key or None,
    )
    on_termination = signal.getsignal(signal.SIGTERM)
    try:
        DrainingServer(config, opened.app.state.service, on_ready).run([listener])
    finally:
        opened.close()
        signal.signal(signal.SIGTERM, on_termination)
