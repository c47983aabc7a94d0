"""Monitoring records of every state, made by the monitor itself from simulated answers."""

from __future__ import annotations

import numpy as np

from headway.monitoring.answers import Answers, concatenated
from headway.monitoring.changes import text_changes
from headway.monitoring.findings import Watched, record_of
from headway.monitoring.monitor import Monitor, Reference, Terms
from headway.monitoring.record import MonitoringRecord
from tests.monitoring.streams import CLASSES, answers, monitor_of, names, read, record, truth
from tests.real_texts import translations

#: Class names that a page must survive.
NAMES = ["<img src=x onerror=alert(1)>", "costs $5 and $6", "c" * 300, "שלום עולם"]


def by_day(count: int, rows: int, **options: float) -> tuple[Answers, np.ndarray]:
    """Answers of some days, and whether each is right."""
    found = [answers(50 + day, rows, day=f"2026-12-{day + 1:02}", **options) for day in range(count)]
    return concatenated([one for one, _ in found]), np.concatenate([right for _, right in found])


def monitor() -> Monitor:
    return monitor_of(*answers(2, 1_500))


def no_answers() -> MonitoringRecord:
    return record(monitor())


def ok() -> MonitoringRecord:
    return record(read(monitor(), by_day(9, 200)[0]))


def labelled() -> MonitoringRecord:
    return record(read(monitor(), *by_day(9, 120)))


def warning() -> MonitoringRecord:
    """Other texts, in two scripts, among them hostile ones; the log keeps texts."""
    found = monitor()
    now, _ = by_day(6, 150, length=4.0)
    read(found, now)
    usual = ["the film is quiet and moving", "a charming film"] * 100
    hostile = "<img src=x onerror=alert(1)> & <script>alert(2)</script> $x$ "
    recent = [hostile + text for text in translations("ar")[:60]] + ["the film is quiet"] * 40
    watched = Watched("m", "2", "a" * 64, "2026-12-01T00:00:00+00:00", "s3://bucket/log", None, None, ("part-1: cut off",))
    return record_of(found, watched, 500, text_changes(usual, recent))


def alarm() -> MonitoringRecord:
    found = monitor()
    now, right = by_day(9, 150, sureness=0.3, length=4.2)
    return record(read(found, now, right))


def biased() -> MonitoringRecord:
    found = monitor()
    now, right = by_day(9, 200)
    found.add(now, ["2026-12-03"] * 7)
    wrong = np.flatnonzero(~right)[:90]
    given = now.take(wrong)
    found.add_labelled(given, names(truth(given, right[wrong])), [None] * len(wrong))
    return record(found)


def guard() -> MonitoringRecord:
    now, right = by_day(5, 200)
    shadow: list[str | None] = list(names(truth(now, right)))
    return record(read(monitor(), now, right, shadow), former="1")


def many_classes() -> MonitoringRecord:
    """60 classes, some with difficult names, of which one gets worse."""
    classes = NAMES + [f"class {number}" for number in range(56)]
    random = np.random.default_rng(0)

    def some(seed: int, rows: int, day: str) -> Answers:
        found, _ = answers(seed, rows, day=day)
        predicted = np.minimum(random.geometric(0.15, rows) - 1, 58)
        return Answers(predicted, found.probability, found.characters, found.unknown_share, found.days)

    reference, now = some(2, 1_500, ""), some(3, 900, "2026-12-01")
    found = Monitor(Reference(reference, reference.predicted, classes), Terms(0.97, 0.03, 0.95, "k"))
    found.add(now)
    found.add_labelled(now, [classes[one] if one else "other" for one in now.predicted], [None] * len(now))
    return record(found, promised=0.97)


def table() -> MonitoringRecord:
    """Rows of a table have no days."""
    return record(read(monitor(), answers(5, 400, length=4.0, day="")[0]))


STATES = {one.__name__: one for one in (no_answers, ok, labelled, warning, alarm, biased, guard, many_classes, table)}
__all__ = ["CLASSES", "NAMES", "STATES"]
