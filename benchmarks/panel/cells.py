"""The panel's cells: a text set with all of its rows, and the large sets also with as few rows as many people have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from benchmarks.panel import parsers, sets
from benchmarks.panel.packages import PROJECT, Unavailable
from benchmarks.panel.sets import BY_NAME, PanelSet, without_small_classes
from headway.errors import HeadwayError
from headway.files import sha256_of_file, sha256_of_json

FOLDER = PROJECT / ".headway" / "panel"
#: Rows of a cell, at most.
MAX_ROWS = 25_000
#: Rows of the samples of large sets, and the rows from which a set is large.
SAMPLES, LARGE_ROWS = (500, 2_000, 8_000), 16_000
#: A sample is left out if classes with few rows take more than the other share of it.
MIN_KEPT_SHARE = 0.6
#: Cells with fewer rows have more of them in the validation and test splits.
SMALL_ROWS = 10_000
SMALL_SHARES = {"split.train": 0.6, "split.validation": 0.2, "split.test": 0.2}
SHARES = {"split.train": 0.8, "split.validation": 0.1, "split.test": 0.1}


@dataclass(frozen=True)
class Cell:
    """A text set with a number of rows.

    Attributes:
        set: that the rows are from.
        sampled: the number of rows of a sample; 0 for the whole set.
        frame: the rows, with the columns text and label.
    """

    set: PanelSet
    sampled: int
    frame: pd.DataFrame

    @property
    def name(self) -> str:
        """Name of the set, followed by the number of rows of a sample."""
        return f"{self.set.name}-{self.sampled}" if self.sampled else self.set.name

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.frame["label"].nunique())

    @property
    def is_small(self) -> bool:
        """Whether the cell has so few rows that more of them are held out."""
        return len(self.frame) < SMALL_ROWS

    @property
    def split(self) -> dict[str, Any]:
        """Shares of the splits, as params."""
        return SMALL_SHARES if self.is_small else SHARES

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the rows."""
        return sha256_of_json(self.frame[["text", "label"]].to_numpy().tolist())


def cells_of(panel_set: PanelSet, frame: pd.DataFrame) -> Iterator[Cell]:
    """The cells of a set, which has these rows in the order of a hash of the text, so that a sample contains the smaller ones."""
    samples = SAMPLES if len(frame) >= LARGE_ROWS else ()
    for rows in (*samples, 0):
        first = frame.iloc[: rows or MAX_ROWS]
        kept, _ = without_small_classes(first)
        if kept["label"].nunique() >= 2 and len(kept) >= MIN_KEPT_SHARE * len(first):
            yield Cell(panel_set, rows, kept)


def all_cells(panel_sets: Iterable[PanelSet]) -> tuple[list[Cell], dict[str, str]]:
    """The cells of the sets, those with the fewest rows first, and by set the reason why it cannot be had."""
    found: list[Cell] = []
    skipped: dict[str, str] = {}
    for panel_set in panel_sets:
        try:
            found += cells_of(panel_set, load(panel_set))
        except Unavailable as error:
            skipped[panel_set.name] = str(error)
    return sorted(found, key=lambda cell: len(cell.frame)), skipped


def chosen_cells(names: Sequence[str], most_rows: int = 0) -> tuple[list[Cell], dict[str, str]]:
    """The named cells, as :func:`all_cells` returns them. The name of a set stands for all of its cells.

    Args:
        names: of sets, or of cells such as imdb-2000; all cells if there are none.
        most_rows: rows of a cell, at most; 0 for any number.

    Raises:
        HeadwayError: nothing has such a name.
    """
    found, skipped = all_cells(_sets_of(names))
    is_named = {cell.name: not names or cell.name in names or cell.set.name in names for cell in found}
    return [cell for cell in found if is_named[cell.name] and len(cell.frame) <= (most_rows or MAX_ROWS)], skipped


def read_cells(console: Console, names: Sequence[str], most_rows: int = 0) -> tuple[list[Cell], dict[str, str]]:
    """What :func:`chosen_cells` returns, with a line for each set that is skipped."""
    with console.status("reading the text sets"):
        found, skipped = chosen_cells(names, most_rows)
    for name, reason in skipped.items():
        console.print(f"{name} is skipped: {reason}", soft_wrap=True, markup=False)
    return found, skipped


@contextmanager
def mistakes_in_one_line(console: Console) -> Iterator[None]:
    """Print a HeadwayError that the block raises, and exit with status 2."""
    try:
        yield
    except HeadwayError as error:
        console.print(f"bench: {error}", soft_wrap=True, markup=False)
        raise SystemExit(2) from None


def _sets_of(names: Sequence[str]) -> list[PanelSet]:
    """The sets whose name, or whose cell's name, is given; all sets if there are no names."""
    found = [one for one in BY_NAME.values() if any(name == one.name or _is_sample(name, one.name) for name in names)]
    unknown = [name for name in names if not any(name == one.name or _is_sample(name, one.name) for one in found)]
    if unknown:
        raise HeadwayError(f"no set or cell is named {', '.join(unknown)}; the sets are {', '.join(BY_NAME)}")
    return found or list(BY_NAME.values())


def _is_sample(cell: str, name: str) -> bool:
    return cell.startswith(f"{name}-") and cell.removeprefix(f"{name}-").isdigit()


def load(panel_set: PanelSet) -> pd.DataFrame:
    """The rows of a set, from a copy if one was made by the same code."""
    code = sha256_of_json([sha256_of_file(Path(module.__file__ or "")) for module in (parsers, sets)])
    path = FOLDER / "sets" / f"{panel_set.name}-{code[:12]}.parquet"
    if not path.exists():
        frame = panel_set.load()
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        frame.to_parquet(partial)
        partial.rename(path)
        for old in set(path.parent.glob(f"{panel_set.name}-????????????.parquet")) - {path}:
            old.unlink()
    return pd.read_parquet(path)
