"""How the data stages grow with the rows (time, memory, disk, exponent of growth), what `prepare` gains from workers, what
training and scoring take per million tokens, and how often `ingest` reads a source's bytes.

`make bench-data` runs it. The rows are made of sentences of the shipped reviews, put together at random to about 200 words
each; a tenth of them are near-duplicates of others. The encoding speed is measured on the reviews themselves.
"""

from __future__ import annotations

import argparse
import math
import shutil
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from benchmarks import spread, training_cost
from benchmarks.made_rows import WORDS, convert, sentences_of, write_rows
from benchmarks.stage_costs import MB, measure, run_python
from benchmarks.targets import Target, print_targets
from headway import environment
from headway.data.text.splits import text_id
from headway.data.tokenization import encoded, fitting
from headway.data.tokenization.tokenizer import TextEncoder
from headway.layout import Layout
from headway.params import load
from headway.stages.tokenize import SplitTexts, encode_rows

#: The command of each stage. prepare has one process; the time with more is measured apart.
STAGES = {"ingest": "ingest", "prepare": "prepare --workers 1", "tokenize": "tokenize"}
FEW = 100  # rows, which take no time compared with a stage's start
PASSES = 3  # of which the fastest counts, because others use the machine too
SHORTEST = 1.0  # seconds; growth from a shorter time is mostly noise
ENCODED, GROWTH, MEMORY = 5_000, 1.1, 1_500  # targets: reviews per second at least, exponent and MB at most
KINDS = ("csv", "csv.gz", "jsonl", "parquet")
READ_ONCE, READ_TWICE = 1.02, 2.02  # targets: bytes read per byte of the source; Parquet is hashed apart from its columns
PROJECT = Path(__file__).resolve().parents[1]
# Ingests two files, and prints the bytes that were read for the second (Linux); the first loads all modules.
READ = """
import re, sys
from pathlib import Path
from headway.layout import Layout
from headway.params import load
from headway.stages.ingest import ingest
layout = Layout(Path.cwd())
for name in sys.argv[1:]:
    params = load(layout.params).override({"data.source": "file", "data.path": name})
    before = int(re.search(r"rchar: (\\d+)", Path("/proc/self/io").read_text())[1])
    ingest(params, layout)
    after = int(re.search(r"rchar: (\\d+)", Path("/proc/self/io").read_text())[1])
print(after - before)
"""


