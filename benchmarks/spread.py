"""What the stage `prepare` gains from more workers: processes of this machine, and a Ray cluster on it."""

from __future__ import annotations

import shutil
import sys

from rich.console import Console
from rich.table import Table

from benchmarks.made_rows import write_rows
from benchmarks.stage_costs import measure
from headway.files import sha256_of_file
from headway.layout import Layout

WAYS = {
    "one process": "prepare --workers 1",
    "two processes": "prepare --workers 2",
    "Ray, one worker": "prepare --workers 1 --executor ray",
    "Ray, two workers": "prepare --workers 2 --executor ray",
}


def compare(console: Console, layout: Layout, sentences: list[str], rows: int) -> None:
    """Print the seconds of each way on the same rows. Ends the benchmark if the ways do not write the same bytes."""
    write_rows(layout.root / "rows.csv", sentences, rows)
    shutil.rmtree(layout.root / "data")
    measure("ingest", layout)
    columns = ("prepare", "seconds", "its own CPU s", "workers' CPU s", "peak MB", "a worker's MB")
    table = Table(*columns, title=f"{rows:,} rows, start included")
    for column in table.columns[1:]:
        column.justify = "right"
    written = ""
    for name, command in WAYS.items():
        console.print(f"prepare, {name}")
        cost = measure(command, layout)
        found = " ".join(sha256_of_file(path) for path in sorted(layout.prepared.iterdir()))
        written = written or found
        if found != written:
            sys.exit(f"prepare writes other bytes with {name}")
        workers = (f"{cost.worker_cpu:.1f}", f"{cost.worker_memory:,.0f}") if "processes" in name else ("", "")
        own = f"{cost.seconds:.1f}", f"{cost.cpu:.1f}", f"{cost.memory:,.0f}"
        table.add_row(name, *own[:2], workers[0], own[2], workers[1])
    console.print(table)
