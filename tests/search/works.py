"""Work for the engines' tests, in a module that every worker can import: a score from the shared numbers, or a mishap."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headway.errors import HeadwayError
from headway.search.trial import Outcome, Task, Watch

PATIENCE = 60.0


class Odd(Exception):
    """Cannot be rebuilt from what it says."""

    def __init__(self, left: str, right: str) -> None:
        super().__init__(f"{left} and {right}")


@dataclass(frozen=True)
class Shared:
    """What all tasks have in common.

    Attributes:
        numbers: so many that an engine carries them as it carries arrays, shape (n,).
        folder: holds a file ``die N`` while the next worker that is given task N is to die of it.
    """

    numbers: np.ndarray
    folder: Path

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        with (self.folder / "arrivals").open("a") as file:
            file.write("another\n")


def share(folder: Path) -> Shared:
    return Shared(np.arange(300_000, dtype=np.float64), folder)


def work(shared: Shared, task: Task, watch: Watch | None = None) -> Outcome:
    """Score a point by its numbers and tell of one epoch; ``do`` in the point, or a file, names a mishap instead."""
    match str(task.point.get("do", "")).split():
        case ["die"]:
            os.kill(os.getpid(), signal.SIGKILL)
        case ["raise"]:
            raise HeadwayError(f"trial {task.number} is a mistake")
        case ["odd"]:
            raise Odd("left", "right")
        case ["wait", file]:
            _wait(lambda: Path(file).exists())
        case ["alone", inside, free]:
            Path(inside).touch(exist_ok=False)
            _wait(lambda: Path(free).exists())
            Path(inside).unlink()
        case ["meet", folder]:
            _meet(Path(folder), task.number)
    deadly = shared.folder / f"die {task.number}"
    if deadly.exists():
        deadly.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    scale = sum(value for value in task.point.values() if isinstance(value, int | float))
    score = float(np.cos(shared.numbers * scale).mean())
    entry = {"epoch": 1.0, "validation_accuracy": score, "pid": float(os.getpid())}
    if watch:
        watch(entry)
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
    """Tasks from their x, or their mishap."""
    return [Task(number, {"do": point} if isinstance(point, str) else {"x": point}) for number, point in enumerate(points)]


def collect(engine, batch: list[Task]) -> list:
    """What ``done`` was told, by position."""
    told: dict[int, object] = {}
    started: list[int] = []

    def done(position: int, outcome: object) -> None:
        assert position not in told, "told twice of one task"
        assert started.count(position) == 1, "told of a task that was not started"
        told[position] = outcome

    engine.run(batch, started.append, done)
    return [told[position] for position in range(len(batch))]