def main() -> None:
    """Print the tables, and the targets with whether they are met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--spread-rows", type=int, default=100_000, help="rows that prepare spreads over workers; 0: none")
    parser.add_argument("--train-rows", type=int, nargs="*", default=[10_000, 20_000], help="rows that are trained on")
    arguments = parser.parse_args()
    environment.configure()
    console = Console(width=110)  # of the widest table, wherever it is printed to
    with tempfile.TemporaryDirectory() as folder:
        layout = new_project(Path(folder))
        console.print("Reading the shipped reviews")
        reviews = shipped_reviews(layout)
        console.print(f"Encoding {len(reviews):,} of them")
        encoded_per_second = encoding_speed(reviews, layout)
        sentences = sentences_of(reviews)
        console.print("Counting the bytes read by ingest")
        reads = {kind: bytes_read_per_byte(kind, layout, sentences, min(arguments.rows)) for kind in KINDS}
        console.print(_reads_table(reads))
        taken, peaks = stage_costs(console, layout, sentences, arguments.rows)
        if arguments.spread_rows:
            spread.compare(console, layout, sentences, arguments.spread_rows)
        if arguments.train_rows:
            training_cost.measure_stages(console, layout, sentences, arguments.train_rows)
    print_targets(console, targets(encoded_per_second, taken, peaks, reads))


def stage_costs(
    console: Console, layout: Layout, sentences: list[str], sizes: list[int]
) -> tuple[dict[str, list[tuple[int, float]]], dict[str, float]]:
    """Print a table with what each stage takes at each size. Returns, by stage, rows and seconds of each size, and the MB of
    memory at the last one.
    """
    columns = ("stage", "rows", "seconds", "rows/s", "CPU s", "peak MB", "disk MB", "peak disk MB", "growth")
    table = Table(*columns, title=f"Data stages, ~{WORDS} words a row")
    for column in table.columns[1:]:
        column.justify = "right"
    console.print(f"Timing start-up, on {FEW:,} rows")
    write_rows(layout.root / "rows.csv", sentences, FEW)
    runs = [{stage: measure(command, layout).seconds for stage, command in STAGES.items()} for _ in range(PASSES)]
    start_up = {stage: min(run[stage] for run in runs) for stage in STAGES}
    taken: dict[str, list[tuple[int, float]]] = {stage: [] for stage in STAGES}
    peaks = dict.fromkeys(STAGES, 0.0)
    for rows in sizes:
        source = layout.root / "rows.csv"
        console.print(f"Making {rows:,} rows")
        write_rows(source, sentences, rows)
        console.print(f"{source.stat().st_size / MB:,.0f} MB")
        shutil.rmtree(layout.root / "data")
        for stage, command in STAGES.items():
            console.print(f"{stage}, {rows:,} rows")
            cost = measure(command, layout)
            seconds, peaks[stage] = max(cost.seconds - start_up[stage], 0.01), cost.memory
            grown = growth(taken[stage][-1], (rows, seconds)) if taken[stage] else ""
            numbers = (f"{value:,.0f}" for value in (rows / seconds, cost.cpu, cost.memory, cost.disk, cost.peak_disk))
            table.add_row(stage, f"{rows:,}", f"{seconds:.1f}", *numbers, grown)
            console.print(cost)
            taken[stage].append((rows, seconds))
        table.add_section()
    console.print(table)
    shown = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in start_up.items())
    console.print("CPU s: computed on all cores together, which other users of the machine change little")
    console.print(f"seconds: minus those that a stage takes for {FEW:,} rows ({shown})")
    console.print("disk: what the stage leaves, and what it needs meanwhile; growth: exponent of time in rows, 1 is linear")
    return taken, peaks


def targets(
    encoded_per_second: float, taken: dict[str, list[tuple[int, float]]], peaks: dict[str, float], reads: dict[str, float]
) -> list[Target]:
    """Each target with the measured value, and whether it is met.

    Args:
        encoded_per_second: IMDB reviews.
        taken: by stage, rows and seconds of each size.
        peaks: by stage, MB at the last size.
        reads: by kind of file, bytes read per byte of the source.
    """
    rows = taken["ingest"][-1][0]
    speed = f"IMDB reviews encoded: {encoded_per_second:,.0f} per second, target {ENCODED:,}"
    found = [(speed, encoded_per_second >= ENCODED)]
    for stage, sizes in taken.items():
        first = next((size for size in sizes[:-1] if size[1] >= SHORTEST), None)
        if first:  # else every run but the last was too short
            value = growth(first, sizes[-1])
            text = f"growth of {stage} from {first[0]:,} rows to {rows:,}: {value}, target {GROWTH}"
            found.append((text, float(value) <= GROWTH))
    for stage, peak in peaks.items():
        found.append((f"peak memory of {stage} at {rows:,} rows: {peak:,.0f} MB, target {MEMORY:,}", peak <= MEMORY))
    for kind, count in reads.items():
        most = READ_TWICE if kind == "parquet" else READ_ONCE
        found.append((f"bytes read per byte of a .{kind} source: {count:.2f}, target {most}", count <= most))
    return found


def bytes_read_per_byte(kind: str, layout: Layout, sentences: list[str], rows: int) -> float:
    """How many bytes `ingest` reads per byte of a file."""
    for name, count in (("few", FEW), ("many", rows)):
        write_rows(layout.root / "rows.csv", sentences, count)
        convert(layout.root / "rows.csv", layout.root / f"{name}.{kind}")
    done = run_python(READ, layout, f"few.{kind}", f"many.{kind}")
    return int(done.split()[-1]) / (layout.root / f"many.{kind}").stat().st_size


def _reads_table(reads: dict[str, float]) -> Table:
    table = Table("source", "bytes read per byte", title="Reads of ingest")
    for kind, count in reads.items():
        table.add_row(f".{kind}", f"{count:.2f}")
    return table


def new_project(root: Path) -> Layout:
    """A project of the benchmark's own, whose source is the shipped reviews."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(PROJECT / name, root)
    return Layout(root)


def shipped_reviews(layout: Layout) -> list[str]:
    """All shipped IMDB reviews; afterwards, the project's source is a file."""
    measure("ingest", layout)
    texts: list[str] = pq.read_table(layout.raw / "rows.parquet", columns=["text"])["text"].to_pylist()
    params = layout.params.read_text(encoding="utf-8")
    params = params.replace("source: package", "source: file").replace("path: data/input", "path: rows.csv")
    layout.params.write_text(params, encoding="utf-8")
    return texts


def encoding_speed(reviews: list[str], layout: Layout) -> float:
    """Reviews per second that are encoded and written as in the stage tokenize, without fitting the tokenizer."""
    knobs = load(layout.params).tokenizer
    path = layout.root / "reviews.parquet"
    columns = {"id": [text_id(text) for text in reviews], "text": pa.array(reviews, pa.large_string())}
    pq.write_table(pa.table(columns), path)
    texts = SplitTexts(path)
    fitted = fitting.fit(texts, knobs, fitting.measure(texts))
    encoder = TextEncoder(fitted, knobs.max_length)
    seconds = []
    for _ in range(PASSES):
        started = time.monotonic()
        encoded.write(layout.root / "reviews.arrow", encode_rows(path, encoder))
        seconds.append(time.monotonic() - started)
    return len(reviews) / min(seconds)


def growth(before: tuple[int, float], now: tuple[int, float]) -> str:
    """The exponent with which time grows with rows between two sizes; "" if the first time is too short."""
    if before[1] < SHORTEST:
        return ""
    return f"{math.log(now[1] / before[1]) / math.log(now[0] / before[0]):.2f}"


if __name__ == "__main__":
    main()
