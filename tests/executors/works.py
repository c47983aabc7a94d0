"""Work for the tests of executors, in a module that every worker can import. It scores a point, or misbehaves on request."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from headway.errors import HeadwayError
from headway.executors import Executor, Report, WorkerLost
from headway.search.trial import Outcome, Task

PATIENCE = 60.0


class NotPicklable(Exception):
    """Cannot be rebuilt from its arguments."""

    def __init__(self, left: str, right: str) -> None:
        super().__init__(f"{left} and {right}")


@dataclass(frozen=True)
class Shared:
    """What all tasks have in common.

    Attributes:
        numbers: shape (n,), large enough that executors treat it as an array.
        folder: a file ``die N`` in it kills the next worker that is given task N.
    """

    numbers: np.ndarray
    folder: Path

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        with (self.folder / "arrivals").open("a") as file:
            file.write("another\n")


def make_shared(folder: Path) -> Shared:
    return Shared(np.arange(300_000, dtype=np.float64), folder)


def work(shared: Shared, task: Task, report: Report | None = None) -> Outcome:
    """Score a point by its numbers and report one epoch; ``do`` in the point, or a file, asks for a mishap instead."""
    match str(task.point.get("do", "")).split():
        case ["die"]:
            os.kill(os.getpid(), signal.SIGKILL)
        case ["raise"]:
            raise HeadwayError(f"trial {task.number} is a mistake")
        case ["raise-not-picklable"]:
            raise NotPicklable("left", "right")
        case ["wait", file]:
            _wait(lambda: Path(file).exists())
        case ["meet", folder]:
            _meet(Path(folder), task.number)
    deadly = shared.folder / f"die {task.number}"
    if deadly.exists():
        deadly.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    scale = sum(value for value in task.point.values() if isinstance(value, int | float))
    score = float(np.cos(shared.numbers * scale).mean())
    entry = {"step": 1.0, "epoch": 1.0, "joint_validation_accuracy": score, "pid": float(os.getpid())}
    if report:
        report(entry)
    return Outcome("complete", (score,), (entry,))


def _meet(folder: Path, number: int) -> None:
    """Return once two tasks are here at the same time."""
    (folder / str(number)).touch()
    _wait(lambda: len(list(folder.iterdir())) == 2)


def _wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def tasks(*points: float | str) -> list[Task]:
    """Tasks from their x, or from a mishap."""
    return [Task(number, {"do": point} if isinstance(point, str) else {"x": point}) for number, point in enumerate(points)]


@dataclass
class Recorder:
    """A listener that checks the order of the calls and keeps the results."""

    results: dict[int, Any] = field(default_factory=dict)
    events: list[tuple[str, int]] = field(default_factory=list)

    def started(self, position: int) -> None:
        self.events.append(("started", position))

    def reported(self, position: int, report: Any) -> None:
        self.events.append(("reported", position))

    def ended(self, position: int, result: Outcome | WorkerLost) -> None:
        assert position not in self.results, "a task ended twice"
        assert self.events.count(("started", position)) == 1, "a task ended that was not started"
        self.events.append(("ended", position))
        self.results[position] = result


def collect(executor: Executor[Task, Outcome], batch: Sequence[Task]) -> list[Any]:
    """The results of a batch, in its order."""
    recorder = Recorder()
    executor.run(batch, recorder)
    return [recorder.results[position] for position in range(len(batch))]
