"""Commands about the champion: change it, list the decisions, print a version's card or lineage."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headway.cli.project import flows, registry, tracker
from headway.cli.streams import say
from headway.foreign_text import one_line
from headway.phrases import counted

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from headway.promotion.decision import Decision
    from headway.promotion.project import Project

app = typer.Typer()
PANEL = "Registry"
#: Columns of a terminal below which the history is no table, which would break its cells into narrow strips.
TABLE_WIDTH = 130

Waiting = Annotated[str, typer.Argument(metavar="VERSION", help="Number of the version that waits for approval.")]
Reason = Annotated[str, typer.Option(help="Reason; stored with the decision.")]


@app.command(rich_help_panel=PANEL)
def promote(
    version: Annotated[str, typer.Argument(help="Number of a registered version.")],
    force: Annotated[bool, typer.Option("--force", help="Promote it even if the gate refuses.")] = False,
    reason: Annotated[str, typer.Option(help="Reason for forcing it; stored with the decision.")] = "",
) -> None:
    """Let the gate decide on a registered version, scored on the current test rows."""
    from headway.errors import HeadwayError
    from headway.progress import ProgressLine
    from headway.promotion import commands

    with locked_project() as (locked, changed_stages):
        before, _ = locked.registry.log.entries().carried_out
        outcome, page = commands.promote(locked, version, force, reason, _publish, changed_stages, ProgressLine().note)
    champion = f"version {outcome.champion} is champion" if outcome.champion else "there is no champion"
    print(f"{outcome.result.upper()}: {champion}")
    for line in outcome.lines[1:]:
        say(f"  {line}")
    print(f"page: {page}")
    if outcome.decision is not None:
        _announce(locked, outcome.decision, before)
    if outcome.problem:
        raise HeadwayError(outcome.problem)


@app.command(rich_help_panel=PANEL)
def approve(version: Waiting, reason: Reason) -> None:
    """Promote a version that passed the gate and waits for approval (gate.approval: required)."""
    from headway.promotion import commands

    with locked_project() as (locked, _):
        decision, page = commands.approve(locked, version, reason, _publish)
    print(f"version {decision.candidate.version} is champion")
    print(f"page: {page}")
    _announce(locked, decision)


@app.command(rich_help_panel=PANEL)
def decline(version: Waiting, reason: Reason) -> None:
    """End the candidacy of a version that waits for approval; the champion stays."""
    from headway.promotion import commands

    with locked_project() as (locked, _):
        decision, page = commands.decline(locked, version, reason, _publish)
    stays = f"version {decision.champion.version} stays champion" if decision.champion else "there is no champion"
    print(f"version {decision.candidate.version} is declined; {stays}")
    print(f"page: {page}")
    _announce(locked, decision)


@app.command(rich_help_panel=PANEL)
def rollback(
    reason: Reason,
    to: Annotated[str | None, typer.Option(help="Version of a former champion; by default the previous one.")] = None,
) -> None:
    """Restore a former champion."""
    from headway.promotion import commands

    with locked_project() as (locked, _):
        decision, page = commands.roll_back(locked, to, reason, _publish)
    print(f"version {decision.candidate.version} is champion again")
    print(f"page: {page}")
    _announce(locked, decision)


@app.command(rich_help_panel=PANEL)
def retire(reason: Reason) -> None:
    """Remove the champion without a successor.

    The next run compares its candidate with the linear baseline only. It does not promote the retired model again, unless
    its files were lost and it is retrained.
    """
    from headway.promotion import commands

    with locked_project() as (locked, _):
        decision, page = commands.retire(locked, reason, _publish)
    print(f"version {decision.candidate.version} is no longer champion; the next run can promote another model")
    print(f"page: {page}")
    _announce(locked, decision)


@app.command(rich_help_panel=PANEL)
def history(
    verify: Annotated[bool, typer.Option("--verify", help="Check that no decision was altered.")] = False,
) -> None:
    """List all decisions: promotions, refusals, approvals, rollbacks and retirements."""
    from rich.console import Console

    from headway.errors import HeadwayError
    from headway.promotion.history import examine

    _, registered = registry()
    decisions, problem = examine(registered)
    if not verify:
        console = Console(highlight=False, markup=False)
        shown: list[RenderableType] = [_table(decisions)] if console.width >= TABLE_WIDTH else _blocks(decisions)
        console.print(*(shown if decisions else ["no decisions yet"]), sep="\n")
    if problem:
        raise HeadwayError(
            f"the history of {registered.name} is broken: {problem}; {counted(len(decisions), 'earlier decision')} unaltered"
        )
    if verify:
        last = f", the last one is {decisions[-1].id}" if decisions else ""
        print(f"{counted(len(decisions), 'decision')}, none altered{last}")


@app.command(rich_help_panel=PANEL)
def card(
    version: Annotated[str, typer.Argument(help="Number of a registered version.")],
    out: Annotated[
        str,
        typer.Option(help="Write the card to this file instead of printing it: a page if it ends in .html, else Markdown."),
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace the file of --out if it exists.")] = False,
) -> None:
    """Print a version's model card."""
    from headway.chosen_file import require_writable, write_chosen
    from headway.promotion.history import decisions
    from headway.reporting.decision import card as cards

    if out:
        require_writable(Path(out), "card", force)
    _, registered = registry()
    draw = cards.page if out.endswith(".html") else cards.render
    text = draw(cards.judged(decisions(registered), version), registered.name)
    if out:
        write_chosen(Path(out), text, "card", force)
        say(f"card: {out}")
    else:
        print(text, end="")


