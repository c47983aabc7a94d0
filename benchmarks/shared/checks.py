"""What is counted afterwards: answers against the log, labels, aliases against the history, and which version answered when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from benchmarks.shared.people import Answer, Load
from headway.params import LogParams
from headway.promotion import history
from headway.promotion.decision import Decision
from headway.registry.registry import Registry
from headway.serving.log.kept_labels import kept_labels
from headway.serving.log.reading import read_log
from headway.serving.log.writer import open_log
from tests.e2e.conftest import Clone

#: Largest difference of a probability from that of the package by itself: a batch sums in another order.
CLOSE = 1e-5
#: Seconds for which a version may go on answering after another one was promoted, and before which none may answer: decisions
#: have their time in whole seconds.
SWAP_SECONDS, ROUNDING = 60.0, 1.0


@dataclass(frozen=True)
class Term:
    """A time in which a version was champion, in seconds since the epoch."""

    version: str
    since: float
    until: float


def terms_of(decisions: Sequence[Decision]) -> list[Term]:
    """The terms of all champions in order."""
    changes = [(one.candidate.version, datetime.fromisoformat(one.when).timestamp()) for one in decisions if one.appoints]
    ends = [moment for _, moment in changes[1:]] + [float("inf")]
    return [Term(version, since, until) for (version, since), until in zip(changes, ends, strict=True)]


def lag_of(answer: Answer, terms: Sequence[Term]) -> float:
    """Seconds between the end of the term of the version that answered and the request; 0 within a term; infinite without one."""
    lags = [
        max(0.0, answer.sent - term.until)
        for term in terms
        if term.version == answer.version and answer.received >= term.since - ROUNDING
    ]
    return min(lags, default=float("inf"))


def wrong_answers(load: Load, registry: Registry) -> int:
    """The number of answers that are not those of the version that they name."""
    versions = {str(one.version): one for one in registry.versions()}
    wrong = 0
    for number in {one.version for one in load.answers}:
        package = registry.load(versions[number])
        probabilities = package.predict_proba(list(load.texts))
        labels = [package.classes[index] for index in probabilities.argmax(axis=1)]
        highest = probabilities.max(axis=1)
        wrong += sum(
            one.label != labels[one.text] or abs(one.probability - highest[one.text]) > CLOSE
            for one in load.answers
            if one.version == number
        )
    return wrong


@dataclass(frozen=True)
class LogCount:
    """Answers and labels against the log and the labels beside it."""

    rows: int
    missing: int
    twice: int
    unknown: int
    different: int
    unreadable: int
    labels_missing: int
    labels_twice: int


def count_log(load: Load, log: LogParams) -> LogCount:
    """Compare the log with what was answered."""
    unreadable: list[str] = []
    rows: list[dict[str, Any]] = [
        row
        for batch in read_log(log, columns=["request_id", "version", "label"], on_unreadable=unreadable.append)
        for row in batch.to_pylist()
    ]
    counts = Counter(row["request_id"] for row in rows)
    answered = {one.id: one for one in load.answers}
    store = open_log(log)
    labels = {key.request_id: label for key, label in kept_labels(store).labels.items()}
    below = store.below("labels")
    label_rows = sum(below.read(part, ["label"]).num_rows for part in below.parts())
    return LogCount(
        len(rows),
        sum(one not in counts for one in answered),
        sum(number > 1 for number in counts.values()),
        len(counts.keys() - answered.keys()),
        sum(
            (row["version"], row["label"]) != (one.version, one.label)
            for row in rows
            if (one := answered.get(row["request_id"]))
        ),
        len(unreadable),
        len(load.labels.items() - labels.items()),
        label_rows - len(labels),
    )


def decisions_in(clone: Clone) -> tuple[list[Decision], str]:
    """The decisions as a clone reads them, and what is wrong with the chain; "" if nothing is."""
    return history.examine(Registry(clone.tracker()))
