"""Scheduled runs that did not start: what `headway schedule` has promised in this project, and when its flows last ran.

Kept in files, because the server that knows the schedule may have ended with the process that kept it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from flows import timezones
from headway.files import write_json
from headway.layout import Layout
from headway.notifications import Message, notify

RECORD, LAST_RUN, ANNOUNCED = "schedule.json", "last_run_{}.json", "schedule_announced.json"
#: How late a run may start before it counts as missed.
GRACE = timedelta(minutes=15)
#: How far apart two readings of the time at which a process began may be: the system's clock is corrected now and then.
CLOCK_SECONDS = 5.0
#: Number of announced runs that are remembered.
MOST_ANNOUNCED = 50


class MissedRun(NamedTuple):
    """A run that should have started: which one and when, and what to do."""

    run: str
    remedy: str

    @property
    def line(self) -> str:
        return f"{self.run} did not start; {self.remedy}"


def note_schedule(layout: Layout, crons: Mapping[str, str], zone: str) -> None:
    """Keep the cron expressions of this process's schedule, by the flows' names, until :func:`forget_schedule`."""
    record = {**_this_process(), "since": datetime.now(UTC).isoformat(), "zone": zone, "crons": dict(crons)}
    write_json(layout.scratch / RECORD, record)


def forget_schedule(layout: Layout) -> None:
    """The schedule was ended by a person or a service manager, so that nothing can be missed any more."""
    (layout.scratch / RECORD).unlink(missing_ok=True)


@contextmanager
def noted_run(layout: Layout, name: str) -> Iterator[None]:
    """Keep the time at which a flow last ran, and the process while it runs. A run that was due while another one ran was
    cancelled, not missed, so that the end counts too."""
    file = layout.scratch / LAST_RUN.format(name)
    # If another run is in progress, this one will soon be refused, and the other one stays noted.
    other = _read_run(file)
    process = {key: other[key] for key in ("process", "began")} if other and _is_alive(other) else _this_process()
    _note_run(file, process)
    try:
        yield
    finally:
        _note_run(file, process if _is_alive(other) else {})


def _note_run(file: Path, process: Mapping[str, Any]) -> None:
    with suppress(OSError):  # a full disk or a folder that is not writable, which the flow itself reports
        write_json(file, {"time": datetime.now(UTC).isoformat(), **process})


def find(layout: Layout, now: datetime | None = None) -> list[MissedRun]:
    """The first run of each flow that was due after its last one and did not start; none while the flow runs. Nothing is changed.

    Args:
        now: by default the present time.
    """
    record = _read(layout.scratch / RECORD)
    if record is None:
        return []
    now = now or datetime.now(UTC)
    crons = " ".join(f'--{"cron" if name == "retrain" else name} "{cron}"' for name, cron in record["crons"].items())
    remedy = (
        f"its process {record['process']} still runs; see its output"
        if _is_alive(record)
        else f"its process {record['process']} has ended; run `headway schedule {crons} --timezone {record['zone']}` again, or "
        f"remove {layout.scratch / RECORD} if it is no longer wanted"
    )
    missed = []
    for name, cron in record["crons"].items():
        run = _read_run(layout.scratch / LAST_RUN.format(name))
        if _is_alive(run):
            continue
        times = [record["since"], *([run["time"]] if run else [])]
        due = timezones.next_times(cron, record["zone"], 1, after=max(map(datetime.fromisoformat, times)))[0]
        if due + GRACE < now:
            missed.append(MissedRun(f"{name} of {timezones.describe(due)}", remedy))
    return missed


def announce(layout: Layout, missed: Sequence[MissedRun], warn: Callable[[str], object]) -> None:
    """Send one notification of each missed run; a run that was announced before is not announced again."""
    file = layout.scratch / ANNOUNCED
    known = _announced(file)
    new = [one for one in missed if one.run not in known]
    for one in new:
        notify(Message("missed_run", layout.root.name, one.line), warn)
    if new:
        write_json(file, [*known, *(one.run for one in new)][-MOST_ANNOUNCED:])


def _announced(file: Path) -> list[str]:
    try:
        return [str(one) for one in json.loads(file.read_text(encoding="utf-8"))]
    except (OSError, ValueError):  # none yet
        return []


def _this_process() -> dict[str, Any]:
    return {"process": os.getpid(), "began": psutil.Process().create_time()}


def _is_alive(noted: Mapping[str, Any] | None) -> bool:
    """Whether a noted process still runs: not only its number, which another one may have got since."""
    if not noted or "process" not in noted:
        return False
    try:
        began = psutil.Process(noted["process"]).create_time()
    except psutil.Error:
        return False
    return bool(abs(began - noted["began"]) < CLOCK_SECONDS)


def _read_run(file: Path) -> dict[str, Any] | None:
    """When a flow last ran, and the process in which it runs; None if it never ran."""
    try:
        run = json.loads(file.read_text(encoding="utf-8"))
        datetime.fromisoformat(run["time"])
        return {**run, "process": int(run["process"]), "began": float(run["began"])} if "process" in run else run
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read(file: Path) -> dict[str, Any] | None:
    """The record of the schedule, None if there is none that can be read."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        datetime.fromisoformat(record["since"])
        process = {"process": int(record["process"]), "began": float(record["began"])}
        return {**record, **process, "crons": dict(record["crons"]), "zone": str(record["zone"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None
