"""Drift of real texts over years: entries of Python's changelog against those of its first two years, without a model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.monitor.tables import Table, delay, rate
from benchmarks.panel.parsers import dated_python_news
from benchmarks.panel.sets import python_changelog
from headway.monitoring.answers import Answers
from headway.monitoring.monitor import LENGTH, Monitor, Reference, Terms
from headway.monitoring.wording import STARTS, trigrams

#: Years whose entries are the reference, entries of a reference and of a stream, streams of each year and in random order.
FIRST_YEARS, REFERENCE, LONGEST, STREAMS, SHUFFLED = ("2015", "2016"), 1_000, 3_000, 20, 100


def dated_entries() -> tuple[list[str], np.ndarray]:
    """The texts of the changelog in the order of time, and the year of each; Unavailable if it cannot be had."""
    rows = sorted((row for row in dated_python_news(python_changelog()) if row[2]), key=lambda row: row[2])
    return [text for text, *_ in rows], np.array([str(date)[:4] for *_, date in rows])


def by_year(texts: Sequence[str], years: np.ndarray, seed: int) -> Table:
    """Entries until a change is shown by their length or their wording."""
    draw = np.random.default_rng(seed)
    answers = equal_answers(texts)
    first = np.flatnonzero(np.isin(years, FIRST_YEARS))
    table = Table(
        "Drift over years: entries of Python's changelog until it is shown, without a model",
        f"Median / 90% quantile over {STREAMS} streams of at most {LONGEST:,} entries of a year, drawn with replacement, against "
        f"{REFERENCE:,} entries of {' and '.join(FIRST_YEARS)}. Last row: all years in random order, {SHUFFLED} streams "
        "without repetition. The first classifier of the wording is trained on 200 entries.",
        ("entries of", "number", "shown by length", "shown by wording", "streams in which either was shown", "95% interval"),
    )
    for year in sorted({*years.tolist()} - {*FIRST_YEARS}):
        of_year = np.flatnonzero(years == year)
        streams = [
            (draw.permutation(first)[:REFERENCE], draw.choice(of_year, LONGEST, replace=True)) for _ in range(STREAMS)
        ]
        table.rows.append((year, f"{len(of_year):,}", *_shown(answers, streams)))
    orders = [draw.permutation(len(texts)) for _ in range(SHUFFLED)]
    shuffled = [(order[:REFERENCE], order[REFERENCE : REFERENCE + LONGEST]) for order in orders]
    table.rows.append(("all years", f"{len(texts):,}", *_shown(answers, shuffled)))
    return table


def equal_answers(texts: Sequence[str]) -> Answers:
    """Answers of a model that says the same of every text, so that only the texts can show a change."""
    rows = len(texts)
    return Answers(
        np.zeros(rows, np.int64),
        np.full(rows, 0.9),
        np.array([len(text) for text in texts], np.int64),
        np.full(rows, np.nan),
        np.full(rows, ""),
        trigrams(texts),
    )


def _shown(answers: Answers, streams: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[str, str, str, str]:
    """Delays by length and by wording, and how many streams either showed."""
    found = np.full((2, len(streams)), np.inf)
    for number, (before, after) in enumerate(streams):
        labels = np.zeros(len(before), np.int64)
        monitor = Monitor(Reference(answers.take(before), labels, ["any"]), Terms(1.0, 0.03, 0.95, f"stream {number}"))
        monitor.add(answers.take(after))
        for name, start in {LENGTH: 0, **STARTS}.items():
            if (row := monitor.drift[name].crossed_at(monitor.thresholds[name])) is not None:
                which = int(name != LENGTH)
                found[which, number] = min(found[which, number], start + row)
    return delay(found[0]), delay(found[1]), *rate(np.isfinite(found).any(axis=0))