@app.command(rich_help_panel=PANEL)
def lineage(
    name: Annotated[str, typer.Argument(metavar="VERSION|COMMIT|RUN", help="A version, a git commit or an MLflow run.")],
) -> None:
    """Print what a version was made from, or which versions a commit or run produced."""
    from headway.promotion.lineage_report import trace_back

    layout, registered = registry()
    for line in trace_back(registered, layout, name):
        say(line)


@contextmanager
def locked_project() -> Iterator[tuple[Project, Any]]:
    """The project, locked against flows, and a function that asks DVC which stages are out of date."""
    from headway.layout import Layout
    from headway.params import load
    from headway.preflight import check_writable
    from headway.promotion.project import Project
    from headway.registry.registry import Registry

    layout, execution = Layout.find(), flows("execution")
    check_writable(layout)
    with execution.exclusive(layout):
        params = load(layout.params)
        yield Project(params, layout, Registry(tracker(params, layout))), lambda: execution.changed_stages(layout)


def _publish(decision: Decision) -> None:
    """Publish a decision to the Prefect server that is named or running, if there is one."""
    flows("report").publish_by_hand(decision)


def _announce(project: Project, decision: Decision, decided_before: int = 0) -> None:
    """Send the notification of a decision, see :func:`headway.promotion.announcement.announce`."""
    from headway.promotion.announcement import announce

    announce(project, decision, decided_before, lambda line: print(f"headway: {one_line(line)}", file=sys.stderr))


def _table(decisions: list[Decision]) -> Table:
    """The decisions, the last one first."""
    from rich.table import Table
    from rich.text import Text

    table = Table("", "when", "decision", "version", "gain in accuracy", "requested by", "reason")
    for column in (0, 3):
        table.columns[column].justify = "right"
    for decision in reversed(decisions):
        cells = [decision.kind, decision.candidate.version, _gain(decision), decision.requested_by.label, decision.reason]
        table.add_row(str(decision.number), decision.when[:16].replace("T", " "), *(Text(one_line(cell)) for cell in cells))
    return table


def _blocks(decisions: list[Decision]) -> list[RenderableType]:
    """The decisions, the last one first, in a few lines each, for a narrow terminal: no number and no word is cut."""
    from rich.padding import Padding
    from rich.text import Text

    shown: list[RenderableType] = []
    for decision in reversed(decisions):
        shown.append(Text(f"{decision.number}  {decision.kind}, version {decision.candidate.version}"))
        lines = [decision.when[:16].replace("T", " "), _gain(decision), f"requested by {decision.requested_by.label}"]
        if decision.reason:
            lines.append(f"reason: {decision.reason}")
        shown.extend(Padding(Text(one_line(line)), (0, 0, 0, 3)) for line in lines if line)
    return shown


def _gain(decision: Decision) -> str:
    """The gain in accuracy with its interval, "" if the gate did not compute one."""
    from headway.promotion.check import points, signed

    if decision.accuracy_gain is None:
        return ""
    opponent, check = decision.accuracy_gain
    if check.value is None or check.low is None or check.high is None:
        return ""
    coverage = f"{100 * check.confidence:.4g}%: " if check.confidence else ""
    return f"{points(check.value)} ({coverage}{signed(100 * check.low, 2)} to {signed(100 * check.high, 2)}) over the {opponent}"
