"""Where trials run: one small interface over the engines' own futures. It knows neither the study nor the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from headway.errors import HeadwayError
from headway.params import TuneParams
from headway.search.trial import Outcome, Task, Work


class WorkerLost(HeadwayError):
    """The worker that ran a task died; that says nothing about the task itself, which may be run once more."""


#: ``done(position, outcome)``: the task at that position of the batch has ended, or its worker was lost.
Done = Callable[[int, Outcome | WorkerLost], None]
#: ``watch(position, entry)``: the task at that position has ended an epoch. Not every engine tells.
WatchBatch = Callable[[int, dict[str, float]], None]


class Executor(Protocol):
    """Runs batches of tasks."""

    @property
    def workers(self) -> int:
        """Tasks of a batch, which run at the same time where the engine can."""
        ...

    def run(self, tasks: Sequence[Task], done: Done, watch: WatchBatch | None = None) -> None:
        """Run tasks and return when all have ended; ``done`` is called as each ends, in this thread, in any order.

        Whatever ``done`` or the work raises ends the batch and is raised on.
        """
        ...


@contextmanager
def executor(params: TuneParams, work: Work, shared: Any, threads: int) -> Iterator[Executor]:  # noqa: ARG001
    """The engine that ``tune.executor`` names, ready to run; its workers are gone when the block ends.

    Args:
        params: executor, workers and address.
        work: runs one task.
        shared: what every task needs; it travels to each worker once.
        threads: of each worker's computing.
    """
    if params.executor == "serial":
        yield Serial(work, shared, params.workers)
    else:
        raise HeadwayError(f"tune.executor: {params.executor} is not built yet; set it to serial")


@dataclass(frozen=True)
class Serial:
    """This process, one task after another; ``workers`` is the size of a batch, as of the other engines."""

    work: Work
    shared: Any
    workers: int

    def run(self, tasks: Sequence[Task], done: Done, watch: WatchBatch | None = None) -> None:
        for position, task in enumerate(tasks):
            done(position, self.work(self.shared, task, _of(watch, position)))


def _of(watch: WatchBatch | None, position: int) -> Callable[[dict[str, float]], None] | None:
    return None if watch is None else lambda entry: watch(position, entry)
