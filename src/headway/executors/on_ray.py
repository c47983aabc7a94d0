"""Trials on a Ray cluster: one that answers at an address, or one on this machine that ends with the search."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import ray as engine
from ray.exceptions import LocalRayletDiedError, RayError, RaySystemError, RayTaskError

from headway.errors import HeadwayError, Unreachable, first_line
from headway.executors import Done, Started, WatchBatch, WorkerLost
from headway.search.trial import Outcome, Task, Work

#: Where Ray keeps its logs and sockets. A socket's path has to be short, so they cannot lie in the project; the name of a
#: folder goes on with the process that it belongs to.
TEMPORARY, PREFIX = Path("/tmp"), "headway-ray-"
SECONDS_TO_CONNECT = 10.0


@contextmanager
def ray(work: Work, shared: Any, workers: int, threads: int, address: str) -> Iterator[Ray]:
    """So many trials at a time, each in a Ray worker process of its own, with a CPU for each of its threads.

    Raises:
        Unreachable: no cluster answers at the address.
        HeadwayError: none of its nodes has so many CPUs.
    """
    remove_left()
    prefix = f"{PREFIX}{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=TEMPORARY, ignore_cleanup_errors=True) as folder:
        here: dict[str, Any] = {"num_cpus": workers * threads, "include_dashboard": False, "_temp_dir": folder}
        options = {} if address else here
        if address not in ("", "auto"):
            _require_answer(address)
        try:
            engine.init(address=address or "local", logging_level=logging.ERROR, log_to_driver=False, **options)
        except (OSError, RuntimeError, ValueError) as error:
            if not address:
                raise Unreachable(f"tune.executor: Ray does not start on this machine ({error}); run again") from None
            raise Unreachable(
                f"tune.address: the Ray cluster refuses this process ({error}); if it asks for a token, set RAY_AUTH_MODE=token "
                "in the environment and put the token into RAY_AUTH_TOKEN or ~/.ray/auth_token, then run again"
            ) from None
        try:
            most = max(node["Resources"].get("CPU", 0) for node in engine.nodes() if node["Alive"])
            if most < threads:
                raise HeadwayError(
                    f"tune.address: no node of that Ray cluster has {threads} CPUs; set training.threads to {most:g}"
                )
            yield Ray(engine.put((work, shared)), workers, threads)
        finally:
            engine.shutdown()


def _require_answer(address: str) -> None:
    """Ray itself waits for minutes for a machine that does not answer, and says of one that asks for a token that it does not."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdecimal() or int(port) >= 2**16:
        raise HeadwayError(
            f"tune.address: {address!r} is no address of a Ray cluster; expected host:6379 or ray://host:10001"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_CONNECT).close()
    except (OSError, UnicodeError) as error:
        raise Unreachable(f"tune.address: the Ray cluster does not answer ({error}); start it, and run again") from None


def remove_left() -> None:
    """Remove the folders of searches that were killed with kill -9, which had no time to do so themselves."""
    for folder in TEMPORARY.glob(f"{PREFIX}*-*"):
        process = folder.name.removeprefix(PREFIX).partition("-")[0]
        if process.isdecimal() and not psutil.pid_exists(int(process)):
            shutil.rmtree(folder, ignore_errors=True)  # another user's stays


class Ray:
    """A driver of the cluster."""

    def __init__(self, loaded: engine.ObjectRef[Any], workers: int, threads: int) -> None:
        self.workers = workers
        self._loaded = loaded
        # Tried once: the search decides about a second time.
        self._compute = engine.remote(num_cpus=threads, max_retries=0)(_compute)

    def run(self, tasks: Sequence[Task], started: Started, done: Done, watch: WatchBatch | None = None) -> None:
        waiting = deque(enumerate(tasks))
        running: dict[engine.ObjectRef[Any], int] = {}
        while waiting or running:
            while waiting and len(running) < self.workers:
                position, task = waiting.popleft()
                started(position)
                running[self._compute.remote(self._loaded, task)] = position
            for reference in engine.wait(list(running))[0]:
                done(running.pop(reference), _outcome(reference))


def _compute(loaded: tuple[Work, Any], task: Task) -> Outcome:
    """On the worker; Ray maps the arrays from its store, read-only, without a copy."""
    work, shared = loaded
    return work(shared, task, None)


def _outcome(reference: engine.ObjectRef[Any]) -> Outcome | WorkerLost:
    try:
        outcome: Outcome = engine.get(reference)
        return outcome
    except RayTaskError as error:
        raise error.cause from None
    except (LocalRayletDiedError, RaySystemError) as error:
        raise Unreachable(f"the Ray cluster failed ({first_line(error)}); run again") from None
    except RayError as error:  # the worker crashed, was ended for want of memory, or went with its node
        return WorkerLost(f"Ray worker is gone: {first_line(error)}")
