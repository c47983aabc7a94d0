"""A load generator for HTTP in one process: raw sockets with keep-alive, so that it leaves the cores to the server.

A closed loop has a number of clients that ask again as soon as they have an answer. An open loop sends at a fixed rate whatever
the server does, and counts the time from when a request was due, so that a server that stalls cannot hide it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

HOST = "127.0.0.1"
#: Seconds after which a request counts as lost.
PATIENCE = 60.0
LENGTH = b"content-length:"


@dataclass
class Result:
    """What became of the requests.

    Attributes:
        seconds: that the load lasted.
        latencies: in seconds, of the requests that were answered with 200.
        statuses: numbers of answers by status.
        lost: when requests were lost, in seconds since the start: their connection ended, or they had no answer in time.
        models: numbers of answers by the version of the model, where answers name it.
    """

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    lost: list[float] = field(default_factory=list)
    models: Counter[str] = field(default_factory=Counter)

    @property
    def per_second(self) -> float:
        """Requests that were answered with 200, per second."""
        return len(self.latencies) / self.seconds

    @property
    def failures(self) -> int:
        """Requests without an answer, and answers with another status than 200."""
        return len(self.lost) + self.statuses.total() - self.statuses[200]

    def milliseconds(self, quantile: float) -> float:
        """A quantile of the latencies; infinite if nothing was answered."""
        return 1000 * float(np.quantile(self.latencies, quantile)) if self.latencies else np.inf


class Connection(asyncio.Protocol):
    """One connection, with one request at a time."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: asyncio.Transport | None = None

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def ask(self, request: bytes) -> asyncio.Future[tuple[int, bytes]]:
        """Send a request; its status and body will be set."""
        assert self._transport is not None
        self._buffer.clear()
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or self._answer is None or self._answer.done():
            return
        head = bytes(self._buffer[:end]).lower()
        begin = head.find(LENGTH)
        assert begin >= 0, "the answer has no Content-Length"
        length = int(head[begin + len(LENGTH) :].split(b"\r\n", 1)[0])
        if len(self._buffer) >= end + 4 + length:
            self._answer.set_result((int(head[9:12]), bytes(self._buffer[end + 4 :])))

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("the server closed the connection"))

    def close(self) -> None:
        if self._transport:
            self._transport.close()


def request(path: str, body: Mapping[str, Any], port: int) -> bytes:
    """The bytes of a POST request with a JSON body."""
    content = json.dumps(body).encode()
    lines = (f"POST {path} HTTP/1.1", f"Host: {HOST}:{port}", "Content-Type: application/json")
    head = "\r\n".join([*lines, f"Content-Length: {len(content)}", "", ""])
    return head.encode() + content


def closed_loop(port: int, requests: Sequence[bytes], clients: int, seconds: float) -> Result:
    """Load with clients that each ask one request after another."""

    async def run(result: Result) -> None:
        started = time.perf_counter()
        due = iter(itertools.cycle(requests))

        async def client() -> None:
            connection = None
            while time.perf_counter() < started + seconds:
                connection = await _asked(result, connection, port, next(due), time.perf_counter(), started)
            if connection:
                connection.close()

        await asyncio.gather(*(client() for _ in range(clients)))
        result.seconds = time.perf_counter() - started

    return _run(run)


def open_loop(
    port: int,
    requests: Sequence[bytes],
    rate: float,
    seconds: float,
    meanwhile: Callable[[], Awaitable[None]] | None = None,
) -> Result:
    """Load with requests at random times, ``rate`` per second on average; ``meanwhile`` runs beside it."""

    async def run(result: Result) -> None:
        idle: list[Connection] = []
        started = time.perf_counter()
        running: set[asyncio.Task[None]] = set()
        other = asyncio.ensure_future(meanwhile()) if meanwhile else None

        async def one(content: bytes, due: float) -> None:
            connection = await _asked(result, idle.pop() if idle else None, port, content, due, started)
            if connection:
                idle.append(connection)

        for content, moment in zip(itertools.cycle(requests), _moments(rate, seconds), strict=False):
            due = started + moment
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            task = asyncio.ensure_future(one(content, due))
            running.add(task)
            task.add_done_callback(running.discard)
        result.seconds = time.perf_counter() - started
        await asyncio.gather(*running)
        if other:
            await other
        for connection in idle:
            connection.close()

    return _run(run)


def requests_of(path: str, bodies: Iterable[Mapping[str, Any]], port: int) -> list[bytes]:
    """The bytes of requests."""
    return [request(path, body, port) for body in bodies]


def _moments(rate: float, seconds: float) -> Iterator[float]:
    draw, moment = random.Random(0), 0.0
    while (moment := moment + draw.expovariate(rate)) < seconds:
        yield moment


def _run(run: Callable[[Result], Awaitable[None]]) -> Result:
    result = Result()

    async def main() -> None:
        await run(result)

    asyncio.run(main())
    return result


async def _asked(
    result: Result, connection: Connection | None, port: int, content: bytes, due: float, started: float
) -> Connection | None:
    """Send a request, on a new connection if there is none, and count what became of it; the connection if it is still good."""
    try:
        if connection is None or not connection.is_open:
            _, connection = await asyncio.get_running_loop().create_connection(Connection, HOST, port)
        status, body = await asyncio.wait_for(connection.ask(content), PATIENCE)
    except (OSError, TimeoutError):
        result.lost.append(time.perf_counter() - started)
        if connection:
            connection.close()
        return None
    result.statuses[status] += 1
    if status == 200:
        result.latencies.append(time.perf_counter() - due)
        if (begin := body.find(b'"version":')) >= 0:
            result.models[body[begin + 10 :].split(b'"', 2)[1].decode()] += 1
    return connection
