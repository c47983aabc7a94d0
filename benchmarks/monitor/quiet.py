"""Streams in which nothing changes: how many of them ever get an alarm from the monitor, and from other rules."""

from __future__ import annotations

import numpy as np
from scipy.stats import kstwo

from benchmarks.monitor.evidently import Sentences, domain_auc, random_percentile
from benchmarks.monitor.lockstep import Lockstep
from benchmarks.monitor.tables import Table, rate
from headway.monitoring.conformal import ConformalStream
from headway.monitoring.martingale import ConformalMartingale

ALPHA = 0.05
SCORES = 6
#: Rows of the reference, and of a week.
REFERENCE, WEEK = 2_500, 2_000
#: Streams that are simulated at once: their arrays fit into the cache.
BLOCK = 1_000
#: For the rule on texts: reference sentences, above and below its limit of 1,000, with sentences a week; and weeks.
TEXT_CASES, TEXT_WEEKS = ((1_500, 500), (1_500, 100), (900, 500)), 52


def false_alarms(streams: int, rows: int, seed: int) -> Table:
    """The monitor, and weekly KS tests."""
    weeks = rows // WEEK
    table = Table(
        "No drift: streams with any false alarm",
        f"{streams:,} streams of {rows:,} rows with {SCORES} independent scores at α {ALPHA:.0%}; the p-values of the monitor are"
        f" drawn directly, because they are exactly uniform. The KS test compares each of {weeks} weeks of {WEEK:,} rows with a"
        f" reference of {REFERENCE:,}, at {ALPHA:.0%} divided by the number of scores ({max(1, streams // 10):,} streams).",
        ("rule", "scores", "streams with a false alarm", "95% interval"),
    )
    for scores in (1, SCORES):
        table.rows.append(("headway", str(scores), *rate(monitored(streams, rows, scores, seed))))
    table.rows.append(("weekly KS tests", str(SCORES), *rate(weekly_ks(max(1, streams // 10), weeks, SCORES, seed))))
    return table


def false_alarms_on_texts(streams: int, seed: int) -> Table:
    """Evidently's rule, and the monitor with one score that needs no model, on real sentences in random order."""
    texts = Sentences.of_rotten_tomatoes()
    table = Table(
        "No drift: Rotten Tomatoes sentences in random order",
        f"Evidently's rule, re-implemented, compares each of {TEXT_WEEKS} weeks of sentences with a reference;"
        f" both are random parts of the same {len(texts.texts):,} sentences, without a sentence in common. It reports drift if"
        " the ROC-AUC of a classifier on held-out sentences is above 0.55, or, for at most 1,000 reference rows, above the 95th"
        " percentile of random scores. The monitor reads all sentences outside of the reference once; its only score is the"
        " number of words.",
        ("rule", "reference", "sentences a week", "streams", "streams with a false alarm", "95% interval"),
    )
    for reference, week in TEXT_CASES:
        found = np.array([texts_alarm(texts, reference, week, np.random.default_rng([seed, one])) for one in range(streams)])
        table.rows.append(("Evidently's", f"{reference:,}", f"{week:,}", f"{streams:,}", *rate(found)))
    for reference in sorted({reference for reference, _ in TEXT_CASES}, reverse=True):
        many = 10 * streams
        found = np.array([words_alarm(texts.words, reference, one) for one in range(many)])
        table.rows.append(("headway", f"{reference:,}", "–", f"{many:,}", *rate(found)))
    return table


def monitored(streams: int, rows: int, scores: int, seed: int) -> np.ndarray:
    """Whether any score of a stream ever reaches its threshold, bool, (streams,)."""
    random = np.random.default_rng(seed)
    maxima = []
    for start in range(0, streams, BLOCK):
        size = min(BLOCK, streams - start)
        capitals = Lockstep(size * scores)
        maximum = np.ones(size * scores)
        for _ in range(rows):
            np.maximum(maximum, capitals.step(random.random(size * scores)), out=maximum)
        maxima.append(maximum.reshape(size, scores).max(axis=1))
    return np.concatenate(maxima) >= scores / ALPHA


def weekly_ks(streams: int, weeks: int, scores: int, seed: int) -> np.ndarray:
    """Whether any week of a stream differs from its reference in any score, bool, (streams,).

    Two-sample Kolmogorov–Smirnov tests at α divided by the number of scores, as scipy's ``ks_2samp`` with ``method="asymp"``.
    """
    random = np.random.default_rng(seed)
    limit = kstwo.isf(ALPHA / scores, round(REFERENCE * WEEK / (REFERENCE + WEEK)))
    found = np.zeros(streams, dtype=bool)
    for stream in range(streams):
        for _ in range(scores):
            reference = np.sort(random.random(REFERENCE))
            for _ in range(weeks):
                found[stream] |= ks_statistic(reference, np.sort(random.random(WEEK))) >= limit
    return found


def ks_statistic(first: np.ndarray, second: np.ndarray) -> float:
    """The largest distance of the empirical distributions of two sorted samples without ties."""
    below = np.searchsorted(first, second) / len(first)
    steps = np.arange(len(second) + 1) / len(second)
    return float(max((steps[1:] - below).max(), (below - steps[:-1]).max()))


def texts_alarm(texts: Sentences, reference: int, week: int, random: np.random.Generator) -> bool:
    """Whether Evidently's rule reports drift in any week."""
    threshold = 0.55 if reference > 1_000 else random_percentile(reference, week, seed=42)
    order = random.permutation(len(texts.texts))
    first, others = order[:reference], order[reference:]
    weeks = (random.choice(others, week, replace=False) for _ in range(TEXT_WEEKS))
    return any(domain_auc(texts, first, current) > threshold for current in weeks)


def words_alarm(words: np.ndarray, reference: int, seed: int) -> bool:
    """Whether the monitor ever alarms on the numbers of words in random order."""
    levels = np.random.default_rng(seed).permutation(words)
    stream = ConformalStream(np.bincount(levels[:reference], minlength=int(words.max()) + 1), seed)
    martingale = ConformalMartingale([1 / ALPHA])
    martingale.update(stream.p_values(levels[reference:]))
    return martingale.crossed_at(1 / ALPHA) is not None
