"""Tasks on a Ray cluster, each in a worker process of Ray's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, Generic

import ray as engine
from ray.exceptions import LocalRayletDiedError, RayError, RaySystemError, RayTaskError

from headway.errors import HeadwayError, Unreachable, first_line
from headway.executors import Listener, OptionNames, Result, Task, Work, WorkerLost
from headway.executors.cluster import connected, nodes

#: How often it is checked, while no task ends, that a node can run the tasks that wait.
SECONDS_BETWEEN_CHECKS = 30.0


@contextmanager
def ray(
    work: Work[Task, Result], shared: Any, workers: int, threads: int, address: str, names: OptionNames
) -> Iterator[Ray[Task, Result]]:
    """Connect to a cluster. Each task runs in a Ray worker process and reserves as many CPUs as it has threads.

    With an address, 0 workers are as many as the CPUs of the cluster allow.

    Raises:
        Unreachable: no cluster answers at the address, or it refuses this process.
        HeadwayError: the address is malformed, a node has other versions, or none has enough CPUs.
    """
    with connected(address, workers * threads, names):
        cpus = [node.cpus for node in nodes()]
        if max(cpus) < threads:
            wanted = f"lower {names.threads} to {max(cpus)}" if max(cpus) else "add a node that has CPUs"
            raise HeadwayError(
                f"{names.address}: a task needs {threads} CPUs, and the largest node of the Ray cluster has "
                f"{max(cpus)}; {wanted}"
            )
        yield Ray(engine.put((work, shared)), workers or sum(count // threads for count in cpus), threads, names)


class Ray(Generic[Task, Result]):
    """Submits tasks to the cluster, at most one for each worker at a time."""

    def __init__(self, loaded: engine.ObjectRef[Any], workers: int, threads: int, names: OptionNames) -> None:
        self.workers = workers
        self._threads = threads
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
            ended, _ = engine.wait(list(running), timeout=SECONDS_BETWEEN_CHECKS)
            for reference in ended:
                listener.ended(running.pop(reference), self._result(reference))
            if not ended and all(node.cpus < self._threads for node in nodes()):
                raise Unreachable(
                    f"{self._names.address}: no node with {self._threads} CPUs is left in the Ray cluster; add one, and run again"
                )

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
