"""Headway on many real text sets: the linear baseline, the n-grams, the attention part and the joint model on the same rows.

``make bench-panel`` measures each small cell with three seeds, each other one with one, and writes ``benchmarks/panel.md``.
Finished measurements are kept in ``.headway/panel`` by code and params, so that an interrupted run continues, and a part of the
panel can be measured first.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.panel.cells import SMALL_ROWS, Cell, mistakes_in_one_line, read_cells
from benchmarks.panel.measurement import BASELINE, MODELS, Measurement, params_of
from benchmarks.panel.packages import PROJECT
from benchmarks.panel.report import Row, markdown, points, targets
from benchmarks.shipped import PLAIN
from benchmarks.targets import print_targets
from headway import params as parameters
from headway.errors import HeadwayError

#: Seeds of a small cell, and of a large one, whose many test rows make one seed enough.
SEEDS, LARGE_SEEDS = 3, 1
PAGE = PROJECT / "benchmarks" / "panel.md"


def main() -> None:
    """Measure the cells, those with the fewest rows first; print a line for each, and the targets."""
    arguments = _arguments()
    console = Console(width=max(130, Console().width))
    with mistakes_in_one_line(console):
        run(arguments, console)


def run(arguments: argparse.Namespace, console: Console) -> None:
    """Measure what the arguments name and write the page."""
    parameters.load(PROJECT / "params.yaml").override({**PLAIN, **arguments.override})  # a mistake is reported at once
    cells, skipped = read_cells(console, arguments.only, arguments.rows)
    if not cells:
        raise HeadwayError("no cell is left to measure; name others with --only, or allow more --rows")
    rows = measure(cells, arguments.seeds, arguments.override, console)
    print_targets(console, targets(rows))
    is_whole = not (arguments.only or arguments.rows or arguments.override or arguments.seeds)
    page = arguments.out or (PAGE if is_whole else None)
    if page:
        values = ", ".join(f"`{name}: {value}`" for name, value in arguments.override.items())
        notes = [f"With {values}."] if values else []
        notes += [f"Cells with more than {arguments.rows:,} rows are left out."] if arguments.rows else []
        page.write_text(markdown(rows, skipped, notes), encoding="utf-8")
        console.print(f"\nThe tables are in {os.path.relpath(page)}.", highlight=False)


def measure(cells: Sequence[Cell], seeds: int, overrides: dict[str, Any], console: Console) -> list[Row]:
    """The results of all cells, each with a number of seeds (0: as in the whole run); each is printed when it is finished."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    rows = []
    with Progress(*columns, console=console) as progress:
        wanted = {cell.name: seeds or (SEEDS if cell.is_small else LARGE_SEEDS) for cell in cells}
        task = progress.add_task("", total=sum(wanted.values()))
        for cell in cells:
            results = []
            for seed in range(1, wanted[cell.name] + 1):
                progress.update(task, description=f"{cell.name}, seed {seed} of {wanted[cell.name]}")
                results.append(Measurement(cell, seed, params_of(cell, seed, overrides)).result())
                progress.advance(task)
            rows.append(Row(cell, results))
            progress.print(_line(rows[-1]), highlight=False)
    return rows


def _line(row: Row) -> str:
    """A line about a measured cell."""
    scores = "  ".join(f"{name} {100 * row.score(name):5.1f}" for name in MODELS)
    gain, rows = points(100 * row.gain(BASELINE).value), f"{len(row.cell.frame):,} rows"
    return f"{row.cell.name:20} {rows:>11}  {scores}  gain {gain}  weight {row.weight:.2f}  {row.training_seconds:.0f} s"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="sets, or cells such as imdb-2000")
    parser.add_argument("--rows", type=int, default=0, help="leave out cells with more rows")
    parser.add_argument(
        "--seeds",
        type=int,
        default=0,
        help=f"splits and trainings of each cell (0: {SEEDS}, or {LARGE_SEEDS} for cells with {SMALL_ROWS:,} rows or more)",
    )
    parser.add_argument(
        "--override",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="values instead of those in params.yaml, such as training.max_epochs=8",
    )
    parser.add_argument("--out", type=Path, help=f"file for the tables; a whole run writes {PAGE.name}")
    arguments = parser.parse_args()
    if arguments.seeds < 0:
        parser.error("--seeds: expected 0 or more")
    for word in arguments.override:
        if "=" not in word:
            parser.error(f"--override {word}: expected KEY=VALUE, such as training.max_epochs=8")
    arguments.override = {
        key: yaml.safe_load(value) for key, _, value in (word.partition("=") for word in arguments.override)
    }
    return arguments


if __name__ == "__main__":
    main()
