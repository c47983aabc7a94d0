"""Is the champion still as good? Score the test rows, read what it answered since, and write down what that shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from filelock import FileLock, Timeout

from headway.champion_monitor import recent_texts, watch
from headway.champion_monitor.reference import champion_package, reference_of
from headway.champion_monitor.tables import ScoredTables, TableRows
from headway.champion_monitor.term import Term, current_term
from headway.errors import HeadwayError
from headway.monitoring.changes import TextChanges, text_changes
from headway.monitoring.findings import Watched, record_of
from headway.monitoring.monitor import Monitor, Terms
from headway.monitoring.record import MonitoringRecord
from headway.promotion import history
from headway.promotion.project import Project
from headway.promotion.test_rows import TestRows
from headway.serving.log.store import PartStore, located
from headway.serving.log.writer import open_log

SECONDS_TO_WAIT = 600
OnStep = Callable[[str], None]


@dataclass(frozen=True)
class _Subject:
    """The champion, the fingerprint of its reference, and a monitor that has seen nothing yet."""

    term: Term
    fingerprint: str
    monitor: Monitor

    def record(self, project: Project, source: str, unreadable: list[str], texts: TextChanges | None) -> MonitoringRecord:
        watched = Watched(
            model=project.registry.name,
            version=self.term.champion.version,
            decision=self.term.decision,
            since=self.term.since.isoformat(),
            source=source,
            promised=self.term.promised,
            former=self.term.former.version if self.term.former else None,
            unreadable=unreadable,
        )
        return record_of(self.monitor, watched, project.params.monitor.recent_rows, texts)


def monitor_log(project: Project, on_step: OnStep = lambda _: None) -> MonitoringRecord:
    """Read what is new in the prediction log since the last time, and say what all of it shows.

    Raises:
        Unreachable: MLflow, or the champion's files.
        HeadwayError: there is no champion or no log, or the champion cannot be scored on the test rows.
    """
    params = located(project.params.serving.log, project.layout.root)
    if not params.folder:
        raise HeadwayError(
            "serving.log.folder: is empty, so there are no answers to monitor; set it in params.yaml and restart "
            "`headway serve`, or name a table of texts, as in `headway monitor this_week.csv`"
        )
    log = open_log(params)
    with _alone(project):
        subject = _subject(project, on_step, log, has_texts=params.texts == "full")
        term, monitor = subject.term, subject.monitor
        key = watch.state_key(term, monitor, subject.fingerprint)
        name = watch.state_name(term, key)
        progress = watch.restore(log, name, key, monitor) or watch.Progress()
        unreadable = watch.catch_up(log, term, monitor, progress, on_step)
        watch.keep(log, name, key, monitor, progress)
    texts = None
    if monitor.has_moved and (found := recent_texts.of_log(log, term, project.params.monitor.recent_rows)):
        on_step("comparing texts")
        texts = _compared(project, found)
    return subject.record(project, params.folder, unreadable, texts)


def monitor_tables(
    project: Project, rows: Iterable[TableRows], names: str, on_step: OnStep = lambda _: None
) -> MonitoringRecord:
    """Score texts of tables with the champion, and say what they show. Nothing of them is kept for the next time.

    Args:
        rows: of the tables, in batches.
        names: of the tables, for the record.

    Raises:
        HeadwayError: as for :func:`monitor_log`, or there is no text.
    """
    params = located(project.params.serving.log, project.layout.root)
    subject = _subject(project, on_step, open_log(params) if params.folder else None, has_texts=True)
    tables = ScoredTables(champion_package(project, subject.term))
    texts = recent_texts.Sample(project.params.monitor.recent_rows)
    for batch in rows:
        tables.add(batch)
        texts.add(batch.usable)
        on_step(f"{len(tables.labels):,} texts")
    if not tables.labels:
        raise HeadwayError(f"{names}: has no text that can be classified; expected a table of texts like those of training")
    tables.read_by(subject.monitor)
    changes = _compared(project, texts.texts) if subject.monitor.has_moved else None
    return subject.record(project, names, [], changes)


@contextmanager
def _alone(project: Project) -> Iterator[None]:
    """Of two monitors of a project, the second one waits: both would go on from one state, and one's work would be lost."""
    project.layout.scratch.mkdir(exist_ok=True)
    try:
        with FileLock(project.layout.scratch / "monitor.lock", timeout=SECONDS_TO_WAIT):
            yield
    except Timeout:
        raise HeadwayError(
            f"another `headway monitor` is running in this project for more than {SECONDS_TO_WAIT // 60} minutes; wait for it or "
            "end it"
        ) from None


def _compared(project: Project, texts: list[str]) -> TextChanges | None:
    """How recent texts differ from those of the test rows; None if these are not here."""
    rows = TestRows(project.layout)
    return text_changes(rows.texts, texts) if rows.exist else None


def _subject(project: Project, on_step: OnStep, log: PartStore | None, has_texts: bool) -> _Subject:
    decisions = history.decisions(project.registry)
    term = current_term(decisions, project.registry.name)
    on_step(f"comparing with version {term.champion.version}'s answers on the test rows")
    found, limits = reference_of(project, term, decisions, log, has_texts), project.params.monitor
    promised = term.promised if term.promised is not None else float(found.reference.correct.mean())
    monitor = Monitor(found.reference, Terms(promised, limits.margin, limits.confidence, term.decision))
    return _Subject(term, found.fingerprint, monitor)
