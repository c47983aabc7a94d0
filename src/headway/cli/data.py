"""Commands about data: set a project up for your own file, compare two versions of the data."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from headway.cli.streams import say
from headway.foreign_text import one_line

if TYPE_CHECKING:
    from rich.table import Table

    from headway.data.diff import LabelChange

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
    header: Annotated[
        bool | None, typer.Option("--header/--no-header", help="Whether the first line of a CSV names its columns.")
    ] = None,
    columns: Annotated[str, typer.Option(help="Names of a CSV's columns, in order: text,label.")] = "",
    test: Annotated[str, typer.Option(help="Glob of the files in the folder that form the test split.")] = "",
    unlabelled: Annotated[str, typer.Option(help="Glob of the files in the folder that have no labels.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Write params.yaml without asking.")] = False,
) -> None:
    """Inspect your data and fill in params.yaml for it."""
    from headway import init as setup
    from headway.credentials import refusal
    from headway.errors import HeadwayError
    from headway.layout import Layout

    if problem := refusal(data):
        raise HeadwayError(f"--data: {problem}")
    layout = Layout.find()
    names = [name.strip() for name in columns.split(",")] if columns else []
    found = setup.survey(layout, data, text, label, test, unlabelled, header, names, require_clear=yes, report_progress=say)
    setup.show(found)
    print("For params.yaml:")
    for line in setup.as_yaml(found.changes).splitlines():
        say(f"  {line}")
    if not yes:
        if not sys.stdin.isatty():
            raise HeadwayError(
                "params.yaml is unchanged: not a terminal, so cannot ask for confirmation; pass --yes to write"
            )
        typer.confirm("Write these to params.yaml?", default=True, abort=True)
    setup.write(layout, found.changes)
    print("params.yaml is written. Next: make run")


@versions.command()
def diff(
    revision: Annotated[str, typer.Argument(metavar="REV", help="A git commit, branch or tag, such as HEAD~1.")],
) -> None:
    """Count the rows that changed since a git revision."""
    from rich.console import Console

    from headway.data.diff import compare, current_version, version_at
    from headway.layout import Layout

    layout = Layout.find()
    now = current_version(layout)
    with version_at(revision, layout) as before:
        found = compare(before, now)
    console = Console(highlight=False, markup=False)
    if found.unchanged == found.before == found.after:
        console.print(f"nothing changed: the same {found.after:,} rows at {one_line(revision)} and now", soft_wrap=True)
        return
    counts = (
        f"{found.added:,} added, {found.removed:,} removed, {found.relabelled:,} relabelled, {found.unchanged:,} unchanged"
    )
    console.print(f"{found.before:,} rows at {one_line(revision)}, {found.after:,} now: {counts}", soft_wrap=True)
    console.print(_table(found.labels))


def _table(labels: Sequence[LabelChange]) -> Table:
    """Rows of each label before and now: the labels that changed most, and the sum of the others."""
    from rich.table import Table
    from rich.text import Text

    table = Table("label", "before", "now", "change")
    for column in table.columns[1:]:
        column.justify = "right"
    ranked = sorted(labels, key=lambda entry: (-abs(entry.after - entry.before), -entry.after))
    others = ranked[MOST_LABELS:]
    rows = [
        ("(missing)" if entry.label is None else entry.label, entry.before, entry.after) for entry in ranked[:MOST_LABELS]
    ]
    if others:
        rows.append((f"{len(others):,} others", sum(entry.before for entry in others), sum(entry.after for entry in others)))
    for name, before, after in rows:
        table.add_row(Text(one_line(name)), f"{before:,}", f"{after:,}", f"{after - before:+,}" if after != before else "0")
    return table
