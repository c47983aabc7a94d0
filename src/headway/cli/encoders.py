"""Commands about pretrained encoders: list those in data/encoders, add one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from headway.cli.streams import say
from headway.foreign_text import one_line

if TYPE_CHECKING:
    from rich.table import Table

    from headway.encoders.listing import Listed

PANEL = "Model"
app = typer.Typer()
encoders = typer.Typer(invoke_without_command=True)
app.add_typer(encoders, name="encoders", rich_help_panel=PANEL)

#: Columns of a terminal below which the list is no table, which would break its cells into narrow strips.
TABLE_WIDTH = 110
#: Digits of a revision and a hash that are shown.
DIGITS = 12


@encoders.callback()
def show(context: typer.Context) -> None:
    """List the pretrained encoders in data/encoders; `headway encoders add` adds one."""
    if context.invoked_subcommand:
        return
    from rich.console import Console

    from headway.encoders.listing import listing
    from headway.layout import Layout

    found, problems = listing(Layout.find().encoders)
    console = Console(highlight=False, markup=False)
    if found and console.width >= TABLE_WIDTH:
        console.print(_table(found))
    else:
        for entry in found:
            say(", ".join(f"{name} {value}" for name, value in zip(COLUMNS, _cells(entry), strict=True)))
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
            help="NAME@REVISION on the Hub, with a commit of 40 hex digits; an installed package that contains an encoder; or "
            "a folder, as ./folder or /folder.",
        ),
    ],
    name: Annotated[str, typer.Option(help="Name of its folder in data/encoders; chosen from the encoder by default.")] = "",
) -> None:
    """Add a pretrained encoder to data/encoders, from the Hub, from an installed package, or from a folder."""
    from headway.encoders.add import add as add_encoder
    from headway.layout import Layout

    added = add_encoder(Layout.find().encoders, what, name)
    say(f"{added.name}: {'added' if added.is_new else 'already there, with the same files'}")
    for file, sha256 in added.files.sha256.items():
        say(f"  {file}: SHA-256 {sha256}")
    say(f"  licence: {added.files.licence or 'not stated; check it where the encoder comes from'}")


COLUMNS = ("name", "family", "parameters", "size", "licence", "from", "revision", "SHA-256")


def _cells(entry: Listed) -> tuple[str, ...]:
    files = entry.files
    return (
        entry.name,
        files.model_type,
        f"{entry.parameters / 1e6:,.1f} M",
        f"{entry.size / 1e6:,.0f} MB",
        files.licence or "unknown",
        files.source or "unknown",
        files.revision[:DIGITS] or "unknown",
        files.fingerprint[:DIGITS],
    )


def _table(found: list[Listed]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(*COLUMNS)
    for name in ("parameters", "size"):
        table.columns[COLUMNS.index(name)].justify = "right"
    for entry in found:
        table.add_row(*(Text(one_line(cell)) for cell in _cells(entry)))
    return table
