"""Commands about pretrained encoders: list those in data/encoders, add one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from headway.cli.project import project
from headway.cli.streams import say
from headway.foreign_text import one_line

if TYPE_CHECKING:
    from rich.table import Table

    from headway.encoders.cost import Cost
    from headway.encoders.listing import Listed

PANEL = "Model"
app = typer.Typer()
encoders = typer.Typer(invoke_without_command=True)
app.add_typer(encoders, name="encoders", rich_help_panel=PANEL)

#: Columns of a terminal below which the list is no table, which would break its cells into narrow strips.
TABLE_WIDTH = 120
#: Digits of a revision and a hash that are shown.
DIGITS = 12
#: Columns of numbers.
RIGHT = ("parameters", "size", "encode", "train")


@encoders.callback()
def show(
    context: typer.Context,
    measured: Annotated[
        bool,
        typer.Option(
            "--measure",
            help="Measure the seconds that 1,000 texts of 128 tokens take here: to encode, and to train on, once.",
        ),
    ] = False,
) -> None:
    """List the pretrained encoders in data/encoders; `headway encoders add` adds one."""
    if context.invoked_subcommand:
        return
    from rich.console import Console

    from headway.encoders.cost import measure
    from headway.encoders.listing import listing
    from headway.layout import Layout

    found, problems = listing(Layout.find().encoders)
    threads = project()[1].training.threads if measured else 0
    rows = [_row(entry, measure(entry.files, threads) if measured else None) for entry in found]
    console = Console(highlight=False, markup=False)
    if rows and console.width >= TABLE_WIDTH:
        console.print(_table(rows))
    else:
        for row in rows:
            say(", ".join(f"{name} {value}" for name, value in row.items()))
    for problem in problems:
        say(f"cannot be used: {problem}")
    if not found and not problems:
        print(
            "data/encoders has no encoders; add one with `headway encoders add NAME@REVISION` (from the Hub) or "
            "`headway encoders add PACKAGE` (from an installed package)"
        )


@encoders.command()
def add(
    what: Annotated[
        str,
        typer.Argument(
            metavar="ENCODER",
            help="NAME@REVISION on the Hub, with a commit of 40 hex digits; an installed package that contains an encoder or "
            "word vectors; or a folder, or a file of word vectors, as ./path or /path.",
        ),
    ],
    name: Annotated[str, typer.Option(help="Name of its folder in data/encoders; chosen from the encoder by default.")] = "",
) -> None:
    """Add a pretrained encoder to data/encoders, from the Hub, an installed package, a folder, or a file of word vectors."""
    from headway.encoders.add import add as add_encoder
    from headway.layout import Layout

    added = add_encoder(Layout.find().encoders, what, name)
    say(f"{added.name}: {'added' if added.is_new else 'already there, with the same files'}")
    for file, sha256 in added.files.sha256.items():
        say(f"  {file}: SHA-256 {sha256}")
    say(f"  licence: {added.files.licence or 'not stated; check it where the encoder comes from'}")


def _row(entry: Listed, cost: Cost | None) -> dict[str, str]:
    """What is shown of an encoder, by column."""
    files = entry.files
    row = {
        "name": entry.name,
        "family": files.model_type,
        "parameters": f"{entry.parameters / 1e6:,.1f} M",
        "size": f"{entry.size / 1e6:,.0f} MB",
        "licence": files.licence or "unknown",
        "revision": files.revision[:DIGITS] or "unknown",
        "SHA-256": files.fingerprint[:DIGITS],
    }
    return row if cost is None else row | {"encode": f"{cost.encode:,.1f} s", "train": f"{cost.train:,.1f} s"}


def _table(rows: list[dict[str, str]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(*rows[0])
    for column in table.columns:
        if column.header in RIGHT:
            column.justify = "right"
    for row in rows:
        table.add_row(*(Text(one_line(cell)) for cell in row.values()))
    return table
