"""What training and scoring take per million tokens, from two runs of different sizes."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from benchmarks.made_rows import write_rows
from benchmarks.stage_costs import Cost, measure
from headway.files import read_json, write_json
from headway.layout import Layout

STAGES = ("train", "evaluate")
#: So that an epoch costs the same at each size. By default the schedule has fewer epochs for more tokens.
ONE_EPOCH = {"max_epochs: auto            # Passes": "max_epochs: 1               # Passes"}


@dataclass(frozen=True)
class Run:
    """The cost of a stage on some rows, and the million tokens that it read."""

    tokens: float
    cost: Cost


def measure_stages(console: Console, layout: Layout, sentences: list[str], sizes: list[int]) -> None:
    """Print the costs at each size, and what follows from the first and the last for a million tokens more."""
    text = layout.params.read_text(encoding="utf-8")
    for before, after in ONE_EPOCH.items():
        assert before in text
        text = text.replace(before, after)
    layout.params.write_text(text, encoding="utf-8")
    runs: dict[str, list[Run]] = {stage: [] for stage in STAGES}
    table = Table("stage", "rows", "million tokens", "seconds", "CPU s", "peak MB", title="Training (one epoch) and scoring")
    for column in table.columns[1:]:
        column.justify = "right"
    for rows in sizes:
        write_rows(layout.root / "rows.csv", sentences, rows)
        shutil.rmtree(layout.root / "data")
        for stage in ("ingest", "prepare", "tokenize"):
            measure(stage, layout)
        write_json(layout.study / "best_params.json", {})
        for stage, split in zip(STAGES, ("train", "test"), strict=True):
            console.print(f"{stage}, {rows:,} rows")
            found = read_json(layout.metrics("tokens"), made_by="tokenize")["splits"][split]
            run = Run(found["tokens"] / 1e6, measure(stage, layout))
            runs[stage].append(run)
            numbers = f"{run.tokens:.2f}", f"{run.cost.seconds:.1f}", f"{run.cost.cpu:.1f}", f"{run.cost.memory:,.0f}"
            table.add_row(stage, f"{found['rows']:,}", *numbers)
    console.print(table)
    for stage, found in runs.items():
        first, last = found[0], found[-1]
        if last.tokens > first.tokens:
            more = last.tokens - first.tokens
            grown = (
                f"{(getattr(last.cost, name) - getattr(first.cost, name)) / more:,.1f} {unit}"
                for name, unit in (("seconds", "s"), ("cpu", "CPU s"), ("memory", "MB"))
            )
            console.print(f"{stage}, for a million tokens more: {', '.join(grown)} (to extrapolate from)")
