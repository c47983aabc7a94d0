"""Two flows, four services and a monitor on one Postgres and one bucket; nothing may be lost and no alias may be wrong.

``make bench-shared`` prints the table and writes ``benchmarks/shared.md``.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shlex
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import count
from pathlib import Path

from rich.console import Console

from benchmarks.monitor.tables import Table
from benchmarks.shared.checks import SWAP_SECONDS, count_log, decisions_in, lag_of, terms_of, wrong_answers
from benchmarks.shared.people import Load, Retraining, monitor, retrain
from benchmarks.shared.servers import CHECK_SECONDS, backend, clones, run_to_its_end, services
from benchmarks.shipped import PROJECT
from benchmarks.targets import Target, print_targets
from headway import environment
from headway import params as parameters
from headway.registry.registry import Registry
from tests.e2e.conftest import Clone
from tests.real_texts import english

PAGE = PROJECT / "benchmarks" / "shared.md"
SERVICES, TEXTS, SECONDS_BETWEEN_LOOKS = 4, 500, 45.0
HEAD = """\
# A team on one Postgres and one bucket

`{command}`, {date}: {minutes:.1f} minutes of load.

Postgres, an S3 store (moto) and `mlflow server` over HTTP, with its artifacts in the bucket. Two clones of one small project run
`headway run` at the same time, one retraining after the other, each with another candidate; the policy of two in three accepts
one that is not much worse. {services} `headway serve` follow the champion, look every {check} seconds, are asked {rate:g} times
per second each, and write one prediction log into the bucket. Three tenths of the answers get a true label by `POST /feedback`,
25 in a request, and `headway monitor` looks every {looks:.0f} seconds.
"""


def main() -> None:
    """Run it, print what was counted, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shared", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="of load, at least")
    parser.add_argument("--rate", type=float, default=8.0, help="requests per second to each service")
    parser.add_argument("--out", type=Path, default=PAGE, help="page to write")
    arguments = parser.parse_args()
    environment.configure()
    console = Console(width=max(130, Console().width), highlight=False, markup=False, soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix="headway-shared-", ignore_cleanup_errors=True) as name, ExitStack() as stack:
        folder = Path(name)
        shared = stack.enter_context(backend(folder))
        os.environ |= shared.variables  # this process reads the log and the registry too
        first, second = clones(folder, shared)
        found = _run(first, second, folder, arguments, console)
    command = shlex.join(["python", "-m", "benchmarks.shared", *sys.argv[1:]])
    head = HEAD.format(
        command=command,
        date=f"{datetime.date.today():%-d %B %Y}",
        minutes=found.minutes,
        services=SERVICES,
        check=CHECK_SECONDS,
        rate=arguments.rate,
        looks=SECONDS_BETWEEN_LOOKS,
    )
    tables = [one.markdown() for one in found.tables]
    arguments.out.write_text("\n".join([head, *tables]), encoding="utf-8")
    console.print("\n".join(tables))
    print_targets(console, found.targets)


class Found:
    """What was counted."""

    def __init__(self, minutes: float, tables: list[Table], targets: list[Target]) -> None:
        self.minutes, self.tables, self.targets = minutes, tables, targets


def _run(first: Clone, second: Clone, folder: Path, arguments: argparse.Namespace, console: Console) -> Found:
    """Promote a first champion, then let everything happen at once, then count."""
    numbers, retrainings, looks = count(), list[Retraining](), list[tuple[int, str]]()
    retrainings.append(retrain(first, next(numbers), folder / "run-first.log"))
    console.print(f"first run: {retrainings[0].outcome} ({retrainings[0].seconds:.0f} s)")
    load = Load([], english(TEXTS)[0], arguments.rate)
    began, seconds = time.monotonic(), 60.0 * arguments.minutes
    ended = threading.Event()

    def is_due() -> bool:
        return time.monotonic() - began < seconds

    def keep_retraining(clone: Clone) -> None:
        while is_due():
            retrainings.append(retrain(clone, next(numbers), folder / f"run-{clone.root.name}.log"))
            console.print(f"{clone.root.name}: {retrainings[-1].outcome} ({retrainings[-1].seconds:.0f} s)")

    def keep_looking() -> None:
        while is_due() and not ended.wait(SECONDS_BETWEEN_LOOKS):
            looks.append(monitor(first, folder / "monitor.log"))
            console.print(f"monitor: {looks[-1][1]}")

    with services(first, SERVICES, folder) as ports:
        load.ports = ports
        began = time.monotonic()
        works: list[Callable[[], None]] = [
            lambda: keep_retraining(first),
            lambda: keep_retraining(second),
            keep_looking,
        ]
        threads = [threading.Thread(target=work) for work in works]
        for thread in threads:
            thread.start()
        load.run(lambda: not any(thread.is_alive() for thread in threads))
        ended.set()
        minutes = (time.monotonic() - began) / 60
    return _counted(first, second, folder, load, retrainings, looks, minutes)


