"""Work for the engines' tests, in a module that every worker can import: a score from the shared numbers, or a mishap."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headway.errors import HeadwayError
from headway.search.trial import Outcome, Task, Watch

PATIENCE = 60.0


@dataclass(frozen=True)
class Shared:
    """Numbers that are large enough to travel as an engine carries arrays, shape (n,)."""

    numbers: np.ndarray


SHARED = Shared(np.arange(300_000, dtype=np.float64))


def work(shared: Shared, task: Task, watch: Watch | None = None) -> Outcome:
    """Score a point, after telling of one epoch; ``do`` names a mishap instead."""
    match str(task.point.get("do", "")).split():
        case ["die"]:
            os.kill(os.getpid(), signal.SIGKILL)
        case ["raise"]:
            raise HeadwayError(f"trial {task.number} is a mistake")
        case ["sleep"]:
            time.sleep(600)
        case ["meet", folder]:
            _meet(Path(folder), task.number)
    entry = {"epoch": 1.0, "pid": float(os.getpid())}
    if watch:
        watch(entry)
    score = float(np.cos(shared.numbers * float(task.point.get("x", 1.0))).mean())
    return Outcome("complete", (score,), (entry,))


def _meet(folder: Path, number: int) -> None:
    """Return once two tasks are here at the same time."""
    (folder / str(number)).touch()
    end = time.monotonic() + PATIENCE
    while len(list(folder.iterdir())) < 2:
        assert time.monotonic() < end, "nobody came"
        time.sleep(0.02)


def tasks(*points: float | str) -> list[Task]:
    """Tasks from their x, or their mishap."""
    return [Task(number, {"do": point} if isinstance(point, str) else {"x": point}) for number, point in enumerate(points)]


def collect(engine, batch: list[Task]) -> list:
    """What ``done`` was told, by position."""
    told: dict[int, object] = {}

    def done(position: int, outcome: object) -> None:
        assert position not in told, "told twice of one task"
        told[position] = outcome

    engine.run(batch, done)
    return [told[position] for position in range(len(batch))]
