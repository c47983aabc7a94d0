"""The command that lists likely label errors."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headway.cli.project import project
from headway.cli.streams import say
from headway.errors import HeadwayError

if TYPE_CHECKING:
    from headway.layout import Layout
    from headway.params import Params

app = typer.Typer()
PANEL = "Data"
NAME = "label_errors.csv"
#: Rows that are printed, and characters of each text.
SHOWN, CHARACTERS = 5, 100


@app.command(rich_help_panel=PANEL)
def label_errors(
    out: Annotated[str, typer.Option(help=f"CSV file to write; by default {NAME} in the project.")] = "",
    most: Annotated[int, typer.Option(min=1, help="Rows in the file, at most.")] = 500,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists and is not filled in.")] = False,
) -> None:
    """List rows whose label is probably wrong, with their texts, as a CSV file to fill in and as a page.

    Five linear baselines are fitted, so that each row of every split is checked by one that was fitted without it.
    """
    from headway.chosen_file import write_chosen
    from headway.data.text.excerpts import excerpt
    from headway.files import write_text
    from headway.label_errors import as_csv, find
    from headway.phrases import counted
    from headway.progress import ProgressLine
    from headway.reporting.formatting import share
    from headway.reporting.label_errors.page import render

    layout, params = project()
    file = Path(out) if out else layout.root / NAME
    _require_replaceable(file, force)
    with ProgressLine() as progress:
        found = find(params, layout, progress.note)
    listed = found.errors[:most]
    write_chosen(file, as_csv(listed), "list", force)
    page = layout.scratch / "label_errors.html"
    write_text(page, render(found))

    of_all = share(len(found.errors) / found.checked)
    say(f"{found.checked:,} rows checked; {counted(len(found.errors), 'label')} probably wrong ({of_all})")
    if found.unchecked:
        say(f"{counted(found.unchecked, 'row')} not checked: no other row has the same class")
    if found.reviewed:
        say(f"{counted(found.reviewed, 'row')} left out: data.corrections has their right label")
    for error in listed[:SHOWN]:
        text = excerpt(error.text, CHARACTERS)
        say(f"  {error.label} → {error.suggested_label} ({error.probability:.3f}, {error.split}): {text}")
    say(f"list: {os.path.relpath(file)}, {counted(len(listed), 'row')}")
    say(f"page: {os.path.relpath(page)}")
    if listed:
        say(f"fill in right_label where a label is wrong or has been checked, {_next_step(file, params, layout)}")


def _next_step(file: Path, params: Params, layout: Layout) -> str:
    """What to do with a list that is filled in; a list in data/corrections, a dependency of ingest, makes it run again."""
    folder, path = layout.corrections.resolve(), file.resolve()
    if not path.is_relative_to(folder):
        pattern = '"*.csv"' if params.data.corrections else file.name
        return f"move the list into data/corrections, and set data.corrections to {pattern}"
    name = path.relative_to(folder).as_posix()
    pattern = name if not params.data.corrections else '"**/*.csv"' if "/" in name else '"*.csv"'
    return f"and set data.corrections to {pattern}; data/corrections has changed, so ingest will run again"


def _require_replaceable(file: Path, force: bool) -> None:
    """Refuse a file that cannot be written, that is not named as CSV, or that somebody has begun to fill in."""
    from headway.chosen_file import require_writable
    from headway.data.corrections import read_lists

    if file.suffix.lower() != ".csv":
        raise HeadwayError(f"{file}: cannot write the list: expected a name that ends in .csv; name another file with --out")
    require_writable(file, "list", force)
    if file.exists():
        filled = len(read_lists([file]).right_labels)
        if filled:
            raise HeadwayError(
                f"{file}: cannot write the list: right labels are filled in there ({filled:,}); name another file with --out"
            )