def _counted(
    first: Clone,
    second: Clone,
    folder: Path,
    load: Load,
    retrainings: list[Retraining],
    looks: list[tuple[int, str]],
    minutes: float,
) -> Found:
    """Count, after the services have ended."""
    registry = Registry(first.tracker())
    decisions, problem = decisions_in(first)
    others, other_problem = decisions_in(second)
    verified = [run_to_its_end(one, ["headway", "history", "--verify"], folder / "verify.log") for one in (first, second)]
    champion = registry.champion()
    alias = str(champion.version) if champion else "none"
    terms = terms_of(decisions)
    lags = [lag_of(one, terms) for one in load.answers]
    strays = sum(lag > SWAP_SECONDS for lag in lags)
    log = count_log(load, parameters.load(first.layout.params).serving.log)
    wrong = wrong_answers(load, registry)
    last_status, last_look = monitor(first, folder / "monitor.log")
    kinds = [one.kind for one in decisions]
    promotions = sum(one.appoints for one in decisions)
    failed_runs = [one for one in retrainings if one.status]
    failed_looks = [line for status, line in [*looks, (last_status, last_look)] if status]
    is_whole = not problem and not other_problem and decisions == others and not any(status for status, _ in verified)
    by_clone = {name: sum(one.clone == name for one in retrainings) for name in ("first", "second")}
    rows = [
        ("retrainings of the two clones", f"{by_clone['first']} and {by_clone['second']}"),
        ("decisions", ", ".join(f"{kinds.count(kind)} × {kind}" for kind in dict.fromkeys(kinds))),
        ("versions that answered", ", ".join(sorted({one.version for one in load.answers}, key=int))),
        ("answers", f"{len(load.answers):,}"),
        ("rows in the log", f"{log.rows:,}"),
        ("labels acknowledged", f"{len(load.labels):,}"),
        ("looks of the monitor, after the last", f"{len(looks) + 1}; {last_look}"),
        (
            "longest time for which a service went on with a former champion",
            f"{max(filter(_is_finite, lags), default=0):.1f} s",
        ),
    ]
    table = Table("What happened", "", ["", ""], rows)  # type: ignore[arg-type]
    checks: list[Target] = [
        (f"requests without an answer: {len(load.failures)}, target 0", not load.failures),
        (f"answers that are not in the log: {log.missing}, target 0", log.missing == 0),
        (
            f"answers twice in the log, or that nobody got: {log.twice} and {log.unknown}, target 0",
            not log.twice + log.unknown,
        ),
        (f"rows that differ from the answer: {log.different}, target 0", log.different == 0),
        (f"unreadable parts: {log.unreadable}, target 0", log.unreadable == 0),
        (
            f"labels lost or twice, of those acknowledged: {log.labels_missing} and {log.labels_twice}, target 0",
            not log.labels_missing + log.labels_twice,
        ),
        (f"requests with labels that were not accepted: {len(load.failed_labels)}, target 0", not load.failed_labels),
        (f"answers that are not those of the version that they name: {wrong}, target 0", wrong == 0),
        (
            f"answers of a version that was not champion in the {SWAP_SECONDS:.0f} s before: {strays}, target 0",
            strays == 0,
        ),
        (
            f"the alias names version {alias}, the history version {terms[-1].version}",
            alias == terms[-1].version,
        ),
        (f"chain of {len(decisions)} decisions, read in both clones: {'whole' if is_whole else 'broken'}", is_whole),
        (f"promotions: {promotions}, target at least 2", promotions >= 2),
        (f"retrainings that failed: {len(failed_runs)}, target 0", not failed_runs),
        (f"looks of the monitor that failed: {len(failed_looks)}, target 0", not failed_looks),
    ]
    counted = Table("What was counted", "", ["", "met"], [(words, "yes" if met else "**no**") for words, met in checks])
    faults = [*(one.outcome for one in failed_runs), *failed_looks, *load.failures[:3], *load.failed_labels[:3]]
    tables = [table, counted]
    if faults:
        tables.append(Table("What failed", "", [""], [(one.replace("|", "/"),) for one in faults]))
    return Found(minutes, tables, checks)


def _is_finite(value: float) -> bool:
    return value != float("inf")


if __name__ == "__main__":
    main()
