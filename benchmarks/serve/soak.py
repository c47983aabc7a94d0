"""A long load on the server, during which the champion is replaced, the log cannot be written, and so on.

The server has two worker processes and 70% of its throughput. Only requests that a killed worker had accepted may be lost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.rounds import print_table
from benchmarks.serve import servers
from benchmarks.serve.load import HOST, closed_loop, open_loop
from benchmarks.serve.memory import resident
from benchmarks.serve.model import Subject
from benchmarks.serve.over_http import CLIENTS, LOAD, WARM_UP
from benchmarks.serve.registry import registered
from benchmarks.serve.servers import Running, running
from benchmarks.targets import Target

WORKERS = 2
#: Seconds after the death of a worker in which requests may be lost, and how many: those of the connections that it had.
SECONDS_OF_LOSS = 5.0
#: Memory at the end of the load by that after its first tenth, at most.
GROWTH = 1.2
#: Less than PyTorch takes.
BYTES_OF_A_WORKER = 100_000_000


class Events:
    """What happens during the load, and when.

    Args:
        server: under load.
        promote: makes a version the champion.
        log: folder of the prediction log.
        seconds: that the load lasts.
    """

    def __init__(self, server: Running, promote: Callable[[str], None], log: Path, seconds: float) -> None:
        self.server, self.promote, self.log = server, promote, log
        self.seconds = seconds
        self.happened: list[tuple[float, str]] = []
        self.early_megabytes = 0.0
        self.killed_at = float("inf")

    async def run(self) -> None:
        """Let everything happen, each at its share of the time."""
        started = time.perf_counter()
        plan: list[tuple[float, str, Callable[[], Awaitable[None]]]] = [
            (0.10, "memory is measured", self._measure),
            (0.20, "version 2 becomes the champion", self._promote("2")),
            (0.35, "the log's folder cannot be written to", self._block),
            (0.50, "the log's folder is back", self._unblock),
            (0.60, "a client sends one byte per second", self._send_slowly),
            (0.75, "a worker is killed", self._kill),
            (0.85, "version 1 becomes the champion", self._promote("1")),
        ]
        for share, name, action in plan:
            await asyncio.sleep(max(0.0, started + share * self.seconds - time.perf_counter()))
            self.happened.append((time.perf_counter() - started, name))
            await action()
            if action == self._kill:
                self.killed_at = self.happened[-1][0]

    async def _measure(self) -> None:
        self.early_megabytes = self.server.megabytes()

    def _promote(self, version: str) -> Callable[[], Awaitable[None]]:
        return lambda: asyncio.to_thread(self.promote, version)

    async def _block(self) -> None:
        """Put a file in the place of the folder: every write fails, as on a full disk."""
        self.log.rename(self.log.with_name("log-aside"))
        self.log.touch()

    async def _unblock(self) -> None:
        self.log.unlink()
        self.log.with_name("log-aside").rename(self.log)

    async def _send_slowly(self) -> None:
        """Begin a request and send its body byte by byte, for a tenth of the load, unless the server ends the connection."""
        head = (
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n"
        )
        end = time.perf_counter() + 0.1 * self.seconds
        with suppress(OSError):
            _, writer = await asyncio.open_connection(HOST, self.server.port)
            writer.write(head)
            while time.perf_counter() < end and not writer.is_closing():
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(1)
            writer.close()

    async def _kill(self) -> None:
        workers_of(self.server)[0].kill()


def measure(subject: Subject, folder: Path, minutes: float, console: Console) -> list[Target]:
    """Load the server for some minutes, and print what happened.

    Args:
        folder: empty, for a project with its registered model and log.
    """
    promote = registered(folder, subject.models)
    log = folder / "log"
    log.mkdir()
    options = ("--workers", str(WORKERS), "--log", str(log), "--check-seconds", "1")
    with running(servers.headway("champion", *options), folder) as server:
        requests = server.requests(subject.reviews)
        closed_loop(server.port, requests, CLIENTS, WARM_UP)
        rate = LOAD * closed_loop(server.port, requests, CLIENTS, 5 * WARM_UP).per_second
        events = Events(server, promote, log, 60 * minutes)
        console.print(f"{rate:,.0f} requests/s for {minutes:g} minutes")
        result = open_loop(server.port, requests, rate, 60 * minutes, events.run)
        late_megabytes, workers = server.megabytes(), len(workers_of(server))
    table = Table("second", "event", title="Soak")
    for second, name in events.happened:
        table.add_row(f"{second:.0f}", name)
    print_table(console, table)
    kill_losses = [second for second in result.lost if 0 <= second - events.killed_at <= SECONDS_OF_LOSS]
    other = result.failures - len(kill_losses)
    answered = sum(result.models.values())
    growth = late_megabytes / events.early_megabytes
    console.print(
        f"{answered:,} answers by versions {', '.join(sorted(result.models))}; median {result.milliseconds(0.5):.1f} ms, "
        f"p99 {result.milliseconds(0.99):.0f} ms; statuses {dict(result.statuses)}, "
        f"{len(result.lost)} lost; {len(list(log.rglob('*.parquet')))} parts in the log"
    )
    return [
        (f"requests lost or failed apart from those of the killed worker: {other}, target 0", other == 0),
        (
            f"requests that the killed worker had accepted: {len(kill_losses)}, target at most {CLIENTS}",
            len(kill_losses) <= CLIENTS,
        ),
        (f"memory is {growth:.2f} times that after a tenth of the time, target at most {GROWTH}", growth <= GROWTH),
        (f"workers at the end: {workers}, target {WORKERS}", workers == WORKERS),
    ]


def workers_of(server: Running) -> list[psutil.Process]:
    """Its processes that hold a model, and not multiprocessing's resource tracker."""
    children = server.process.children(recursive=True)
    return [child for child in children if resident(child) > BYTES_OF_A_WORKER]
