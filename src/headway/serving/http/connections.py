"""Connections of clients that send or read slowly: they are closed, so that a few of them cannot hold the server.

uvicorn limits how long a connection may be idle after an answer, and nothing else. The time for a request's body is limited in
:mod:`headway.serving.http.admission`.
"""

from __future__ import annotations

import asyncio
import json
import resource
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from headway.serving.http.envelope import HEADERS

#: Of all requests that may wait at a time, with reserve. Beyond it a connection is closed without an answer, so that a full
#: queue, which is answered, has to come first.
MOST_CONNECTIONS = 4_000
#: Files that a process has open beside its connections, at most.
OTHER_FILES = 200
#: For a request's first line and headers to arrive, and for an answer to be read.
HEADER_SECONDS, READ_SECONDS = 10.0, 30.0


def allow_connections() -> int:
    """Raise the number of files that this process may open to what its connections need, as far as the system lets it.

    Many systems allow 1,024, and a process can raise that itself.

    Returns:
        the number of connections for which there are files.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else max(1, min(MOST_CONNECTIONS, soft - OTHER_FILES))


class Reading:
    """Closes a connection whose client reads nothing of what waits to be sent for :data:`READ_SECONDS`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> None:
        self._loop, self._transport = loop, transport
        self._handle: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Start the time anew, unless nothing waits."""
        self.end()
        if waiting := self._transport.get_write_buffer_size():
            self._handle = self._loop.call_later(READ_SECONDS, self._look, waiting)

    def end(self) -> None:
        if self._handle:
            self._handle.cancel()
            self._handle = None

    def _look(self, before: int) -> None:
        if self._transport.get_write_buffer_size() >= before:
            self._transport.abort()
        else:
            self.begin()


class Connection(H11Protocol):
    """One connection, with limits of time.

    Attributes:
        most: connections of this process at a time; a further one is closed.
    """

    most = MOST_CONNECTIONS

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._deadline: asyncio.TimerHandle | None = None  # for the headers of the next request
        self._reading: Reading | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._reading = Reading(self.loop, transport)
        if len(self.connections) > self.most:
            transport.abort()
        self._set_deadline()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._deadline:
            self._deadline.cancel()
        if self._reading:
            self._reading.end()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._reading:
            self._reading.begin()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, as JSON like every other error. If an answer has begun, only close the connection."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()
            return
        body = json.dumps({"error": {"code": "bad_request", "message": "this is not a valid HTTP request"}}).encode()
        headers = {**HEADERS, "Content-Type": "application/json", "Connection": "close"}
        fields = [(name.encode(), value.encode()) for name, value in headers.items()]
        for event in (h11.Response(status_code=400, headers=fields), h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event))
        self.transport.close()

    def _set_deadline(self) -> None:
        """Start the time for headers, unless it runs already; stop it while a request is read or answered."""
        in_request = self.cycle is not None and not self.cycle.response_complete
        if in_request and self._deadline:
            self._deadline.cancel()
            self._deadline = None
        elif not in_request and not self._deadline:
            self._deadline = self.loop.call_later(HEADER_SECONDS, self.transport.abort)
