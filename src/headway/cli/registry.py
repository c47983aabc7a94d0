"""The verbs of the registry: who is champion, why, since when, and what it was made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from headway.cli.project import flows, project, tracker
from headway.phrases import counted

app = typer.Typer()
PANEL = "Registry"

Reason = Annotated[str, typer.Option(help="Why; it is kept in the history.")]


@app.command(rich_help_panel=PANEL)
def promote(
    version: Annotated[str, typer.Argument(help="Number of a registered version.")],
    force: Annotated[bool, typer.Option("--force", help="Promote it whatever the gate says.")] = False,
    reason: Annotated[str, typer.Option(help="Why it is forced; it is kept in the history.")] = "",
) -> None:
    """Put a registered version before the gate, on today's test rows."""
    from headway.errors import HeadwayError

    verdict, page = flows("office").promote(version, force, reason)
    champion = f"version {verdict.champion} is champion" if verdict.champion else "there is no champion"
    print(f"{verdict.outcome.upper()}: {champion}")
    for line in verdict.lines[1:]:
        print(f"  {line}")
    print(f"page: {page}")
    if verdict.problem:
        raise HeadwayError(verdict.problem)


@app.command(rich_help_panel=PANEL)
def rollback(
    reason: Reason,
    to: Annotated[str | None, typer.Option(help="A former champion's version; by default the one before.")] = None,
) -> None:
    """Restore a former champion."""
    record, page = flows("office").rollback(to, reason)
    print(f"version {record.candidate.version} is champion again")
    print(f"page: {page}")


@app.command(rich_help_panel=PANEL)
def retire(reason: Reason) -> None:
    """Take the champion out of office.

    The next run then elects another model against the linear baseline alone, or this one made again if its files are lost.
    """
    record, page = flows("office").retire(reason)
    print(f"version {record.candidate.version} is no longer champion; the next run elects another model")
    print(f"page: {page}")


@app.command(rich_help_panel=PANEL)
def history(
    verify: Annotated[bool, typer.Option("--verify", help="Check that no record was altered.")] = False,
) -> None:
    """List promotions, refusals, rollbacks and retirements."""
    from rich.console import Console

    from headway.errors import HeadwayError

    _, registry = _registry()
    records, problem = registry.history.examine()
    if not verify:
        Console(highlight=False, markup=False).print(_table(records) if records else "nothing was decided yet")
    if problem:
        raise HeadwayError(f"the history of {registry.name} is broken: {problem}; the {len(records):,} before it are whole")
    if verify:
        last = f", the last is {records[-1].id}" if records else ""
        print(f"{counted(len(records), 'record')}, unbroken{last}")


@app.command(rich_help_panel=PANEL)
def card(
    version: Annotated[str, typer.Argument(help="Number of a registered version.")],
    out: Annotated[str, typer.Option(help="A file to write instead of printing.")] = "",
) -> None:
    """Print a version's model card."""
    from headway.files import write_chosen
    from headway.reporting.decision import card as cards

    _, registry = _registry()
    text = cards.render(cards.judged(registry.history.records(), version), registry.name)
    if out:
        write_chosen(Path(out), text, "card")
        print(f"card: {out}")
    else:
        print(text, end="")


@app.command(rich_help_panel=PANEL)
def lineage(
    what: Annotated[str, typer.Argument(metavar="VERSION|COMMIT|RUN", help="A version, a git commit or an MLflow run.")],
) -> None:
    """Print what a version was made of, or what came of a commit or run."""
    from headway.promotion import lineage_report as ancestry

    layout, registry = _registry()
    for line in ancestry.trace_back(registry, layout, what):
        print(line)


def _registry() -> tuple[Any, Any]:
    from headway.registry.registry import Registry

    layout, params = project()
    return layout, Registry(tracker(params, layout))


def _table(records: list[Any]) -> Any:
    """The records, the last one first."""
    from rich.table import Table
    from rich.text import Text

    table = Table("", "when", "verdict", "version", "accuracy gained, in points", "who", "reason")
    for column in (0, 3):
        table.columns[column].justify = "right"
    for record in reversed(records):
        gain = ""
        if record.gain:
            opponent, check = record.gain
            level = f"{100 * check.level:.4g}%: " if check.level else ""
            gain = f"{100 * check.value:+.2f} ({level}{100 * check.low:+.2f} to {100 * check.high:+.2f}) on the {opponent}"
        cells = [record.kind, record.candidate.version, gain, record.asked_by.told, record.reason]
        table.add_row(str(record.number), record.when[:16].replace("T", " "), *(Text(cell) for cell in cells))
    return table
