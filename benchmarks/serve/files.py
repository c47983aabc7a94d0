"""How fast files are labelled, compared with ``predict_proba`` in one process, and how much memory that takes.

Speeds are rows per second after the start-up, which is the time that the same command takes for a few rows. Every contestant is
a process of its own, and they take turns.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.rounds import print_table
from benchmarks.serve.memory import megabytes
from benchmarks.serve.model import Subject
from benchmarks.serve.rows import write_rows
from benchmarks.shipped import PROJECT
from benchmarks.targets import Target
from headway.layout import Layout
from headway.phrases import counted

#: Rows whose labelling takes no time compared with the start-up.
FEW = 100
#: Targets: share of the speed of ``predict_proba`` on two cores, times as fast with two workers as with one, growth of memory.
SHARE, TWO_WORKERS, FLAT = 0.9, 1.7, 1.1
ROWS_OF_SPEED = {"reviews": 10_000, "sentences": 200_000}
NUMBERS = (1, 2)  # of workers, and of the threads of predict_proba
#: Classifies the texts of a CSV in one call with some threads, and prints the seconds of the call.
CALL = """
import csv, sys, time
from pathlib import Path
import torch
from headway.serving.package import ModelPackage
torch.set_num_threads(int(sys.argv[3]))
texts = [row["text"] for row in csv.DictReader(open(sys.argv[2], encoding="utf-8", newline=""))]
model = ModelPackage.load(Path(sys.argv[1]))
model.predict_proba(texts[:100])
started = time.perf_counter()
model.predict_proba(texts)
print(time.perf_counter() - started)
"""


class Labelled(NamedTuple):
    """What labelling a file took: seconds, and the most memory of all its processes together, in MB."""

    seconds: float
    megabytes: float


def measure(subject: Subject, folder: Path, rounds: int, sizes: Sequence[int], console: Console) -> list[Target]:
    """Print a table of speeds and one of memory.

    Args:
        folder: empty, for a project and its files.
        rounds: of the comparison of speeds.
        sizes: rows of the files of sentences whose memory is compared.
    """
    layout = new_project(folder, subject.models[0])
    targets = []
    for name, texts in (("reviews", subject.reviews), ("sentences", subject.sentences)):
        rows = ROWS_OF_SPEED[name]
        console.print(f"Labelling {rows:,} {name}, {rounds} rounds")
        write_rows(layout.root / "rows.csv", texts, rows)
        write_rows(layout.root / "few.csv", texts, FEW)
        speeds = _speeds(layout, rows, rounds)
        targets += _report_speeds(name, rows, speeds, console)
    return [*targets, *_memory(layout, subject, sizes, console)]


def new_project(folder: Path, package: Path) -> Layout:
    """A project whose candidate is a package."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(PROJECT / name, folder)
    layout = Layout(folder)
    shutil.copytree(package, layout.candidate)
    return layout


def label(layout: Layout, file: str, workers: int) -> Labelled:
    """Run the command on a file of the project."""
    command = [sys.executable, "-m", "headway.cli", "predict", file, "--out", "labels.csv"]
    options = ["--candidate", "--restart", "--workers", str(workers)]
    started = time.perf_counter()
    with subprocess.Popen(
        [*command, *options], cwd=layout.root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        highest = 0.0
        while process.poll() is None:
            highest = max(highest, megabytes(process.pid))
            time.sleep(0.1)
        seconds = time.perf_counter() - started
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed")
    return Labelled(seconds, highest)


def _speeds(layout: Layout, rows: int, rounds: int) -> dict[str, list[float]]:
    """Rows per second of each contestant by round."""
    found: dict[str, list[float]] = {contestant(number): [] for contestant in (_direct, _command) for number in NUMBERS}
    for _ in range(rounds):
        for number in NUMBERS:
            call = [sys.executable, "-c", CALL, str(layout.candidate), str(layout.root / "rows.csv"), str(number)]
            done = subprocess.run(call, capture_output=True, text=True, check=True)
            found[_direct(number)].append(rows / float(done.stdout))
            start_up = label(layout, "few.csv", number).seconds
            seconds = label(layout, "rows.csv", number).seconds
            found[_command(number)].append((rows - FEW) / (seconds - start_up))
    return found


def _direct(threads: int) -> str:
    return f"predict_proba, {counted(threads, 'thread')}"


def _command(workers: int) -> str:
    return f"headway predict, {counted(workers, 'worker')}"


def _times(one: list[float], other: list[float]) -> float:
    """How many times as fast one contestant is as another: the median of the rounds."""
    return statistics.median(first / second for first, second in zip(one, other, strict=True))


def _report_speeds(name: str, rows: int, speeds: dict[str, list[float]], console: Console) -> list[Target]:
    first = next(iter(speeds))
    table = Table(name, "rows/s", "lowest", "highest", "times the first", title=f"{rows:,} {name}")
    for contestant, found in speeds.items():
        values = (statistics.median(found), min(found), max(found))
        table.add_row(contestant, *(f"{value:,.0f}" for value in values), f"{_times(found, speeds[first]):.2f}")
    print_table(console, table)
    share = _times(speeds[_command(2)], speeds[_direct(2)])
    gain = _times(speeds[_command(2)], speeds[_command(1)])
    return [
        (f"{name}: two workers label at {share:.2f} times the speed of predict_proba, target {SHARE}", share >= SHARE),
        (f"{name}: two workers are {gain:.2f} times as fast as one, target {TWO_WORKERS}", gain >= TWO_WORKERS),
    ]


def _memory(layout: Layout, subject: Subject, sizes: Sequence[int], console: Console) -> list[Target]:
    table = Table("sentences", "seconds", "rows/s", "peak MB", title="Files of sentences, two workers")
    peaks = []
    for rows in sizes:
        console.print(f"Labelling {rows:,} sentences")
        write_rows(layout.root / "rows.csv", subject.sentences, rows)
        found = label(layout, "rows.csv", 2)
        peaks.append(found.megabytes)
        table.add_row(f"{rows:,}", f"{found.seconds:.1f}", f"{rows / found.seconds:,.0f}", f"{found.megabytes:,.0f}")
    print_table(console, table)
    ratio = peaks[-1] / peaks[0]
    words = f"peak memory for {sizes[-1]:,} rows is {ratio:.2f} times that for {sizes[0]:,}, target at most {FLAT}"
    return [(words, ratio <= FLAT)]
