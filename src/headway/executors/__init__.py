"""Runs batches of tasks in this process, in worker processes or on a Ray cluster, through one small interface.

Nothing here knows what a task is: the search passes trials and the function that runs them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Literal, Protocol, TypeVar

from headway.errors import HeadwayError

Task = TypeVar("Task")
Result = TypeVar("Result")
Task_contra = TypeVar("Task_contra", contravariant=True)
Result_contra = TypeVar("Result_contra", contravariant=True)
Result_co = TypeVar("Result_co", covariant=True)

Engine = Literal["serial", "processes", "ray"]
#: Called by the work while its task runs, with anything picklable, such as the metrics of an epoch.
Report = Callable[[Any], None]
#: ``work(shared, task, report)``, a function of a module's top level. ``report`` is None where the engine cannot pass it on.
Work = Callable[[Any, Task, Report | None], Result]

#: Ray reads this variable when it is imported: a cluster on this machine then accepts local connections only.
RAY_ON_LOOPBACK = ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")


@dataclass(frozen=True)
class OptionNames:
    """What the caller's users set to choose an engine, for messages."""

    engine: str = "tune.executor"
    address: str = "tune.address"
    threads: str = "training.threads"  # the number of CPUs that a task reserves on Ray
    other_engines: str = "serial or processes"  # without Ray


class WorkerLost(HeadwayError):
    """The worker that ran a task died. The task itself may be fine and can be run again."""


class Listener(Protocol[Result_contra]):
    """Notified of what happens to a batch. Its methods are called in the thread that called :meth:`Executor.run`."""

    def started(self, position: int) -> None:
        """The task at this position of the batch is about to be handed to a worker."""

    def reported(self, position: int, report: Any) -> None:
        """The work reported something while it ran this task. Ray passes no reports on."""

    def ended(self, position: int, result: Result_contra | WorkerLost) -> None:
        """The task has a result, or its worker died."""


class Executor(Protocol[Task_contra, Result_co]):
    """Runs batches of tasks."""

    @property
    def workers(self) -> int:
        """The number of tasks in a batch. They run at the same time, except in :class:`Serial`."""

    def run(self, tasks: Iterable[Task_contra], listener: Listener[Result_co]) -> None:
        """Run the tasks and return when all of them have ended, in any order. A task is taken when a worker is free for it.

        An exception that the work or the listener raises stops the batch and is raised from here.
        """


def open_executor(
    engine: Engine,
    work: Work[Task, Result],
    shared: Any,
    *,
    workers: int,
    threads: int = 1,
    address: str = "",
    names: OptionNames = OptionNames(),
) -> AbstractContextManager[Executor[Task, Result]]:
    """An executor, ready within the ``with`` block. Its workers end with the block.

    Args:
        shared: what every task needs; sent to each worker once.
        workers: tasks that run at the same time; 0, for a running Ray cluster alone: as many as its CPUs allow now.
        threads: CPUs to reserve for each task on Ray.
        address: of a running Ray cluster; "" starts one on this machine.
        names: of the options that messages are about.

    Raises:
        HeadwayError: the engine is not installed, or no node of the cluster is large enough.
        Unreachable: the cluster does not answer.
    """
    if engine == "serial":
        return nullcontext(Serial(work, shared, workers))
    if engine == "processes":
        from headway.executors.processes import processes

        return processes(work, shared, workers)
    require_ray(address, names)
    from headway.executors.on_ray import ray

    return ray(work, shared, workers, threads, address, names)


def require_ray(address: str, names: OptionNames) -> None:
    """Import Ray, for the cluster at an address or for one on this machine.

    Raises:
        HeadwayError: it is not installed.
    """
    if not address:
        os.environ.setdefault(*RAY_ON_LOOPBACK)
    try:
        import ray  # noqa: F401
    except ModuleNotFoundError as error:
        raise HeadwayError(
            f"{names.engine}: Ray is not installed ({error}); install it with "
            f"`pip install --constraint requirements-dev.lock -e '.[ray]'`, or choose {names.other_engines}"
        ) from None


@dataclass(frozen=True)
class Serial(Generic[Task, Result]):
    """Runs tasks one after another in this process; ``workers`` is only the size of a batch."""

    work: Work[Task, Result]
    shared: Any
    workers: int

    def run(self, tasks: Iterable[Task], listener: Listener[Result]) -> None:
        for position, task in enumerate(tasks):
            listener.started(position)
            listener.ended(position, self.work(self.shared, task, partial(listener.reported, position)))
