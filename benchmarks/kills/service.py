"""Kills of ``headway serve`` under load, and what must hold of its answers, its log and the labels that it has accepted.

An answer that was given is in the log, unless the process was killed before its part was written; then all answers since that
part are missing, and no others. What ``/metrics`` has counted as written, and a label that was acknowledged, is kept.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.kills import projects
from benchmarks.kills.jobs import Row
from benchmarks.kills.processes import COMMAND, Started, Stuck, forked, kill
from benchmarks.kills.projects import Place
from benchmarks.serve.load import HOST
from benchmarks.serve.servers import answers, free_port
from headway.layout import Layout
from headway.params import LogParams, load
from headway.serving.log.kept_labels import kept_labels
from headway.serving.log.reading import read_log
from headway.serving.log.store import located
from headway.serving.log.writer import open_log

NAME, SHARE = "serve", 28
STARTING, ANSWERING, DUE, ENDING = "starting", "answering", "a part is being written", "ending after SIGTERM"
PHASES = (STARTING, ANSWERING, DUE, ENDING)
#: Texts of a request, the most that one may have; rows of a part of the log; labels of a request, which every fifth one sends.
TEXTS, ROWS_OF_A_PART, LABELS, EVERY = 256, 10_000, 20, 5
#: Seconds that a service may take to be ready, and during which a load is killed.
PATIENCE, LOAD = 60.0, 6.0
#: About as long as it takes to start.
SECONDS_TO_START = 0.8
#: Largest difference of a probability in the log, which has float32, from the one that was answered.
CLOSE = 1e-6
Answer = tuple[str, float]


@dataclass
class Client:
    """Asks one request after another until the service is gone, and notes what was acknowledged.

    Attributes:
        life: beginning of its request ids.
        sent: ids of texts that were sent.
        answered: label and probability by id, in the order of the answers.
        labels_sent, labels_kept: true labels by id.
        written: rows that the service has counted as written to the log.
    """

    port: int
    texts: Sequence[str]
    life: str
    sent: set[str] = field(default_factory=set)
    answered: dict[str, Answer] = field(default_factory=dict)
    labels_sent: dict[str, str] = field(default_factory=dict)
    labels_kept: dict[str, str] = field(default_factory=dict)
    written: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Ask until the service is gone, or :attr:`stopped`."""
        number = 0
        with suppress(OSError, http.client.HTTPException):
            while not self.stopped.is_set():
                self.ask(number)
                number += 1

    def ask(self, number: int) -> None:
        """Send a request with many texts; with every fifth, labels of some of the answers; and read the metrics."""
        ids = [f"{self.life}-{number}-{position}" for position in range(TEXTS)]
        texts = [self.texts[(number * TEXTS + position) % len(self.texts)] for position in range(TEXTS)]
        self.sent.update(ids)
        found = self.post("/predict", {"texts": texts, "ids": ids})["predictions"]
        self.answered.update((one["id"], (one["label"], one["probability"])) for one in found)
        if number % EVERY == EVERY - 1:
            labels = {one["id"]: one["label"] for one in found[:LABELS]}
            self.labels_sent |= labels
            self.give(labels)
        self.written = _rows_written(self._get("/metrics"))

    def give(self, labels: dict[str, str]) -> None:
        """Send labels."""
        if labels:
            rows = [{"request_id": one, "label": label} for one, label in labels.items()]
            counts = self.post("/feedback", {"labels": rows})
            if counts["added"] + counts["repeated"] != len(labels):
                raise ConnectionError(f"{len(labels)} labels were sent: {counts}")
            self.labels_kept |= labels

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """What the service answers with 200; OSError for anything else."""
        return json.loads(self._ask("POST", path, json.dumps(body)))

    def _get(self, path: str) -> str:
        return self._ask("GET", path, None).decode()

    def _ask(self, method: str, path: str, body: str | None) -> bytes:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            content = response.read()
            if response.status != 200:
                raise ConnectionError(f"status {response.status}: {content[:200]!r}")
            return content
        finally:
            connection.close()


def killed_once(place: Place, template: Path, index: int, row: Row) -> Row:
    """Kill a service in one of its phases, start it again, and check what it answers and what was kept."""
    draw = random.Random(f"{row.seed} {NAME} {index}")
    place.restore(template)
    texts, port = projects.sentences(), free_port()
    row.killed, row.phase = COMMAND, PHASES[index % len(PHASES)]
    first = Client(port, texts, "first")
    _first_life(place, first, row, draw)
    row.differs += _log_problems(place, first, complete=False)
    begun = time.monotonic()
    second = Client(port, texts, "second")
    try:
        _second_life(place, second, first, row)
    except (Stuck, OSError, http.client.HTTPException) as error:
        row.differs.append(f"the second run: {type(error).__name__}: {error}")
    row.seconds = round(time.monotonic() - begun, 1)
    return row


def reference(place: Place, template: Path) -> list[Answer]:
    """The answers to the first texts, of a service that is not killed."""
    place.restore(template)
    client = Client(free_port(), projects.sentences(), "whole")
    started = _start(place, client, "whole")
    _wait_until_ready(started, client)
    client.ask(0)
    os.kill(started.pid, signal.SIGTERM)
    if status := started.wait(PATIENCE):
        raise SystemExit(f"headway serve: ended with status {status} without a kill")
    return list(client.answered.values())


