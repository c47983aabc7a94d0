"""False alarms and delays of the monitor, by simulation.

``make bench-monitor`` prints the tables and writes ``benchmarks/monitor.md``. Nothing is trained; the simulations with real texts
need the model that ``make run`` trains.
"""

from __future__ import annotations

import argparse
import datetime
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from benchmarks.monitor.champion import Champion, drifts, estimates, losses, no_drift
from benchmarks.monitor.delays import delays_of_drift, delays_of_loss, false_losses
from benchmarks.monitor.guards import guarded
from benchmarks.monitor.quiet import false_alarms, false_alarms_on_texts
from benchmarks.monitor.tables import Table
from benchmarks.monitor.years import by_year, dated_entries
from benchmarks.panel.cells import mistakes_in_one_line
from benchmarks.shipped import PROJECT
from benchmarks.targets import print_targets

PAGE = PROJECT / "benchmarks" / "monitor.md"
#: Seconds that all of it may take.
SECONDS = 600

HEAD = """\
# False alarms and delays of the monitor

`{command}`, {date}, {seconds:.0f} s. The statistics are those of `src/headway/monitoring`. A stream is what a champion
sees in its whole term; it has a false alarm if there is one at any time, although nothing has changed.
"""


def main() -> None:
    """Print the tables and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--streams", type=int, default=10_000, help="streams without drift; other simulations have a fixed share"
    )
    parser.add_argument("--rows", type=int, default=100_000, help="rows of each stream without drift")
    parser.add_argument(
        "--no-real", dest="real", action="store_false", help="leave out the real texts, which need the trained model"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=PAGE, help="page to write")
    arguments = parser.parse_args()
    streams, rows, seed = arguments.streams, arguments.rows, arguments.seed
    started = time.monotonic()
    simulations: list[Callable[[], Table]] = [
        lambda: false_alarms(streams, rows, seed),
        lambda: false_alarms_on_texts(max(1, streams // 40), seed),
        lambda: delays_of_drift(max(1, streams // 20), seed),
        lambda: false_losses(max(1, streams // 10), max(1, rows // 10), seed),
        lambda: delays_of_loss(max(1, streams // 50), seed),
        lambda: guarded(streams, seed),
    ]
    if arguments.real:
        with mistakes_in_one_line(Console()):
            champion = Champion.load()
            entries, years = dated_entries()
        simulations += [
            lambda: no_drift(champion, max(1, streams // 20), seed),
            lambda: drifts(champion, seed),
            lambda: by_year(entries, years, seed),
            lambda: losses(champion, seed),
            lambda: estimates(champion, seed),
        ]
    parts = []
    for simulate in simulations:
        began = time.monotonic()
        parts.append(simulate().markdown())
        print(parts[-1])  # noqa: T201 - Markdown, to be copied
        print(f"{time.monotonic() - began:.0f} s\n", file=sys.stderr)  # noqa: T201
    seconds = time.monotonic() - started
    command = shlex.join(["python", "-m", "benchmarks.monitor", *sys.argv[1:]])
    head = HEAD.format(command=command, date=f"{datetime.date.today():%-d %B %Y}", seconds=seconds)
    arguments.out.write_text("\n".join([head, *parts]), encoding="utf-8")
    print_targets(Console(), [(f"all of it: {seconds:.0f} s, target {SECONDS}", seconds <= SECONDS)])


if __name__ == "__main__":
    main()
