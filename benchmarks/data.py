"""How the data stages grow with the rows: time, peak memory and the exponent of growth. `make bench-data` runs it.

The rows are made of sentences of the shipped reviews, put together anew at random to about two hundred words each; a tenth
of them are near twins of others. How fast texts are encoded is measured on the reviews themselves.
"""

from __future__ import annotations

import argparse
import csv
import math
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from benchmarks.targets import Target, print_targets
from headway import environment
from headway.data.text.splits import text_id
from headway.data.tokenization import encoded, fitting
from headway.data.tokenization.tokenizer import TextEncoder
from headway.layout import Layout
from headway.params import load
from headway.stages.tokenize import Texts, encode_rows

STAGES = ("ingest", "prepare", "tokenize")
WORDS = 200
TWINS, CHANGED, REMEMBERED = 0.1, 3, 1_000  # share of near twins; words that differ; earlier rows that they may be of
FEW = 100  # rows that take no time beside a stage's start
PASSES = 3  # of which the fastest counts: others compute here, too
SHORTEST = 1.0  # seconds; how what is shorter grows cannot be told from noise
ENCODED, GROWTH, MEMORY = 5_000, 1.1, 1_500  # reviews a second at least, exponent and MB at most
PROJECT = Path(__file__).resolve().parents[1]
# Runs a stage in a process of its own, and tells how much memory that took at most, mapped files included (Linux).
RUN = """
import re, sys
from pathlib import Path
from headway import cli
sys.argv = ["headway", sys.argv[1]]
try:
    cli.main()
except SystemExit as end:
    assert not end.code, end.code
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def main() -> None:
    """Print the table, and the targets with whether they are met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    arguments = parser.parse_args()
    environment.configure()
    console = Console()
    table = Table("stage", "rows", "seconds", "rows/s", "peak MB", "growth", title=f"Data stages, ~{WORDS} words a row")
    for column in table.columns[1:]:
        column.justify = "right"
    with tempfile.TemporaryDirectory() as folder:
        layout = new_project(Path(folder))
        console.print("Reading the shipped reviews")
        reviews = shipped_reviews(layout)
        console.print(f"Encoding {len(reviews):,} of them")
        encoded_a_second = encoding_speed(reviews, layout)
        sentences = sentences_of(reviews)
        console.print(f"Timing start-up, on {FEW:,} rows")
        write_rows(layout.root / "rows.csv", sentences, FEW)
        runs = [{stage: measure(stage, layout)[0] for stage in STAGES} for _ in range(PASSES)]
        start_up = {stage: min(run[stage] for run in runs) for stage in STAGES}
        taken: dict[str, list[tuple[int, float]]] = {stage: [] for stage in STAGES}
        peaks = dict.fromkeys(STAGES, 0.0)
        for rows in arguments.rows:
            console.print(f"Making {rows:,} rows")
            write_rows(layout.root / "rows.csv", sentences, rows)
            for stage in STAGES:
                console.print(f"{stage}, {rows:,} rows")
                whole, peaks[stage] = measure(stage, layout)
                seconds = max(whole - start_up[stage], 0.01)
                grown = growth(taken[stage][-1], (rows, seconds)) if taken[stage] else ""
                table.add_row(stage, f"{rows:,}", f"{seconds:.1f}", f"{rows / seconds:,.0f}", f"{peaks[stage]:,.0f}", grown)
                taken[stage].append((rows, seconds))
            table.add_section()
    console.print(table)
    told = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in start_up.items())
    console.print(f"seconds: without those that a stage takes for {FEW:,} rows ({told})")
    console.print("growth: the exponent of time in rows since the size before; 1 is linear")
    print_targets(console, targets(encoded_a_second, taken, peaks))


