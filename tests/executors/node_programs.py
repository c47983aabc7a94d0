"""Programs that connect to a cluster of several nodes, for tests: each is a process of its own, which has the cluster's token.

python -m tests.executors.node_programs NAME ARGUMENT…
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from headway.errors import HeadwayError
from headway.executors import OptionNames, Report, WorkerLost, open_executor
from headway.executors.gang import PeerMissed, Places, Send, run_gang
from headway.search.storage import open_storage
from headway.search.study import Search
from headway.search.trial import Outcome, Task
from tests.search.conftest import DEFAULTS, Shown, ignore, tune_params


def say(*values: Any) -> None:
    print(json.dumps(values), flush=True)  # noqa: T201


def slow_trial(seconds: float, task: Task, _report: Report | None) -> Outcome:
    """A trial with a score that follows from its point."""
    time.sleep(seconds)
    score = sum(len(str(value)) for value in task.point.values()) % 7 / 7
    return Outcome("complete", (score,), ({"step": 1.0, "epoch": 1.0, "joint_validation_accuracy": score},))


def search(address: str, folder: str) -> None:
    """A search in this process, and the same one on the cluster with three trials at a time."""

    class Telling(Shown):
        def ended(self, trial: Any) -> None:
            say("trial", trial.number)

        def message(self, line: str) -> None:
            say("message", line)

    params = tune_params(workers=3, pruning=False, trials=12)
    found = []
    for engine, seconds in (("serial", 0.0), ("ray", 1.0)):
        storage = open_storage("", Path(folder) / engine)
        with open_executor(engine, slow_trial, seconds, workers=3, address=address) as executor:  # type: ignore[arg-type]
            trials = Search(params, DEFAULTS, 1, storage, "test").run(executor, Telling(), ignore).trials
        found.append([(trial.number, trial.state, trial.point, trial.score) for trial in trials])
    say("equal", found[0] == found[1], len(found[0]))


def places(address: str) -> None:
    """The nodes that a task runs on, if there is a worker for each CPU."""

    class Collecting:
        def __init__(self) -> None:
            self.found: set[str] = set()

        def started(self, position: int) -> None: ...
        def reported(self, position: int, report: Any) -> None: ...
        def ended(self, position: int, result: str | WorkerLost) -> None:
            self.found.add(str(result))

    with open_executor("ray", node_of, None, workers=0, address=address) as executor:
        collecting = Collecting()
        executor.run(range(6), collecting)
    say(sorted(collecting.found))


def node_of(_shared: None, _task: int, _report: Report | None) -> str:
    import ray

    time.sleep(1)
    return str(ray.get_runtime_context().get_node_id())


def count(shared: int, state: int, send: Send) -> None:
    """Counts from the state on, in the first of the processes; the others wait for it."""
    from headway.model.launch import launched

    launch = launched()
    assert launch
    for number in range(state or 0, shared):
        time.sleep(0.5)
        if launch.rank == 0:
            send(number)


def gang(address: str, size: str) -> None:
    """Processes that work together."""
    run_gang(count, 16, Places(int(size), 1), Counting(), address, OptionNames())
    say("done")


def fail(how: str, _state: None, _send: Send) -> None:
    """The second process fails; the first one misses it."""
    from headway.model.launch import launched

    launch = launched()
    assert launch
    if launch.rank == 0:
        time.sleep(2)
        raise PeerMissed("process 1 does not answer")
    if how == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    raise HeadwayError("a mistake in process 1")


def failing(address: str, how: str) -> None:
    """Processes of which one fails."""
    run_gang(fail, how, Places(2, 1), Counting(), address, OptionNames())


class Counting:
    number = 0

    def state(self) -> int:
        return self.number

    def received(self, item: int) -> None:
        assert item == self.number
        self.number += 1
        say("number", item)

    def message(self, line: str) -> None:
        say("message", line)


if __name__ == "__main__":
    try:
        {"search": search, "places": places, "gang": gang, "failing": failing}[sys.argv[1]](*sys.argv[2:])
    except HeadwayError as error:
        say("error", type(error).__name__, str(error))
        sys.exit(2)
