"""Commands about data: set a project up for your own file, compare two versions of the data."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

app = typer.Typer()
PANEL = "Data"
versions = typer.Typer(help="Compare versions of the data.", no_args_is_help=True)
app.add_typer(versions, name="data", rich_help_panel=PANEL)

MOST_LABELS = 20


@app.command(rich_help_panel=PANEL)
def init(
    data: Annotated[str, typer.Option(help="Your file or folder, a glob in quotes, or a URL.")],
    text: Annotated[str | None, typer.Option(help="Column with the texts; detected by default.")] = None,
    label: Annotated[str | None, typer.Option(help="Column with the labels; detected by default.")] = None,
    test: Annotated[str, typer.Option(help="Glob of the files in the folder that form the test split.")] = "",
    unlabelled: Annotated[str, typer.Option(help="Glob of the files in the folder that have no labels.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Write params.yaml without asking.")] = False,
) -> None:
    """Inspect your data and fill in params.yaml for it."""
    from headway import init as setup
    from headway.errors import HeadwayError
    from headway.layout import Layout

    layout = Layout.find()
    found = setup.survey(layout, data, text, label, test, unlabelled)
    setup.show(found)
    print("For params.yaml:")
    for knob, value in found.changes.items():
        print(f"  {knob}: {value}")
    if not yes:
        if not sys.stdin.isatty():
            raise HeadwayError(
                "params.yaml is unchanged: not a terminal, so cannot ask for confirmation; pass --yes to write"
            )
        typer.confirm("Write these to params.yaml?", default=True, abort=True)
    setup.write(layout, found.changes)
    print("params.yaml is written. Now: make run")


@versions.command()
def diff(
    revision: Annotated[str, typer.Argument(metavar="REV", help="A git commit, branch or tag, such as HEAD~1.")],
) -> None:
    """Count the rows that changed since a git revision."""
    from rich.console import Console

    from headway.data.diff import compare, rows_at
    from headway.errors import HeadwayError
    from headway.layout import Layout

    layout = Layout.find()
    now = layout.raw / "rows.parquet"
    if not now.exists():
        raise HeadwayError(f"{now}: missing; make it with `dvc repro ingest`, or fetch it with `dvc pull`")
    with rows_at(revision, layout) as before:
        changes = compare(before, now)
    console = Console(highlight=False, markup=False)
    if changes["unchanged"] == changes["rows_before"] == changes["rows_after"]:
        console.print(f"nothing changed: the same {changes['rows_after']:,} rows at {revision} and now", soft_wrap=True)
        return
    counts = ", ".join(f"{changes[kind]:,} {kind}" for kind in ("added", "removed", "relabelled", "unchanged"))
    console.print(f"{changes['rows_before']:,} rows at {revision}, {changes['rows_after']:,} now: {counts}", soft_wrap=True)
    console.print(_table(changes["labels"]))


def _table(labels: list[dict[str, Any]]) -> Table:
    """Rows per label, before and now: the labels that changed most, then the sum of the others."""
    from rich.table import Table
    from rich.text import Text

    table = Table("label", "before", "now", "change")
    for column in table.columns[1:]:
        column.justify = "right"
    ranked = sorted(labels, key=lambda entry: (-abs(entry["after"] - entry["before"]), -entry["after"]))
    shown, others = ranked[:MOST_LABELS], ranked[MOST_LABELS:]
    if others:
        total = {when: sum(entry[when] for entry in others) for when in ("before", "after")}
        shown.append({"label": f"{len(others):,} others", **total})
    for entry in shown:
        name = "(missing)" if entry["label"] is None else entry["label"]
        change = entry["after"] - entry["before"]
        table.add_row(Text(name), f"{entry['before']:,}", f"{entry['after']:,}", f"{change:+,}" if change else "0")
    return table