def targets(encoded_a_second: float, taken: dict[str, list[tuple[int, float]]], peaks: dict[str, float]) -> list[Target]:
    """Each target, with what was measured and whether that meets it.

    Args:
        encoded_a_second: IMDB reviews.
        taken: by stage, rows and seconds of each size.
        peaks: by stage, MB at the last size.
    """
    rows = taken[STAGES[0]][-1][0]
    told = [(f"IMDB reviews encoded: {encoded_a_second:,.0f} a second, target {ENCODED:,}", encoded_a_second >= ENCODED)]
    for stage, sizes in taken.items():
        first = next((size for size in sizes[:-1] if size[1] >= SHORTEST), None)
        if first:  # else every run but the last was too short to tell
            value = growth(first, sizes[-1])
            told.append(
                (f"growth of {stage} from {first[0]:,} rows to {rows:,}: {value}, target {GROWTH}", float(value) <= GROWTH)
            )
    return told + [
        (f"peak memory of {stage} at {rows:,} rows: {peak:,.0f} MB, target {MEMORY:,}", peak <= MEMORY)
        for stage, peak in peaks.items()
    ]


def new_project(root: Path) -> Layout:
    """A project of the benchmark's own, whose source is the shipped reviews."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(PROJECT / name, root)
    return Layout(root)


def shipped_reviews(layout: Layout) -> list[str]:
    """All shipped IMDB reviews; the project's source is a file from now on."""
    measure("ingest", layout)
    texts: list[str] = pq.read_table(layout.raw / "rows.parquet", columns=["text"])["text"].to_pylist()
    params = layout.params.read_text(encoding="utf-8")
    params = params.replace("source: package", "source: file").replace("path: data/input", "path: rows.csv")
    layout.params.write_text(params, encoding="utf-8")
    return texts


def encoding_speed(reviews: list[str], layout: Layout) -> float:
    """Reviews a second that are encoded and written as the stage tokenize does it, once the tokenizer is fitted."""
    knobs = load(layout.params).tokenizer
    path = layout.root / "reviews.parquet"
    columns = {"id": [text_id(text) for text in reviews], "text": pa.array(reviews, pa.large_string())}
    pq.write_table(pa.table(columns), path)
    texts = Texts(path)
    fitted = fitting.fit(texts, knobs, fitting.survey(texts))
    encoder = TextEncoder(fitted, knobs.max_length)
    seconds = []
    for _ in range(PASSES):
        started = time.monotonic()
        encoded.write(layout.root / "reviews.arrow", encode_rows(path, encoder))
        seconds.append(time.monotonic() - started)
    return len(reviews) / min(seconds)


def sentences_of(reviews: list[str]) -> list[str]:
    """The reviews' sentences, one after another."""
    return [part for text in reviews for part in re.split(r"(?<=[.!?])\s+", text.replace("<br />", " ")) if part]


def write_rows(path: Path, sentences: list[str], rows: int) -> None:
    """A CSV of so many rows, some of which are near twins of earlier ones: a few words in them are others."""
    draw = random.Random(rows)
    earlier: list[list[str]] = []
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for number in range(rows):
            words: list[str] = []
            if earlier and draw.random() < TWINS:
                words = list(draw.choice(earlier))
                for _ in range(CHANGED):
                    words[draw.randrange(len(words))] = draw.choice(draw.choice(sentences).split() or ["and"])
            while len(words) < WORDS:
                words += sentences[draw.randrange(len(sentences))].split()
            if len(earlier) < REMEMBERED:
                earlier.append(words)
            else:
                earlier[draw.randrange(REMEMBERED)] = words
            writer.writerow([" ".join(words), ("negative", "positive")[number % 2]])


def measure(stage: str, layout: Layout) -> tuple[float, float]:
    """Seconds and peak memory in MB of a stage."""
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", RUN, stage], cwd=layout.root, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    if done.returncode:
        sys.exit(f"{stage} failed: {done.stderr[-2000:]}")
    return seconds, int(done.stdout.split()[-1]) / 1024


def growth(before: tuple[int, float], now: tuple[int, float]) -> str:
    """The exponent with which time grows with rows between two sizes; "" where the first took too short a time to tell."""
    if before[1] < SHORTEST:
        return ""
    return f"{math.log(now[1] / before[1]) / math.log(now[0] / before[0]):.2f}"


if __name__ == "__main__":
    main()
