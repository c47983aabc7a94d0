"""Where trials run: one small interface over the engines' own futures. It knows neither the study nor the model."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from headway.errors import HeadwayError
from headway.params import TuneParams
from headway.search.trial import Outcome, Task, Work

#: Ray reads this when it is imported: a cluster for this machine alone then listens on loopback alone.
RAY_ON_LOOPBACK = ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")


class WorkerLost(HeadwayError):
    """The worker that ran a task died; that says nothing about the task itself, which may be run once more."""


#: ``done(position, outcome)``: the task at that position of the batch has ended, or its worker was lost.
Done = Callable[[int, Outcome | WorkerLost], None]
#: ``started(position)``: the task at that position is about to be run, or handed to the engine.
Started = Callable[[int], None]
#: ``watch(position, entry)``: the task at that position has ended an epoch. Not every engine tells.
WatchBatch = Callable[[int, dict[str, float]], None]


class Executor(Protocol):
    """Runs batches of tasks."""

    @property
    def workers(self) -> int:
        """Tasks of a batch, which run at the same time where the engine can."""
        ...

    def run(self, tasks: Sequence[Task], started: Started, done: Done, watch: WatchBatch | None = None) -> None:
        """Run tasks and return when all have ended; ``started`` and ``done`` are called in this thread, in any order.

        Whatever they or the work raise ends the batch and is raised on.
        """
        ...


def executor(params: TuneParams, work: Work, shared: Any, threads: int) -> AbstractContextManager[Executor]:
    """The engine that ``tune.executor`` names, ready to run within the block; with the block its workers are gone.

    Args:
        params: executor, workers and address.
        work: runs one task.
        shared: what every task needs; it travels to each worker once.
        threads: that the work computes with, so that an engine which shares out CPUs gives it so many.

    Raises:
        HeadwayError: the engine is not installed, or has no place for the work.
        Unreachable: nothing answers at ``tune.address``.
    """
    match params.executor:
        case "processes":
            from headway.executors.processes import processes

            return processes(work, shared, params.workers)
        case "dask":
            with _extra("dask"):
                from headway.executors.on_dask import dask
            return dask(work, shared, params.workers, params.address)
        case "ray":
            if not params.address:
                os.environ.setdefault(*RAY_ON_LOOPBACK)
            with _extra("ray"):
                from headway.executors.on_ray import ray
            return ray(work, shared, params.workers, threads, params.address)
        case _:
            return nullcontext(Serial(work, shared, params.workers))


@dataclass(frozen=True)
class Serial:
    """This process, one task after another; ``workers`` is the size of a batch, as of the other engines."""

    work: Work
    shared: Any
    workers: int

    def run(self, tasks: Sequence[Task], started: Started, done: Done, watch: WatchBatch | None = None) -> None:
        for position, task in enumerate(tasks):
            started(position)
            done(position, self.work(self.shared, task, _of(watch, position)))


def _of(watch: WatchBatch | None, position: int) -> Callable[[dict[str, float]], None] | None:
    return None if watch is None else lambda entry: watch(position, entry)


@contextmanager
def _extra(name: str) -> Iterator[None]:
    """Importing an engine that may not be installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise HeadwayError(
            f"tune.executor: {name} is not installed ({error}); install it with "
            f"`pip install --constraint requirements-dev.lock -e '.[{name}]'`, or set it to serial or processes"
        ) from None
