"""The page with the kills by job and phase, and what differed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.kills.jobs import Row
from benchmarks.monitor.tables import Table

HEAD = """\
# Kills

`{command}`, {date}: {kills} of {wanted} kills by SIGKILL, seed {seed}; the jobs and their second runs took {minutes:.0f}
minutes; code at {commits}.

Each time a job begins anew with a small project (600 sentences of Rotten Tomatoes, four trials of the search), is killed once
at a random moment, and the same command runs again. Half of the moments are uniform over the whole job, the other half over
one phase, all phases in turn. "Ended as one without a kill" means that nothing differs from an uninterrupted run:

- **run, tune, train, gate**: every file of the stages, `dvc.lock`, metrics, plots and the stages' pages, byte by byte, and with
  them the weights; registered versions with their aliases and fingerprints, each of which loads; all decisions but for times,
  ids and the measured latency; the hash chain; the finished MLflow runs by kind, and none still open; no process left.
- **batch**: the labelled file and the rows of the prediction log but for the job's id, each row once.
- **monitor**: the record, the page, the kept state, and tag, metrics and files in MLflow.
- **label**: the labels and the quarantined rows, each once.
- **serve**, under load, with labels by `POST /feedback`: after the kill, no row of the log is there twice or differs from what
  was answered, all rows that `/metrics` had counted as written are there, and only the last answers are missing. After the
  restart it gives the same answers, all labels are there once, and after SIGTERM no answer is missing.

A kill hits the command. For `headway run` it hits, at random, every process at once (as when a container ends), the process
of the flow alone, or the process with the most memory (as when memory is short). The commands apart from `run` are forked from
a process that has imported all modules, so that no kill is spent on imports; the gate is the flow's task of that name.
"""


def table(rows: Sequence[Row], phases: Mapping[str, Sequence[str]]) -> Table:
    """Kills by job and phase, in the order of the phases."""
    found = Table("By phase", "", ["job", "phase in which the kill fell", "kills", "ended as one without a kill"])
    for job, names in phases.items():
        of_job = [row for row in rows if row.job == job]
        for name in names:
            if here := [row for row in of_job if row.phase == name]:
                found.rows.append([job, name, str(len(here)), str(sum(not row.differs for row in here))])
        if of_job:
            found.rows.append(
                [f"**{job}**", "**all**", f"**{len(of_job)}**", f"**{sum(not row.differs for row in of_job)}**"]
            )
    found.rows.append(["**all**", "", f"**{len(rows)}**", f"**{sum(not row.differs for row in rows)}**"])
    return found


def by_victim(rows: Sequence[Row]) -> Table:
    """Kills of ``headway run`` by what was killed."""
    found = Table("`headway run`, by what was killed", "", ["killed", "kills", "ended as one without a kill"])
    of_run = [row for row in rows if row.job == "run"]
    for victim in sorted({row.killed for row in of_run}):
        here = [row for row in of_run if row.killed == victim]
        found.rows.append([victim, str(len(here)), str(sum(not row.differs for row in here))])
    return found


def differing(rows: Sequence[Row]) -> str:
    """What differed, a line for each kill."""
    lines = [
        f"- {row.job}, kill {row.index} ({row.killed}, {row.phase}, after {row.after:.1f} s): {'; '.join(row.differs[:4])}"
        for row in rows
        if row.differs
    ]
    return "\n".join(["## What differed", "", *(lines or ["Nothing."])]) + "\n"
