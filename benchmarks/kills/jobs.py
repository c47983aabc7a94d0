"""The jobs that are killed: how each is started, in which phases it can be, and what it has to leave behind."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import psutil

from benchmarks.kills import projects
from benchmarks.kills.comparison import ANSWERS, LABELS_FILE, ROWS, Outcome, differences
from benchmarks.kills.processes import COMMAND, EVERY, LARGEST, Started, Stuck, commanded, forked, kill
from benchmarks.kills.projects import DATA_STAGES, MODEL_STAGES, Place
from tests.e2e.hanging import processes

#: A job that has ended before the kill is killed at a moment in a shorter time: this share of the one before.
SOONER = 0.7
SECONDS_BETWEEN_LOOKS = 0.005


@dataclass(frozen=True)
class Sight:
    """What can be seen of a job from outside: its output so far and its project."""

    printed: str
    root: Path


Reached = Callable[[Sight], Any]


def says(pattern: str) -> Reached:
    """Whether the output has a line with a pattern."""
    return lambda sight: re.search(pattern, sight.printed)


def has(pattern: str, number: int = 1) -> Reached:
    """Whether at least a number of files of the project match a pattern."""
    return lambda sight: len(list(sight.root.glob(pattern))) >= number


@dataclass(frozen=True)
class Job:
    """A job.

    Attributes:
        share: kills of this job, of 200.
        template: the project that it begins with.
        kind: of the outcome, see :mod:`benchmarks.kills.outcomes`.
        start: starts it, with its output in a file.
        phases: that follow each other, each with a sign that it has begun; the first has none.
        kills: what a kill hits, with the same probability.
    """

    name: str
    share: int
    template: str
    kind: str
    start: Callable[[Place, Path], Started]
    phases: Sequence[tuple[str, Reached]]
    kills: Sequence[str] = (COMMAND,)

    def reached(self, log: Path, place: Place) -> int:
        """Index of the phase that it is in."""
        sight = Sight(log.read_text(encoding="utf-8", errors="replace"), place.root)
        return max(number for number, (_, reached) in enumerate(self.phases) if reached(sight))


@dataclass(frozen=True)
class Reference:
    """An uninterrupted run.

    Attributes:
        outcome: what it left behind.
        began: seconds until each phase of the job was seen, None for one that was never seen.
        seconds: until its end.
    """

    outcome: Outcome
    began: Sequence[float | None]
    seconds: float

    def duration(self, phase: int) -> float:
        """Seconds from the beginning of a phase to that of the next one; 0 if it was never seen."""
        begun = self.began[phase]
        later = [moment for moment in self.began[phase + 1 :] if moment is not None]
        return 0.0 if begun is None else min(later, default=self.seconds) - begun


@dataclass
class Row:
    """A kill, and what became of the job.

    Attributes:
        phase: in which the kill fell.
        killed: what was killed.
        after: seconds since the start.
        seconds: of the second run.
        differs: where the outcome differs from that of an uninterrupted run.
        notes: what else was seen.
    """

    job: str
    index: int
    seed: int
    commit: str
    phase: str
    killed: str
    after: float
    seconds: float = 0.0
    differs: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def command_of(*words: str) -> Callable[[Place, Path], Started]:
    """How a command is started in a forked process."""
    return lambda place, log: forked("headway", *words, folder=place.root, log=log)


def _stages() -> Iterator[tuple[str, Reached]]:
    yield "before the stages", lambda _: True
    for stage in (*DATA_STAGES, *MODEL_STAGES):
        yield f"stage {stage}", says(f"Running stage '{stage}'")
    yield "gate: registering", says(r"pages: reports")
    yield "gate: comparing", says("measuring latency")
    yield "gate: recording", says("recording the decision")
    yield "after the decision", says("is promoted")


GATE = (
    ("registering", lambda _: True),
    ("comparing", says("measuring latency")),
    ("recording and carrying out", says("recording the decision")),
    ("after the decision", says("is promoted")),
)
JOBS = (
    Job(
        "run",
        10,
        projects.FRESH,
        "project",
        lambda place, log: commanded(place.clone, "headway", "run", log=log),
        tuple(_stages()),
        (EVERY, COMMAND, LARGEST),
    ),
    Job(
        "tune",
        30,
        projects.TOKENIZED,
        "project",
        command_of("tune"),
        (
            ("before the first trial", lambda _: True),
            ("first trial", says("trial 0:")),
            ("later trials", says("trial 1:")),
            ("repetitions and results", says(r"trial 3: .* in \d+ s")),
        ),
    ),
    Job(
        "train",
        30,
        projects.TUNED,
        "project",
        command_of("train"),
        (
            ("n-grams", lambda _: True),
            ("attention, before the first checkpoint", says("train · step")),
            ("attention, with a checkpoint", has(".headway/checkpoints/*/*.ckpt")),
            ("packaging", has("models/candidate.partial")),
            ("results", has("models/candidate")),
        ),
    ),
    Job(
        "gate, first champion",
        21,
        projects.EVALUATED,
        "project",
        lambda place, log: forked("gate", folder=place.root, log=log),
        GATE,
    ),
    Job(
        "gate, against a champion",
        21,
        projects.SECOND,
        "project",
        lambda place, log: forked("gate", folder=place.root, log=log),
        GATE,
    ),
    Job(
        "batch",
        26,
        projects.BATCH,
        "batch",
        command_of("predict", ROWS, "--out", ANSWERS, "--log", "--workers", "1"),
        (
            ("before the first part", lambda _: True),
            ("with finished parts", has(f".{ANSWERS}.parts/0*.json")),
            ("with all parts", has(f".{ANSWERS}.parts/0*.json", 4)),
            ("output complete", has(ANSWERS)),
        ),
    ),
    Job(
        "monitor",
        22,
        projects.MONITORING,
        "monitoring",
        command_of("monitor"),
        (
            ("scoring the test rows", lambda _: True),
            ("reading the log", has("log/monitor/reference*")),
            ("state kept", has("log/monitor/version-*")),
            ("page and record written", has("reports/monitoring.json")),
        ),
    ),
    Job(
        "label",
        12,
        projects.LABELLING,
        "labels",
        command_of("label", LABELS_FILE),
        (
            ("reading", lambda _: True),
            ("labels written", has("log/labels/date=*/*.parquet")),
            ("quarantine written", has("log/labels/quarantine/date=*/*.parquet")),
        ),
    ),
)


def run_whole(job: Job, place: Place, template: Path) -> Reference:
    """Run a job without a kill."""
    place.restore(template)
    log = place.log(job.kind)
    began: list[float | None] = [0.0, *[None] * (len(job.phases) - 1)]
    started, begun = job.start(place, log), time.monotonic()
    while started.poll() is None:
        phase = job.reached(log, place)
        if began[phase] is None:
            began[phase] = time.monotonic() - begun
        time.sleep(SECONDS_BETWEEN_LOOKS)
    if status := started.wait():
        raise SystemExit(f"{job.name}: ended with status {status} without a kill:\n{log.read_text()[-3000:]}")
    return Reference(observed(job, place), began, time.monotonic() - begun)


def killed_once(job: Job, place: Place, template: Path, whole: Reference, index: int, row: Row) -> Row:
    """Kill a job once, run the same command again, and compare.

    Half of the moments are uniform over the time of the whole job; the other half over the time of one phase, so that short
    phases are hit too.
    """
    for attempt in count():
        draw = random.Random(f"{row.seed} {job.name} {index} {attempt}")
        place.restore(template)
        if _kill_at_random(job, place, whole, index, SOONER**attempt, draw, row):
            break
    begun = time.monotonic()
    try:
        status = job.start(place, place.log("again")).wait()
    except Stuck as stuck:
        row.differs.append(f"the second run: {stuck}")
    else:
        if status:
            row.differs.append(f"the second run: exit status {status}: {_last_line(place.log('again'))}")
    row.seconds = round(time.monotonic() - begun, 1)
    try:
        row.differs += differences(whole.outcome, observed(job, place))
    except ValueError as error:
        row.differs.append(f"the outcome cannot be read: {error}")
    if left := processes(place.clone):
        row.differs.append(f"{len(left)} processes left")
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
    return row


def _kill_at_random(
    job: Job, place: Place, whole: Reference, index: int, share: float, draw: random.Random, row: Row
) -> bool:
    """Start the job and kill it within a share of the time that it took; False if it ended before."""
    seen = [number for number in range(len(job.phases)) if whole.duration(number) > 0]
    phase = seen[index // 2 % len(seen)] if index % 2 else 0
    delay = draw.uniform(0, share * (whole.duration(phase) if index % 2 else whole.seconds))
    row.killed = draw.choice(list(job.kills))
    log = place.log("killed")
    started, begun = job.start(place, log), time.monotonic()
    while started.poll() is None and job.reached(log, place) < phase:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    end = time.monotonic() + delay
    while started.poll() is None and time.monotonic() < end:
        time.sleep(min(SECONDS_BETWEEN_LOOKS, max(0.0, end - time.monotonic())))
    row.phase, row.after = job.phases[job.reached(log, place)][0], round(time.monotonic() - begun, 2)
    if started.poll() is not None:
        return False
    kill(started, row.killed)
    return started.wait() != 0


def observed(job: Job, place: Place) -> Outcome:
    """What the job has left in its place; ValueError if that cannot be read."""
    out, log = place.folder / "outcome.json", place.log("observe")
    out.unlink(missing_ok=True)
    if forked("observe", job.kind, out, folder=place.root, log=log).wait():
        raise ValueError(_last_line(log))
    found: Outcome = json.loads(out.read_text(encoding="utf-8"))
    return found


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "no output"
