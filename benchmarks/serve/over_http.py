"""How fast and reliably requests are answered: throughput against other servers, latency, cold start, memory, and swaps.

All servers have the same package and as many threads as they take by default. They run at the same time, and are asked in turns.
"""

from __future__ import annotations

import asyncio
import importlib.util
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.rounds import print_table
from benchmarks.serve import servers
from benchmarks.serve.load import Result, closed_loop, open_loop
from benchmarks.serve.model import Subject
from benchmarks.serve.registry import registered
from benchmarks.serve.servers import Running, running
from benchmarks.targets import Target
from headway.serving.latency import package_bytes

CLIENTS, SECONDS, WARM_UP = 32, 6.0, 2.0
#: Share of the throughput at which the latency is measured.
LOAD = 0.7
#: Targets: times as many requests per second as MLflow's server and LitServe; p99 at 70% load by the median latency of a single
#: client; seconds to ready; memory in packages and MB besides.
MLFLOW, LITSERVE, TAIL, START, PACKAGES, MEGABYTES = 3.0, 1.2, 5.0, 5.0, 2.0, 300.0
SWAPS, SECONDS_BETWEEN_SWAPS = 10, 2.0


def measure(subject: Subject, folder: Path, rounds: int, console: Console) -> list[Target]:
    """Print a table of the servers and one of the latencies.

    Args:
        folder: empty, for the servers' files.
        rounds: of the comparison.
    """
    package = subject.models[0]
    kinds = [servers.headway(str(package)), servers.mlflow(package, folder / "pyfunc")]
    if importlib.util.find_spec("litserve"):
        kinds.append(servers.litserve(package, folder))
    else:
        console.print("LitServe is not installed, so it is left out; `pip install --no-deps litserve==0.2.19 pyzmq` adds it")
    with ExitStack() as stack:
        found = [stack.enter_context(running(kind, folder)) for kind in kinds]
        speeds = _speeds(found, subject.reviews, rounds, console)
        targets = _report(found, speeds, console)
        targets.append(_memory(found[0], package))
    with running(kinds[0], folder) as ours:
        targets.append(_latency(ours, subject.reviews, console))
    targets.append(_cold_start(package, folder, rounds))
    return [*targets, _swaps(subject, folder, console)]


def _speeds(found: Sequence[Running], texts: Sequence[str], rounds: int, console: Console) -> list[list[Result]]:
    """The result of each round for each server."""
    results: list[list[Result]] = [[] for _ in found]
    for server in found:
        closed_loop(server.port, server.requests(texts), CLIENTS, WARM_UP)
    for number in range(rounds):
        console.print(f"Round {number + 1} of {rounds}")
        for server, so_far in zip(found, results, strict=True):
            so_far.append(closed_loop(server.port, server.requests(texts), CLIENTS, SECONDS))
    return results


def _report(found: Sequence[Running], results: Sequence[Sequence[Result]], console: Console) -> list[Target]:
    table = Table(
        f"{CLIENTS} clients", "requests/s", "lowest", "highest", "median ms", "p99 ms", "failed", "s to ready", "MB"
    )
    table.title = "One review per request"
    for server, rounds in zip(found, results, strict=True):
        speeds = [result.per_second for result in rounds]
        table.add_row(
            server.kind.name,
            *(f"{value:,.0f}" for value in (statistics.median(speeds), min(speeds), max(speeds))),
            *(f"{statistics.median(one.milliseconds(quantile) for one in rounds):.0f}" for quantile in (0.5, 0.99)),
            f"{sum(one.failures for one in rounds)}",
            f"{server.seconds_to_ready:.1f}",
            f"{server.megabytes():,.0f}",
        )
    print_table(console, table)
    targets = []
    for server, rounds, target in list(zip(found, results, (1.0, MLFLOW, LITSERVE), strict=False))[1:]:
        gain = statistics.median(
            our.per_second / max(1e-9, other.per_second) for our, other in zip(results[0], rounds, strict=True)
        )
        words = f"{gain:.2f} times as many requests per second as {server.kind.name}, target {target}"
        targets.append((words, gain >= target))
    return targets


def _latency(server: Running, texts: Sequence[str], console: Console) -> Target:
    """The latency at 70% of the throughput, measured once more on a server that is alone, and that of a single client."""
    requests = server.requests(texts)
    closed_loop(server.port, requests, CLIENTS, WARM_UP)
    alone = closed_loop(server.port, requests, 1, SECONDS)
    most = closed_loop(server.port, requests, CLIENTS, SECONDS)
    loaded = open_loop(server.port, requests, LOAD * most.per_second, 2 * SECONDS)
    table = Table(
        "headway serve", "requests/s", "median ms", "p95 ms", "p99 ms", "failed", title="Latency, one review per request"
    )
    for name, result in (
        ("one client", alone),
        (f"{CLIENTS} clients", most),
        (f"at {LOAD:.0%} of that", loaded),
    ):
        quantiles = (f"{result.milliseconds(quantile):.1f}" for quantile in (0.5, 0.95, 0.99))
        table.add_row(name, f"{result.per_second:,.0f}", *quantiles, f"{result.failures}")
    print_table(console, table)
    ratio = loaded.milliseconds(0.99) / alone.milliseconds(0.5)
    words = f"p99 at {LOAD:.0%} load is {ratio:.1f} times the median of a single client, target at most {TAIL:.0f}"
    return words, ratio <= TAIL


def _memory(server: Running, package: Path) -> Target:
    size, used = package_bytes(package) / 1e6, server.megabytes()
    limit = PACKAGES * size + MEGABYTES
    words = f"memory after the load: {used:,.0f} MB with a package of {size:,.0f} MB, target at most {limit:,.0f}"
    return words, used <= limit


def _cold_start(package: Path, folder: Path, rounds: int) -> Target:
    seconds = []
    for _ in range(rounds):
        with running(servers.headway(str(package)), folder) as server:
            seconds.append(server.seconds_to_ready)
    found = statistics.median(seconds)
    return f"seconds from the start of the process to ready: {found:.1f}, target {START:.0f}", found <= START


def _swaps(subject: Subject, folder: Path, console: Console) -> Target:
    """Move the champion to and fro under half of the throughput; no request may fail, and both versions must have answered."""
    project = folder / "project"
    project.mkdir()
    promote = registered(project, subject.models)
    with running(servers.headway("champion", "--check-seconds", "0.5"), project) as server:
        requests = server.requests(subject.reviews)
        rate = closed_loop(server.port, requests, CLIENTS, WARM_UP).per_second / 2
        result = open_loop(server.port, requests, rate, (SWAPS + 1) * SECONDS_BETWEEN_SWAPS, lambda: _promoting(promote))
    versions = ", ".join(f"{number:,} by version {version}" for version, number in sorted(result.models.items()))
    console.print(f"{SWAPS} swaps at {rate:,.0f} requests/s: {versions}; p99 {result.milliseconds(0.99):.0f} ms")
    words = f"requests lost or failed during {SWAPS} swaps: {result.failures} of {sum(result.statuses.values()):,}, target 0"
    return words, result.failures == 0 and len(result.models) == len(subject.models)


async def _promoting(promote: Callable[[str], None]) -> None:
    for number in range(SWAPS):
        await asyncio.sleep(SECONDS_BETWEEN_SWAPS)
        await asyncio.to_thread(promote, "12"[(number + 1) % 2])
