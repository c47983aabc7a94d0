"""What happens at the same time: retraining in two clones, requests with labels to four services, and looks of the monitor."""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.serve.load import HOST, PATIENCE, Connection, request
from benchmarks.shared.servers import run_to_its_end
from tests.e2e.conftest import Clone

#: How a candidate differs from the one before, so that each retraining has something to decide.
WARMUPS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4)
#: Policies in turn: the first promotes a candidate that is not much worse, the second only one that is better.
LENIENT = {
    "policy": "non_inferior",
    "champion_margin": "0.5",
    "macro_f1_margin": "0.9",
    "nll_margin": "9.0",
    "calibration_margin": "0.9",
    "slice_margin": "0.9",
}
STRICT = {**LENIENT, "policy": "superior"}
OUTCOME = re.compile(r"^(PROMOTED|REFUSED|UNCHANGED|WAITING): .*$", re.MULTILINE)
#: Share of the answers whose true label comes back, at random some of them wrong.
LABELLED, WRONG = 0.3, 0.2
LABELS_PER_REQUEST = 25
#: Seconds after which a connection is not used again; the service closes one that was idle for five.
SECONDS_IDLE = 1.0
Idle = tuple[Connection, float]


@dataclass
class Retraining:
    """One ``headway run``."""

    clone: str
    status: int
    outcome: str
    seconds: float


@dataclass(frozen=True)
class Answer:
    """What a service answered.

    Attributes:
        text: index of the text.
        sent, received: in seconds since the epoch.
    """

    id: str
    text: int
    version: str
    label: str
    probability: float
    sent: float
    received: float


@dataclass
class Load:
    """Requests to all services, at random times.

    Attributes:
        rate: requests per second to each service.
        failures: requests without an answer of status 200, with the reason.
        labels: true labels that were acknowledged, by id.
        failed_labels: answers to labels that were not 200.
    """

    ports: Sequence[int]
    texts: Sequence[str]
    rate: float
    answers: list[Answer] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    failed_labels: list[str] = field(default_factory=list)

    def run(self, is_over: Callable[[], bool]) -> None:
        """Ask until it is over."""
        asyncio.run(self._run(is_over))

    async def _run(self, is_over: Callable[[], bool]) -> None:
        await asyncio.gather(*(self._ask_service(port, is_over) for port in self.ports))

    async def _ask_service(self, port: int, is_over: Callable[[], bool]) -> None:
        draw, idle, running = random.Random(port), list[Idle](), set[asyncio.Task[None]]()
        waiting: dict[str, str] = {}  # labels
        for number in count():
            await asyncio.sleep(draw.expovariate(self.rate))
            if is_over():
                break
            task = asyncio.ensure_future(
                self._one(port, number, draw.randrange(len(self.texts)), draw.random(), waiting, idle)
            )
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.gather(*running)
        if waiting:
            await self._give_labels(port, waiting, idle)
        for connection, _ in idle:
            connection.close()

    async def _one(
        self, port: int, number: int, text: int, chance: float, waiting: dict[str, str], idle: list[Idle]
    ) -> None:
        """Ask for one text, and give the label of some answers."""
        sent, identity = time.time(), f"{port}-{number}"
        status, found = await self._exchange(port, "/predict", {"texts": [self.texts[text]], "ids": [identity]}, idle)
        if status != 200:
            self.failures.append(f"{status}: {found}")
            return
        one = found["predictions"][0]
        self.answers.append(
            Answer(identity, text, found["model"]["version"], one["label"], one["probability"], sent, time.time())
        )
        if chance < LABELLED:
            waiting[identity] = one["top"][-1]["label"] if chance < LABELLED * WRONG else one["label"]
            if len(waiting) >= LABELS_PER_REQUEST:
                await self._give_labels(port, waiting, idle)

    async def _give_labels(self, port: int, waiting: dict[str, str], idle: list[Idle]) -> None:
        """Send the labels that wait, in one request as the documentation asks for."""
        labels = dict(waiting)
        waiting.clear()
        rows = [{"request_id": one, "label": label} for one, label in labels.items()]
        status, found = await self._exchange(port, "/feedback", {"labels": rows}, idle)
        if status == 200 and found["added"] == len(labels):
            self.labels |= labels
        else:
            self.failed_labels.append(f"{len(labels)} labels: {status}: {found}")

    async def _exchange(self, port: int, path: str, body: dict[str, Any], idle: list[Idle]) -> tuple[int, Any]:
        """Status and JSON of an answer; status 0 and the error if there is none."""
        connection, since = idle.pop() if idle else (None, 0.0)
        if connection and time.monotonic() - since > SECONDS_IDLE:
            connection.close()
        try:
            if connection is None or not connection.is_open:
                _, connection = await asyncio.get_running_loop().create_connection(Connection, HOST, port)
            status, content = await asyncio.wait_for(connection.ask(request(path, body, port)), PATIENCE)
        except (OSError, TimeoutError) as error:
            if connection:
                connection.close()
            return 0, f"{type(error).__name__}: {error}"
        idle.append((connection, time.monotonic()))
        return status, json.loads(content)


def retrain(clone: Clone, number: int, log: Path) -> Retraining:
    """Change the project and run it.

    Args:
        number: of the retraining among those of all clones, which decides about the candidate and the policy.
    """
    _set(clone, {"warmup_ratio": str(WARMUPS[number % len(WARMUPS)]), **(STRICT if number % 3 == 2 else LENIENT)})
    begun = time.monotonic()
    status, printed = run_to_its_end(clone, ["headway", "run"], log)
    found = OUTCOME.search(printed)
    outcome = found[0] if found else printed.strip().splitlines()[-1]
    return Retraining(clone.root.name, status, outcome, time.monotonic() - begun)


def monitor(clone: Clone, log: Path) -> tuple[int, str]:
    """Look at the champion; exit status, and the first line of what was found."""
    status, printed = run_to_its_end(clone, ["headway", "monitor"], log)
    lines = [line for line in printed.splitlines() if re.match(r"(OK|WARNING|ALARM|headway): ", line)]
    return status, lines[0] if lines else printed[-300:]


def now() -> datetime:
    return datetime.now(UTC)


def _set(clone: Clone, values: dict[str, str]) -> None:
    """Set values in params.yaml by the names of their keys, each of which occurs in one section only."""
    text = clone.layout.params.read_text(encoding="utf-8")
    for name, value in values.items():
        text, changed = re.subn(rf"(?m)^(  {name}: +)\S+", rf"\g<1>{value}", text)
        assert changed == 1, f"{name} occurs {changed} times"
    clone.layout.params.write_text(text, encoding="utf-8")
