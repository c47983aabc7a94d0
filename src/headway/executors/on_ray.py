"""A Ray cluster: a running one at an address, or one on this machine that ends with the block."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Generic

import psutil
import ray as engine
from ray.exceptions import LocalRayletDiedError, RayError, RaySystemError, RayTaskError

from headway.errors import HeadwayError, Unreachable, first_line
from headway.executors import Listener, OptionNames, Result, Task, Work, WorkerLost

#: Where Ray keeps its logs and sockets. The path of a socket must be short, so the project's own folder will not do.
#: The name of each folder continues with the id of the process that made it.
TEMPORARY, PREFIX = Path("/tmp"), "headway-ray-"
SECONDS_TO_CONNECT = 10.0


@contextmanager
def ray(
    work: Work[Task, Result], shared: Any, workers: int, threads: int, address: str, names: OptionNames
) -> Iterator[Ray[Task, Result]]:
    """Connect to a cluster. Each task runs in a Ray worker process and reserves as many CPUs as it has threads.

    With an address, 0 workers are as many as the CPUs of the cluster allow.

    Raises:
        Unreachable: no cluster answers at the address, or it refuses this process.
        HeadwayError: the address is malformed, or no node has enough CPUs.
    """
    remove_abandoned_folders()
    prefix = f"{PREFIX}{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=TEMPORARY, ignore_cleanup_errors=True) as folder:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if not address:
            options |= {"num_cpus": workers * threads, "include_dashboard": False, "_temp_dir": folder}
        if address not in ("", "auto"):
            check_reachable(address, names)
        try:
            engine.init(address=address or "local", **options)
        except (OSError, RuntimeError, ValueError) as error:
            if not address:
                raise Unreachable(f"{names.engine}: Ray does not start on this machine ({error}); run again") from None
            raise Unreachable(
                f"{names.address}: the Ray cluster refuses this process ({error}); if it requires a token, set "
                "RAY_AUTH_MODE=token in the environment and put the token into RAY_AUTH_TOKEN or ~/.ray/auth_token, "
                "then run again"
            ) from None
        try:
            cpus = [int(node["Resources"].get("CPU", 0)) for node in engine.nodes() if node["Alive"]]
            if max(cpus) < threads:
                wanted = f"lower {names.threads} to {max(cpus)}" if max(cpus) else "add a node that has CPUs"
                raise HeadwayError(
                    f"{names.address}: a task needs {threads} CPUs, and the largest node of the Ray cluster has "
                    f"{max(cpus)}; {wanted}"
                )
            yield Ray(engine.put((work, shared)), workers or sum(count // threads for count in cpus), threads, names)
        finally:
            engine.shutdown()


def check_reachable(address: str, names: OptionNames) -> None:
    """Connect once. Ray itself would wait for minutes, and would report a cluster that requires a token as unreachable."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdecimal() or int(port) >= 2**16:
        raise HeadwayError(
            f"{names.address}: {address!r} is not the address of a Ray cluster; expected host:6379 or ray://host:10001"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_CONNECT).close()
    except (OSError, UnicodeError) as error:
        raise Unreachable(f"{names.address}: the Ray cluster does not answer ({error}); start it, and run again") from None


def remove_abandoned_folders() -> None:
    """Remove the folders of processes that were killed before they could remove them."""
    for folder in TEMPORARY.glob(f"{PREFIX}*-*"):
        process = folder.name.removeprefix(PREFIX).partition("-")[0]
        if process.isdecimal() and not psutil.pid_exists(int(process)):
            shutil.rmtree(folder, ignore_errors=True)  # the folder of another user stays


class Ray(Generic[Task, Result]):
    """Submits tasks to the cluster, at most one for each worker at a time."""

    def __init__(self, loaded: engine.ObjectRef[Any], workers: int, threads: int, names: OptionNames) -> None:
        self.workers = workers
        self._names = names
        self._loaded = loaded
        # Ray's own retries are off: the caller decides whether the task of a lost worker runs again.
        self._compute: Any = engine.remote(num_cpus=threads, max_retries=0)(_compute)

    def run(self, tasks: Iterable[Task], listener: Listener[Result]) -> None:
        waiting = iter(enumerate(tasks))
        running: dict[engine.ObjectRef[Any], int] = {}
        while True:
            for position, task in islice(waiting, self.workers - len(running)):
                listener.started(position)
                running[self._compute.remote(self._loaded, task)] = position
            if not running:
                return
            for reference in engine.wait(list(running))[0]:
                listener.ended(running.pop(reference), self._result(reference))

    def _result(self, reference: engine.ObjectRef[Any]) -> Any:
        try:
            return engine.get(reference)
        except RayTaskError as error:
            if isinstance(error.cause, RaySystemError):  # it could not be unpickled
                raise HeadwayError(
                    f"{self._names.address}: a machine of the Ray cluster cannot load the task ({first_line(error.cause)}); "
                    "install this version of Headway on all of its machines"
                ) from None
            raise error.cause from None
        except (LocalRayletDiedError, RaySystemError) as error:
            raise Unreachable(f"the Ray cluster failed ({first_line(error)}); run again") from None
        except RayError as error:  # the worker crashed, was killed to free memory, or was lost with its node
            return WorkerLost(f"its Ray worker is gone: {first_line(error)}")


def _compute(loaded: tuple[Work[Task, Result], Any], task: Task) -> Result:
    """Runs on the worker. Ray maps arrays from its object store, read-only and without a copy."""
    work, shared = loaded
    return work(shared, task, None)
