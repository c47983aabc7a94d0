"""Trials on a Dask cluster: one that answers at an address, or one on this machine that ends with the search."""

from __future__ import annotations

import logging
import os
import queue
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import psutil
from dask import config
from distributed import Client, Future, KilledWorker, LocalCluster, WorkerPlugin, get_worker
from distributed.client import ClosedClientError

from headway.errors import HeadwayError, Unreachable
from headway.executors import Done, Started, WatchBatch, WorkerLost
from headway.search.trial import Outcome, Task, Work

PREFIX = "headway-"
SECONDS_TO_CONNECT = 10.0
#: How long a cluster may be without a worker, as it is while one is replaced.
SECONDS_TO_WAIT = 60.0
SECONDS_TO_LOOK = 1.0
#: A worker with several threads, or with the trials of several searches, would train them side by side in one process, which
#: has one random generator.
ALONE = threading.Lock()


@contextmanager
def dask(work: Work, shared: Any, workers: int, address: str) -> Iterator[Dask]:
    """So many trials at a time, each on a Dask worker of its own.

    Raises:
        Unreachable: no scheduler answers at the address.
        HeadwayError: the workers there cannot load the work.
    """
    name = f"{PREFIX}{os.getpid()}-{uuid.uuid4().hex}-{_machine()}"
    with ExitStack() as stack:
        # Dask gives up a place for good when its worker is still, or again, away so long after it died.
        stack.enter_context(config.set({"distributed.deploy.lost-worker-timeout": "1 d"}))
        cluster = address or stack.enter_context(
            LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                host="127.0.0.1",
                scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
                memory_limit=0,  # its guard counts what is mapped into memory too
                silence_logs=logging.CRITICAL,
            )
        )
        try:
            client = stack.enter_context(Client(cluster, timeout=SECONDS_TO_CONNECT, set_as_default=False))
        except (OSError, ValueError) as error:
            raise _unreachable(error) from None
        if address:
            remove_left(client)
        try:
            client.register_plugin(Loaded(work, shared), name=name)
        except (ImportError, AttributeError) as error:
            raise HeadwayError(
                f"tune.address: the workers of that Dask cluster cannot load Headway ({error}); install the same version there"
            ) from None
        stack.callback(_if_it_answers, client.unregister_worker_plugin, name)
        yield Dask(client, name, workers)


def _if_it_answers(clean_up: Callable[[Any], object], what: Any) -> None:
    """Clean up on a cluster, unless it is gone, which somebody else has said by then."""
    with suppress(OSError, ClosedClientError):
        clean_up(what)


def remove_left(client: Client) -> None:
    """Take off the cluster what this machine's searches left there that were killed with kill -9."""
    # A lambda travels as it is: the scheduler's machine need not have Headway.
    for name in client.run_on_scheduler(lambda dask_scheduler: [*map(str, dask_scheduler.worker_plugins)]):
        process, _, rest = name.removeprefix(PREFIX).partition("-")
        ours = name.startswith(PREFIX) and rest.partition("-")[2] == _machine() and process.isdecimal()
        if ours and not psutil.pid_exists(int(process)):
            with suppress(ValueError):  # another search was faster
                client.unregister_worker_plugin(name)


def _machine() -> str:
    """Where process numbers mean what they mean here: containers that share a machine's name count their own."""
    counted = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()}-{uuid.getnode():x}-{counted.readlink() if counted.exists() else ''}"


class Loaded(WorkerPlugin):
    """The work and what its tasks share, on a worker.

    Dask gives it to every worker once, to one that joins later too. Scattered data would be as good as lost with the worker
    that has it: Dask's memory manager removes all copies but one.
    """

    def __init__(self, work: Work, shared: Any) -> None:
        self.work, self.shared = work, shared


class Dask:
    """A client of the cluster."""

    def __init__(self, client: Client, name: str, workers: int) -> None:
        self.workers = workers
        self._client, self._name = client, name

    def run(self, tasks: Sequence[Task], started: Started, done: Done, watch: WatchBatch | None = None) -> None:
        waiting = deque(enumerate(tasks))
        running: dict[Future, tuple[int, str]] = {}
        ended: queue.SimpleQueue[Future] = queue.SimpleQueue()
        seen = time.monotonic()
        try:
            while waiting or running:
                alive = self._alive()
                idle = alive - {address for _, address in running.values()}
                while waiting and idle and len(running) < self.workers:
                    position, task = waiting.popleft()
                    address = idle.pop()
                    started(position)
                    future = self._submit(task, address)
                    running[future] = position, address
                    future.add_done_callback(ended.put)
                for future, (position, address) in list(running.items()):
                    # Whether Dask runs the task anew is a setting of the scheduler; the search does that itself.
                    if address not in alive and not future.done():
                        del running[future]
                        future.cancel()
                        done(position, _lost(address))
                if alive:
                    seen = time.monotonic()
                elif time.monotonic() - seen > SECONDS_TO_WAIT:
                    raise _unreachable(f"no worker for {SECONDS_TO_WAIT:g} s")
                try:
                    future = ended.get(timeout=SECONDS_TO_LOOK)
                except queue.Empty:
                    continue
                if future in running:
                    position, address = running.pop(future)
                    done(position, _outcome(future, address))
        finally:
            _if_it_answers(self._client.cancel, list(running))

    def _alive(self) -> set[str]:
        try:
            return set(self._client.nthreads())
        except (OSError, ClosedClientError) as error:
            raise _unreachable(error) from None

    def _submit(self, task: Task, address: str) -> Future:
        key = f"trial-{task.number}-{uuid.uuid4().hex}"
        return self._client.submit(_compute, self._name, task, key=key, workers=[address], pure=False)


def _compute(name: str, task: Task) -> Outcome:
    """On the worker."""
    loaded = cast(Loaded, get_worker().plugins[name])
    with ALONE:
        return loaded.work(loaded.shared, task, None)


def _outcome(future: Future, address: str) -> Outcome | WorkerLost:
    if future.status == "finished":
        try:
            return future.result(timeout=SECONDS_TO_CONNECT)
        except TimeoutError:  # the result still lay on the worker, which has died since
            return _lost(address)
    if future.status == "error":
        error = future.exception()
        if isinstance(error, KilledWorker):
            return _lost(address)
        raise error
    raise _unreachable(f"a trial is {future.status}")


def _lost(address: str) -> WorkerLost:
    return WorkerLost(f"Dask worker {address} is gone")


def _unreachable(reason: object) -> Unreachable:
    return Unreachable(f"tune.address: the Dask cluster does not answer ({reason}); start it, and run again")
