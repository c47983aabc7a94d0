"""Answers of an imagined champion whose scores have the shape of real ones, and monitors of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from headway.monitoring.answers import Answers, concatenated
from headway.monitoring.findings import Watched, record_of
from headway.monitoring.monitor import Monitor, Reference, Terms
from headway.monitoring.record import MonitoringRecord
from headway.monitoring.wording import trigrams

CLASSES = ["negative", "positive"]


def answers(
    seed: int, rows: int, *, sureness: float = 2.0, length: float = 5.0, positive: float = 0.5, day: str = "2026-12-01"
) -> tuple[Answers, np.ndarray]:
    """Answers, and whether each is right: as often as its probability says.

    Args:
        sureness: mean of the top probability's logit; 2 gives an accuracy of about 0.85.
        length: mean of log(characters).
        positive: share of answers "positive".
    """
    random = np.random.default_rng(seed)
    probability = 1 / (1 + np.exp(-np.abs(random.normal(sureness, 1.5, rows))))
    found = Answers(
        (random.random(rows) < positive).astype(np.int64),
        probability.astype(np.float32),
        np.exp(random.normal(length, 0.6, rows)).astype(np.int64),
        random.beta(1, 20, rows),
        np.full(rows, day),
    )
    return found, random.random(rows) < probability


USUAL = "the film was long and the actors were good but I fell asleep before its end"
OTHER = "my parcel never came and the shop does not answer any of my letters about it"


def texts(seed: int, rows: int, vocabulary: str = USUAL) -> list[str]:
    """Texts of eight random words."""
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(vocabulary.split(), 8)) for _ in range(rows)]


def worded(given: Answers, seed: int, vocabulary: str = USUAL) -> Answers:
    """The same answers, of texts that are kept."""
    return replace(given, trigrams=trigrams(texts(seed, len(given), vocabulary)))


def truth(given: Answers, right: np.ndarray) -> np.ndarray:
    """Indices of the true labels of answers of two classes, int, (rows,)."""
    return np.asarray(np.where(right, given.predicted, 1 - given.predicted))


def names(labels: np.ndarray) -> list[str]:
    return [CLASSES[label] for label in labels]


def monitor_of(
    given: Answers, right: np.ndarray, *, promised: float | None = None, margin: float = 0.03, confidence: float = 0.95
) -> Monitor:
    """A monitor whose reference are these answers; by default they are what was promised."""
    promised = float(right.mean()) if promised is None else promised
    return Monitor(Reference(given, truth(given, right), CLASSES), Terms(promised, margin, confidence, "a decision"))


def record(monitor: Monitor, former: str | None = None, promised: float | None = None) -> MonitoringRecord:
    watched = Watched("m", "2", "a decision", "2026-12-01T00:00:00+00:00", "log", promised, former, ())
    return record_of(monitor, watched, 1_000, None)


def read(
    monitor: Monitor, given: Answers, right: np.ndarray | None = None, shadow: list[str | None] | None = None
) -> Monitor:
    """Let a monitor read answers, and if it is known which were right, their labels."""
    monitor.add(given)
    if right is not None:
        monitor.add_labelled(given, names(truth(given, right)), shadow or [None] * len(given))
    return monitor


def days(count: int, rows: int, **options: float) -> Answers:
    """Answers of some days."""
    return concatenated([answers(100 + day, rows, day=f"2026-12-{day + 1:02}", **options)[0] for day in range(count)])
