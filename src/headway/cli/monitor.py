"""The command that watches the champion at work."""

from __future__ import annotations

import io
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headway.cli.model import PANEL
from headway.cli.project import flows, project, tracker
from headway.cli.streams import say
from headway.errors import HeadwayError

if TYPE_CHECKING:
    from collections.abc import Callable

    from headway.layout import Layout
    from headway.monitoring.record import MonitoringRecord
    from headway.promotion.project import Project

app = typer.Typer()
#: Exit statuses with ``--exit-status``.
STATUSES = {"ok": 0, "warning": 3, "alarm": 4}


@app.command(rich_help_panel=PANEL)
def monitor(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE…",
            help="Tables of texts in place of the prediction log: files, folders, globs in quotes, URLs, or -.",
        ),
    ] = None,
    text_column: Annotated[str, typer.Option(help="Of FILE: column with the texts; by default that of training.")] = "",
    label_column: Annotated[
        str, typer.Option(help="Of FILE: column with the true labels, if there is one; by default that of training.")
    ] = "",
    exit_status: Annotated[
        bool, typer.Option("--exit-status", help="Exit with 3 if there is a warning, and with 4 if there is an alarm.")
    ] = False,
) -> None:
    """Compare what the champion answers now with its test rows, and say whether it is still as good.

    Reads what is new in the prediction log since the last time. However often it runs, the probability of any false warning or
    alarm about texts and accuracy in the whole time of a champion is at most 1 - monitor.confidence. Whether the former champion
    was better is another question, with the same risk.
    """
    from headway.champion_monitor.auto_rollback import restore_former_champion
    from headway.champion_monitor.publication import publish, publish_tables
    from headway.progress import ProgressLine
    from headway.promotion.project import Project
    from headway.registry.registry import Registry

    layout, params = project()
    found = Project(params, layout, Registry(tracker(params, layout)))
    with ProgressLine() as line:
        record = _record(found, layout, files or [], text_column, label_column, line.note)
    published = (publish_tables if files else publish)(found, record, warn)
    for words in summary(record):
        say(words)
    print(f"page: {published.page}")
    if not files:
        lock = partial(flows("execution").exclusive, layout)
        try:
            restored = restore_former_champion(found, record, lambda one: flows("report").publish_by_hand(one), lock)
        except HeadwayError as error:
            warn(f"the former champion is not restored yet: {error}; the next `headway monitor` tries again")
        else:
            if restored is not None:
                say(restored.headline)
    missed = flows("missed_runs")
    missed.announce(layout, missed.find(layout), warn)
    if exit_status and STATUSES[record.status]:
        raise typer.Exit(STATUSES[record.status])


@app.command(rich_help_panel=PANEL)
def status() -> None:
    """Show the champion, what monitoring last found, labels that arrived, the last decisions and the next runs."""
    from headway.champion_monitor.status import status_lines
    from headway.promotion.history import decisions
    from headway.registry.registry import Registry

    layout, params = project()
    history = decisions(Registry(tracker(params, layout)))
    schedule = flows("status").schedule(layout)
    if schedule.problem:
        warn(schedule.problem)
    for line in status_lines(params, layout, history, schedule.next, [one.line for one in schedule.missed]):
        say(line)
    flows("missed_runs").announce(layout, schedule.missed, warn)


def warn(problem: str) -> None:
    """Print what went wrong beside the matter itself."""
    print(f"headway: {problem}", file=sys.stderr)


def _record(
    found: Project, layout: Layout, files: list[str], text_column: str, label_column: str, on_step: Callable[[str], None]
) -> MonitoringRecord:
    from headway.champion_monitor.monitor import monitor_log, monitor_tables

    if not files:
        if text_column or label_column:
            raise HeadwayError(
                f"{'--text-column' if text_column else '--label-column'} is for files; name one, or leave it out"
            )
        return monitor_log(found, on_step)
    from headway.champion_monitor.tables import table_rows
    from headway.files import TEMPORARY_PREFIX
    from headway.phrases import listed
    from headway.serving.batch.inputs import ReadingOptions, find_inputs

    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX) as spool:
        stdin = sys.stdin.buffer if sys.stdin else io.BytesIO()  # None if it is closed
        sources = find_inputs(files, ReadingOptions(text_column), found.params.data, layout, Path(spool), stdin, advice="")
        names = listed([source.file.name for source in sources], 3)
        return monitor_tables(found, table_rows(sources, label_column, found.params.data), names, on_step)


def summary(record: MonitoringRecord) -> list[str]:
    """The record in a few lines."""
    from headway.phrases import counted

    lines = [f"{record.status.upper()}: version {record.version} of {record.model}, {counted(record.answers, 'answer')}"]
    lines += [f"  {reason}" for reason in record.reasons]
    if not record.reasons and record.answers:
        lines.append(f"  nothing has been shown to differ from the {record.reference_rows:,} test rows")
    lines.append(f"  accuracy promised {100 * record.expected:.1f}%, accepted {100 * record.accepted:.1f}%")
    for name, estimate in (("estimated without labels", record.estimated), ("of labelled answers", record.realised)):
        if estimate is not None:
            lines.append(f"  accuracy {name} {estimate.with_rows}")
    if record.labels_biased:
        lines.append(f"  {record.labels_biased}")
    if record.unanswered:
        lines.append(f"  {counted(record.unanswered, 'text')} could not be classified")
    lines += [f"  skipped: {problem}" for problem in record.unreadable]
    return lines
