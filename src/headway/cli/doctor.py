"""The command that looks for what is wrong with the machine, the installation and the project."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from headway.cli.streams import say

if TYPE_CHECKING:
    from headway.doctor.check import Check
    from headway.layout import Layout

app = typer.Typer()


@app.command(rich_help_panel="Project")
def doctor() -> None:
    """Check the machine, the installation and the project, and say what to do about each fault.

    Nothing is changed, and no project has to be whole. The exit status is 1 if there is a fault.
    """
    from headway.doctor.check import FAULT, OK, WARNING
    from headway.doctor.examination import examine
    from headway.errors import HeadwayError
    from headway.phrases import counted

    try:
        start = Path.cwd()
    except OSError as error:
        raise HeadwayError(
            f"the working directory: {error.strerror}; change to the folder of your project, and run again"
        ) from None
    states = []
    for check in examine(start, _check_schedule):
        states.append(check.state)
        say(f"{check.state:<8}{check.name}: {check.found}")
        if check.remedy:
            say(f"{'':<8}→ {check.remedy}")
        sys.stdout.flush()
    faults, warnings = states.count(FAULT), states.count(WARNING)
    print(f"{states.count(OK)} ok, {counted(warnings, 'warning')}, {counted(faults, 'fault')}")
    if faults:
        raise typer.Exit(1)


def _check_schedule(layout: Layout) -> Iterator[Check]:
    """What the project's own flows know about scheduled runs."""
    from headway.doctor.check import FAULT, OK, Check, of_error
    from headway.errors import HeadwayError

    sys.path.insert(0, str(layout.root))
    try:
        schedule = importlib.import_module("flows.status").schedule(layout)
    except ModuleNotFoundError as error:
        if error.name not in ("flows", "flows.status"):
            raise
        yield of_error("schedule", layout.without_flows("status"), "restore it with `git checkout flows`")
        return
    if schedule.problem:
        yield of_error("schedule", HeadwayError(schedule.problem), "see the Prefect server's log")
    for missed in schedule.missed:
        yield Check("schedule", FAULT, f"{missed.run} did not start", missed.remedy)
    if schedule.next:
        yield Check("schedule", OK, f"next run {schedule.next[0]}")
    elif not schedule.problem and not schedule.missed:
        yield Check("schedule", OK, "no runs are scheduled here; `headway schedule` or cron starts runs by the clock")
