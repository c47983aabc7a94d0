"""The command that frees the space of what a project no longer needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from headway.cli.registry import locked_project
from headway.cli.streams import say

if TYPE_CHECKING:
    from rich.table import Table

    from headway.cleanup import Group

app = typer.Typer()
PANEL = "Project"
#: Paths that are printed; a folder can hold thousands of left-over files.
MAX_PATHS = 20


@app.command(rich_help_panel=PANEL)
def gc(
    delete: Annotated[bool, typer.Option("--delete", help="Remove it. Without this, nothing is changed.")] = False,
    keep: Annotated[
        int, typer.Option(min=0, help="Number of the newest versions, and of the newest pipeline runs, to keep.")
    ] = 5,
    rev: Annotated[
        list[str] | None, typer.Option(help="Keep the files of this git commit, branch or tag in DVC's cache; repeatable.")
    ] = None,
) -> None:
    """Show, or remove, old versions, runs, cached files and scratch files.

    The champion, former champions, the history, and what HEAD, the working folder and an interrupted run need always stay.
    """
    from rich.console import Console
    from rich.progress import track

    from headway.cleanup import plan
    from headway.registry.removal import purges

    with locked_project() as (project, _):
        console = Console(highlight=False, markup=False)
        with console.status("looking for what is no longer needed"):
            groups = plan(project, keep, rev or [])
        console.print(_table(groups, delete))
        for line in _named(groups):
            say(line)
        steps = [step for group in groups for step in group.steps]
        size = _size(sum(group.size for group in groups if group.goes))
        if not delete:
            print(f"{size} can be freed: `headway gc --delete`" if steps else "nothing to remove")
            return
        for step in track(steps, "removing", console=console, transient=True):
            step()
        print(f"{size} freed" if steps else "nothing to remove")
        if steps and not purges(project.registry.tracker):
            print(
                "The MLflow server has marked the runs and models as deleted, without their files. Whoever runs the server "
                "removes the entries with `mlflow gc`."
            )


def _table(groups: list[Group], delete: bool) -> Table:
    """What stays, then what goes; nothing is removed yet."""
    from rich.table import Table

    table = Table("", "what", "number", "size", "why")
    for column in (2, 3):
        table.columns[column].justify = "right"
    for group in sorted(groups, key=lambda group: group.goes):
        label = "stays" if not group.goes else "going" if delete else "would go"
        table.add_row(label, group.what, f"{group.count:,}", _size(group.size), group.why)
    return table


def _named(groups: list[Group]) -> list[str]:
    """Paths that go and do not follow from the table, one a line."""
    paths = [(group.what, path) for group in groups if group.goes for path in group.paths]
    lines = [f"{what}: {path}" for what, path in paths[:MAX_PATHS]]
    return lines + ([f"and {len(paths) - MAX_PATHS:,} more"] if len(paths) > MAX_PATHS else [])


def _size(number: int) -> str:
    from rich.filesize import decimal

    return decimal(number)