def _start(place: Place, client: Client, log: str) -> Started:
    options = ("--port", str(client.port), "--check-seconds", "1", "--drain", "0.3")
    return forked("headway", "serve", *options, folder=place.root, log=place.log(log))


def _wait_until_ready(started: Started, client: Client) -> None:
    """Return when it answers; Stuck if it does not."""
    end = time.monotonic() + PATIENCE
    while not answers(client.port, "/readyz"):
        if started.poll() is not None or time.monotonic() > end:
            raise Stuck("the service is not ready")
        time.sleep(0.01)


def _first_life(place: Place, client: Client, row: Row, draw: random.Random) -> None:
    """Load a service and kill it at a random moment of a phase."""
    begun = time.monotonic()
    started = _start(place, client, "killed")
    if row.phase == STARTING:
        time.sleep(draw.uniform(0, SECONDS_TO_START))
        if answers(client.port, "/readyz"):
            row.phase = ANSWERING
        row.after = round(time.monotonic() - begun, 2)
        kill(started, COMMAND)
        started.wait(PATIENCE)
        return
    _wait_until_ready(started, client)
    loading = threading.Thread(target=client.run)
    loading.start()
    if row.phase == ANSWERING:
        time.sleep(draw.uniform(0, LOAD))
    elif row.phase == DUE:
        while started.poll() is None and len(client.sent) % ROWS_OF_A_PART < ROWS_OF_A_PART - 2 * TEXTS:
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.4))
    else:
        time.sleep(draw.uniform(0, LOAD / 2))
        os.kill(started.pid, signal.SIGTERM)
        time.sleep(draw.uniform(0, 0.8))
    row.after = round(time.monotonic() - begun, 2)
    kill(started, COMMAND)
    if started.wait(PATIENCE) == 0:
        row.notes.append("ended in order before the kill")
    client.stopped.set()
    loading.join()
    row.notes.append(f"{len(client.answered):,} answers")


def _second_life(place: Place, client: Client, first: Client, row: Row) -> None:
    """Start the same command, ask it the same, send all labels again, end it in order, and check what was kept."""
    whole: list[Answer] = [tuple(one) for one in json.loads((place.folder / "answers.json").read_text())]
    started = _start(place, client, "again")
    _wait_until_ready(started, client)
    client.ask(0)
    if list(client.answered.values()) != whole:
        row.differs.append("other answers than those of a service that was not killed")
    client.give(first.labels_sent)
    client.ask(EVERY - 1)
    os.kill(started.pid, signal.SIGTERM)
    if status := started.wait(PATIENCE):
        row.differs.append(f"the second run: exit status {status}")
    row.differs += _log_problems(place, client, complete=True)
    row.differs += _label_problems(place, first.labels_sent | client.labels_sent)


def _log_problems(place: Place, client: Client, complete: bool) -> list[str]:
    """What is wrong with the rows of one life in the log; ``complete`` if the service has ended in order."""
    unreadable: list[str] = []
    names = ["request_id", "label", "probability"]
    rows = [
        found
        for batch in read_log(_log(place), columns=names, on_unreadable=unreadable.append)
        for found in batch.to_pylist()
        if found["request_id"].startswith(client.life)
    ]
    counts = Counter(found["request_id"] for found in rows)
    missing = [one for one in client.answered if one not in counts]
    order = list(client.answered)
    problems = [f"unreadable: {one}" for one in unreadable]
    if twice := [one for one, number in counts.items() if number > 1]:
        problems.append(f"{len(twice)} rows twice in the log")
    if unknown := counts.keys() - client.sent:
        problems.append(f"{len(unknown)} rows in the log that nobody asked for")
    if missing != order[len(order) - len(missing) :]:
        problems.append(f"{len(missing)} answers are not in the log, and they are not the last ones")
    if complete and missing:
        problems.append(f"{len(missing)} answers are not in the log of a service that ended in order")
    if len(rows) < client.written:
        problems.append(f"{client.written} rows were counted as written, and {len(rows)} are in the log")
    wrong = [found for found in rows if not _is_answer(client.answered.get(found["request_id"]), found)]
    if wrong:
        problems.append(f"{len(wrong)} rows of the log are not what was answered")
    return problems


def _is_answer(answer: Answer | None, row: dict[str, Any]) -> bool:
    """Whether a row of the log is what was answered; an answer that did not arrive any more is unknown."""
    return answer is None or (answer[0] == row["label"] and abs(answer[1] - row["probability"]) < CLOSE)


def _label_problems(place: Place, labels: dict[str, str]) -> list[str]:
    """What is wrong with the labels beside the log, which were all sent at least once to a service that has answered."""
    store = open_log(_log(place))
    kept = kept_labels(store)
    found = {key.request_id: label for key, label in kept.labels.items()}
    below = store.below("labels")
    rows = sum(below.read(part, ["label"]).num_rows for part in below.parts())
    problems = [f"unreadable: {one}" for one in kept.unreadable]
    if found != labels:
        problems.append(
            f"{len(labels.items() - found.items())} labels are missing, {len(found.keys() - labels.keys())} are new"
        )
    if rows != len(labels):
        problems.append(f"{rows} rows for {len(labels)} labels")
    return problems


def _log(place: Place) -> LogParams:
    return located(load(Layout(place.root).params).serving.log, place.root)


def _rows_written(metrics: str) -> int:
    """The counter of rows written to the log."""
    lines = [line.split() for line in metrics.splitlines() if line.startswith("headway_log_rows_written_total ")]
    return int(float(lines[0][1])) if lines else 0
