"""How the data stages grow with the rows: time, peak memory and the exponent of growth. `make bench-data` runs it.

The rows are made of sentences of the shipped reviews, put together anew at random to about two hundred words each.
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

import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from headway.layout import Layout

STAGES = ("ingest", "prepare", "tokenize")
WORDS = 200
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
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    arguments = parser.parse_args()
    console = Console()
    table = Table("stage", "rows", "seconds", "rows/s", "peak MB", "growth", title=f"Data stages, ~{WORDS} words a row")
    for column in table.columns[1:]:
        column.justify = "right"
    with tempfile.TemporaryDirectory() as folder:
        layout = new_project(Path(folder))
        console.print("Reading the shipped reviews")
        sentences = shipped_sentences(layout)
        last: dict[str, tuple[int, float]] = {}
        for rows in arguments.rows:
            console.print(f"Making {rows:,} rows")
            write_rows(layout.root / "rows.csv", sentences, rows)
            for stage in STAGES:
                console.print(f"{stage}, {rows:,} rows")
                seconds, peak = measure(stage, layout)
                growth = exponent(last.get(stage), (rows, seconds))
                table.add_row(stage, f"{rows:,}", f"{seconds:.1f}", f"{rows / seconds:,.0f}", f"{peak:,.0f}", growth)
                last[stage] = rows, seconds
            table.add_section()
    console.print(table)
    console.print("growth: the exponent of time in rows since the size before; 1 is linear")


def new_project(root: Path) -> Layout:
    """A project of the benchmark's own, whose source is the shipped reviews."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(PROJECT / name, root)
    return Layout(root)


def shipped_sentences(layout: Layout) -> list[str]:
    """All sentences of the shipped IMDB reviews; the project's source is a file from now on."""
    measure("ingest", layout)
    texts = pq.read_table(layout.raw / "rows.parquet", columns=["text"])["text"].to_pylist()
    params = layout.params.read_text(encoding="utf-8")
    params = params.replace("source: package", "source: file").replace("path: data/input", "path: rows.csv")
    layout.params.write_text(params, encoding="utf-8")
    return [sentence for text in texts for sentence in re.split(r"(?<=[.!?])\s+", text.replace("<br />", " ")) if sentence]


def write_rows(path: Path, sentences: list[str], rows: int) -> None:
    """A CSV of so many rows."""
    draw = random.Random(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for number in range(rows):
            words: list[str] = []
            while len(words) < WORDS:
                words += sentences[draw.randrange(len(sentences))].split()
            writer.writerow([" ".join(words), ("negative", "positive")[number % 2]])


def measure(stage: str, layout: Layout) -> tuple[float, float]:
    """Seconds and peak memory in MB of a stage."""
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", RUN, stage], cwd=layout.root, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    if done.returncode:
        sys.exit(f"{stage} failed: {done.stderr[-2000:]}")
    return seconds, int(done.stdout.split()[-1]) / 1024


def exponent(before: tuple[int, float] | None, now: tuple[int, float]) -> str:
    """How time grows with rows between two sizes."""
    if before is None:
        return ""
    return f"{math.log(now[1] / before[1]) / math.log(now[0] / before[0]):.2f}"


if __name__ == "__main__":
    main()
