"""Kills every kind of job at random moments, and compares what the same command then leaves with an uninterrupted run.

``make bench-kills`` prints the table and writes ``benchmarks/kills.md``. Finished kills are kept in ``.headway/bench-kills``, so
that an interrupted run of the benchmark continues.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue

from rich.console import Console

from benchmarks.kills import projects, service
from benchmarks.kills.comparison import differences
from benchmarks.kills.jobs import JOBS, Job, Reference, Row, killed_once, run_whole
from benchmarks.kills.page import HEAD, by_victim, differing, table
from benchmarks.kills.processes import forked, output_of
from benchmarks.kills.projects import Place, Templates
from benchmarks.shipped import PROJECT
from benchmarks.targets import print_targets

PAGE = PROJECT / "benchmarks" / "kills.md"
FOLDER = PROJECT / ".headway" / "bench-kills"
RESULTS = FOLDER / "kills.jsonl"
WHOLE = 200
NAMES = (*(job.name for job in JOBS), service.NAME)
PHASES = {**{job.name: [name for name, _ in job.phases] for job in JOBS}, service.NAME: service.PHASES}


def main() -> None:
    """Kill, print a line for each kill, and write the page."""
    arguments = _arguments()
    console = Console(width=max(130, Console().width), highlight=False, markup=False, soft_wrap=True)
    wanted = in_turn(numbers(arguments.kills, arguments.only))
    kept = [row for row in _kept(arguments.restart) if row.seed == arguments.seed and (row.job, row.index) in wanted]
    done = {(row.job, row.index) for row in kept}
    left = [one for one in wanted if one not in done and not arguments.so_far]
    console.print(f"{len(left)} kills, {len(done)} are there already")
    rows = [*kept, *(_killed(left, arguments, console) if left else ())]
    rows.sort(key=lambda row: (NAMES.index(row.job), row.index))
    tables = [table(rows, PHASES), by_victim(rows)]
    head = HEAD.format(
        command=shlex.join(["python", "-m", "benchmarks.kills", *sys.argv[1:]]),
        date=f"{datetime.date.today():%-d %B %Y}",
        kills=len(rows),
        wanted=len(wanted),
        seed=arguments.seed,
        minutes=sum(row.after + row.seconds for row in rows) / 60,
        commits=", ".join(sorted({row.commit for row in rows})),
    )
    parts = [head, *(one.markdown() for one in tables), differing(rows)]
    arguments.out.write_text("\n".join(parts), encoding="utf-8")
    console.print("\n".join(part for part in parts[1:]))
    equal = sum(not row.differs for row in rows)
    print_targets(console, [(f"reruns that end as an uninterrupted one: {equal} of {len(rows)}", equal == len(rows))])


def numbers(kills: int, only: list[str]) -> dict[str, int]:
    """The number of kills of each job."""
    shares = {**{job.name: job.share for job in JOBS}, service.NAME: service.SHARE}
    chosen = {name: share for name, share in shares.items() if not only or name in only}
    return {name: max(1, round(kills * share / WHOLE)) for name, share in chosen.items()}


def in_turn(wanted: Mapping[str, int]) -> list[tuple[str, int]]:
    """The kills in an order in which all jobs advance together, so that a part of them is a fair sample."""
    kills = [(index / number, name, index) for name, number in wanted.items() for index in range(number)]
    return [(name, index) for _, name, index in sorted(kills)]


def code_version() -> str:
    """The last commit that changed what is measured, with "+changes" if there are uncommitted ones."""
    measured = ["--", "src", "flows", "dvc.yaml", "params.yaml", "requirements.lock"]
    commit = output_of(["git", "log", "-1", "--format=%h", *measured], PROJECT)
    return commit + ("+changes" if output_of(["git", "status", "--porcelain", *measured], PROJECT) else "")


def _killed(left: list[tuple[str, int]], arguments: argparse.Namespace, console: Console) -> Iterator[Row]:
    """Kill, in as many places as there are jobs at a time."""
    commit = code_version()
    places: SimpleQueue[Place] = SimpleQueue()
    for number in range(arguments.jobs):
        places.put(Place(FOLDER / f"place-{number}"))
    templates, references = _prepared(Place(FOLDER / "place-0"), commit, console)
    for number in range(1, arguments.jobs):
        (FOLDER / f"place-{number}").mkdir(exist_ok=True)
        shutil.copy(FOLDER / "place-0" / "answers.json", FOLDER / f"place-{number}")
    by_name = {job.name: job for job in JOBS}
    forked("nothing", folder=FOLDER, log=FOLDER / "nothing.log").wait()

    def one(name: str, index: int) -> Row:
        place = places.get()
        try:
            row = Row(name, index, arguments.seed, commit, "", "", 0.0)
            if name == service.NAME:
                return service.killed_once(place, templates[projects.RAN], index, row)
            job = by_name[name]
            return killed_once(job, place, templates[job.template], references[name], index, row)
        finally:
            places.put(place)

    with ThreadPoolExecutor(arguments.jobs) as pool, RESULTS.open("a", encoding="utf-8") as results:
        for future in as_completed([pool.submit(one, name, index) for name, index in left]):
            row = future.result()
            results.write(json.dumps(asdict(row), ensure_ascii=False) + "\n")
            results.flush()
            console.print(_line(row))
            yield row


def _prepared(place: Place, commit: str, console: Console) -> tuple[Templates, dict[str, Reference]]:
    """The projects that jobs begin with, and an uninterrupted run of every job, done twice: what differs then is no fault."""
    templates, stored = Templates(FOLDER / "templates"), FOLDER / "references.json"
    if stored.exists():
        found = json.loads(stored.read_text(encoding="utf-8"))
        if found["commit"] == commit:
            return templates, {name: Reference(**one) for name, one in found["jobs"].items()}
    stored.unlink(missing_ok=True)
    console.print("preparing the projects")
    templates.make(place)
    references = {}
    for job in JOBS:
        references[job.name] = _reference(job, place, templates, console)
    (place.folder / "answers.json").write_text(json.dumps(service.reference(place, templates[projects.RAN])))
    stored.write_text(json.dumps({"commit": commit, "jobs": {name: asdict(one) for name, one in references.items()}}))
    return templates, references


def _reference(job: Job, place: Place, templates: Templates, console: Console) -> Reference:
    first = run_whole(job, place, templates[job.template])
    if job.template == projects.FRESH:
        templates.make_after_run(place)
    second = run_whole(job, place, templates[job.template])
    console.print(f"{job.name}: {second.seconds:.1f} s without a kill")
    for line in differences(first.outcome, second.outcome):
        console.print(f"  differs between two uninterrupted runs: {line}")
    return second


def _line(row: Row) -> str:
    ended = "as without a kill" if not row.differs else f"DIFFERS: {'; '.join(row.differs)}"
    notes = f" ({', '.join(row.notes)})" if row.notes else ""
    return f"{row.job} {row.index}: {row.killed} after {row.after:.1f} s, {row.phase}; {row.seconds:.1f} s: {ended}{notes}"


def _kept(restart: bool) -> list[Row]:
    """The kills of earlier runs."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    if restart:
        RESULTS.unlink(missing_ok=True)
    if not RESULTS.exists():
        return []
    return [Row(**json.loads(line)) for line in RESULTS.read_text(encoding="utf-8").splitlines()]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=WHOLE, help="kills of all jobs together")
    parser.add_argument("--only", nargs="+", default=[], choices=NAMES, metavar="JOB", help=f"jobs: {', '.join(NAMES)}")
    parser.add_argument("--jobs", type=int, default=1, help="jobs that run at the same time")
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    parser.add_argument("--restart", action="store_true", help="forget the kills of earlier runs")
    parser.add_argument("--so-far", action="store_true", help="kill nothing, and write the page with the kills so far")
    parser.add_argument("--out", type=Path, default=PAGE, help="page to write")
    return parser.parse_args()


if __name__ == "__main__":
    main()
