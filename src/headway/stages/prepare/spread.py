"""Where the tasks of the scan run: here, in processes of this machine, or on a Ray cluster. The result is the same."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from headway.data.preparation.scan import Run, Settings, Take, Task
from headway.errors import HeadwayError
from headway.executors import Engine, Executor, OptionNames, Report, WorkerLost, open_executor

#: Rows from which another process is worth its start, and the most processes that are started without being asked for.
ROWS_PER_WORKER, MOST_WORKERS = 50_000, 8
#: How often a task runs at most, because its worker may be lost.
ATTEMPTS = 3
NAMES = OptionNames(engine="--executor", address="--address", other_engines="processes")


@dataclass(frozen=True)
class Workers:
    """What runs the tasks.

    Attributes:
        number: of tasks that run at the same time; 0 for one per core of this machine if there are enough rows, and for one
            per CPU of a running Ray cluster.
        engine: processes of this machine, or Ray.
        address: of a running Ray cluster; "" starts one on this machine.
    """

    number: int = 0
    engine: Literal["processes", "ray"] = "processes"
    address: str = ""

    def for_rows(self, rows: int) -> int:
        """The number to start; 0 if a running cluster decides."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return self.number or (0 if self.address else max(1, min(cores, MOST_WORKERS, rows // ROWS_PER_WORKER)))


#: This process alone.
HERE = Workers(1)


@contextmanager
def running(workers: Workers, settings: Settings, rows: int) -> Iterator[Run]:
    """What runs tasks, for this number of rows, within the ``with`` block.

    Raises:
        HeadwayError: Ray is not installed, or workers were lost again and again.
        Unreachable: the Ray cluster does not answer.
    """
    number = workers.for_rows(rows)
    engine: Engine = "serial" if workers.engine == "processes" and number == 1 else workers.engine
    with open_executor(engine, work, settings, workers=number, address=workers.address, names=NAMES) as executor:
        yield lambda tasks, take: Tasks(take).run(executor, tasks)


def work(settings: Settings, task: tuple[int, Task], _report: Report | None) -> tuple[int, Any]:
    """Runs on the worker: a task with its number, and its result with it."""
    number, content = task
    return number, content.run(settings)


@dataclass
class Tasks:
    """Runs tasks again that were lost with their worker; it is the listener of the executor."""

    take: Take
    _running: dict[int, tuple[int, Task]] = field(default_factory=dict)  # by position in the executor
    _lost: list[tuple[int, Task]] = field(default_factory=list)
    _losses: Counter[int] = field(default_factory=Counter)  # of each task

    def run(self, executor: Executor[tuple[int, Task], tuple[int, Any]], tasks: Iterable[Task]) -> None:
        waiting = iter(enumerate(tasks))
        executor.run(self._next(waiting), self)
        while self._lost:
            executor.run(self._next(waiting), self)

    def _next(self, waiting: Iterator[tuple[int, Task]]) -> Iterator[tuple[int, Task]]:
        """The tasks to run: lost ones first, so that few are in memory."""
        position = 0
        while task := self._lost.pop() if self._lost else next(waiting, None):
            self._running[position] = task
            position += 1
            yield task

    def started(self, position: int) -> None:
        """Nothing: a task counts when it has ended."""

    def reported(self, position: int, report: Any) -> None:
        """Nothing: the tasks report nothing."""

    def ended(self, position: int, result: tuple[int, Any] | WorkerLost) -> None:
        number, content = self._running.pop(position)
        if not isinstance(result, WorkerLost):
            self.take(number, result[1])
            return
        self._losses[number] += 1
        if self._losses[number] == ATTEMPTS:
            raise HeadwayError(
                f"part {number} of the data was lost {ATTEMPTS} times: {result}, perhaps for lack of memory; run again with "
                "fewer --workers"
            )
        self._lost.append((number, content))
