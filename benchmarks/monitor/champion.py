"""The monitor on answers of a real model: the candidate in ``models/candidate``, which ``make run`` trains on IMDB reviews."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from benchmarks.monitor.tables import Table, delay, rate
from benchmarks.panel.sets import BY_NAME
from benchmarks.shipped import PROJECT, params_for, prepared
from headway.errors import HeadwayError
from headway.evaluation.predictions import label_ids
from headway.layout import Layout
from headway.monitoring.accuracy_estimate import estimate_accuracy
from headway.monitoring.answers import COARSE, Answers, concatenated, confidence_levels, level_probabilities
from headway.monitoring.findings import Watched, record_of
from headway.monitoring.monitor import Monitor, Reference, Terms
from headway.monitoring.wording import STARTS, trigrams
from headway.serving.log.unknown import unknown_shares
from headway.serving.package import ModelPackage
from headway.tables import read_table

CONFIDENCE, MARGIN = 0.95, 0.03
#: Answers of a stream that drifts, at most; streams of each kind; rows of a sample whose accuracy is estimated.
LONGEST, DRIFTING, SAMPLE = 3_000, 100, 2_000
WATCHED = Watched("m", "1", "d", "2026-01-01T00:00:00+00:00", "", None, None, ())


@dataclass(frozen=True)
class Scored:
    """Texts with the model's answers and the true labels as its indices, -1 for a label that it does not know."""

    texts: list[str]
    answers: Answers
    labels: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        return np.asarray(self.answers.predicted == self.labels)

    def take(self, rows: np.ndarray) -> Scored:
        return Scored([self.texts[row] for row in rows], self.answers.take(rows), self.labels[rows])

    def __add__(self, other: Scored) -> Scored:
        answers = concatenated([self.answers, other.answers])
        return Scored(self.texts + other.texts, answers, np.concatenate([self.labels, other.labels]))


@dataclass(frozen=True)
class Champion:
    """The model, its test rows, and texts of other kinds."""

    package: ModelPackage
    test: Scored
    sentences: Scored
    chinese: Scored

    @classmethod
    def load(cls) -> Champion:
        """Score all texts. HeadwayError if there is no trained model."""
        layout = Layout(PROJECT)
        if not layout.candidate.is_dir():
            raise HeadwayError(f"{layout.candidate}: there is no model yet; `make run` trains one")
        package = ModelPackage.load(layout.candidate)
        rows = read_table(layout.prepared / "test.parquet", made_by="prepare")
        sentences = prepared(params_for("rotten_tomatoes", 0), "bench-monitor").prepared / "train.parquet"
        others = read_table(sentences, made_by="prepare")
        foreign = [text for text, *_ in islice(BY_NAME["chinese-reviews"].rows(), 2_000)]
        return cls(
            package,
            scored(package, rows["text"].to_pylist(), rows["label"].to_pylist()),
            scored(package, others["text"].to_pylist(), others["label"].to_pylist()),
            scored(package, foreign, [""] * len(foreign)),
        )

    def monitor(self, reference: Scored) -> Monitor:
        terms = Terms(float(reference.correct.mean()), MARGIN, CONFIDENCE, "bench")
        return Monitor(Reference(reference.answers, reference.labels, self.package.classes), terms)


def scored(package: ModelPackage, texts: Sequence[str], labels: Sequence[str]) -> Scored:
    """The model's answers to some texts."""
    probabilities = package.predict_proba(texts)
    predicted = probabilities.argmax(axis=1).astype(np.int64)
    answers = Answers(
        predicted,
        probabilities[np.arange(len(predicted)), predicted],
        np.array([len(text) for text in texts], np.int64),
        unknown_shares(package, texts).astype(np.float64),
        np.full(len(texts), "2026-01-01"),
        trigrams(texts),
    )
    return Scored(list(texts), answers, label_ids(labels, package.classes))


def no_drift(champion: Champion, streams: int, seed: int) -> Table:
    """Real answers in random order, with their labels: how many streams get a false warning or alarm."""
    draw = np.random.default_rng(seed)
    drift, loss, status = (np.zeros(streams, bool) for _ in range(3))
    half = len(champion.test.texts) // 2
    for stream in range(streams):
        order = draw.permutation(len(champion.test.texts))
        monitor = champion.monitor(champion.test.take(order[:half]))
        _feed(monitor, champion.test.take(order[half:]))
        drift[stream] = monitor.has_moved
        loss[stream] = monitor.loss.crossed_at(monitor.loss_threshold) is not None
        status[stream] = record_of(monitor, WATCHED, SAMPLE, None).status != "ok"
    table = Table(
        "No drift: real answers in random order",
        f"{streams:,} streams of {len(champion.test.texts) - half:,} answers with their labels, against {half:,} test rows, "
        f"through the whole monitor with its params (confidence {CONFIDENCE}, margin {MARGIN}).",
        ("shown", "streams", "95% interval"),
    )
    for name, found in (("a change of the texts", drift), ("a loss of accuracy", loss), ("any warning or alarm", status)):
        table.rows.append((name, *rate(found)))
    return table


def _feed(monitor: Monitor, rows: Scored) -> None:
    names = [monitor.reference.classes[label] if label >= 0 else "" for label in rows.labels.tolist()]
    monitor.add(rows.answers)
    monitor.add_labelled(rows.answers, names, [None] * len(names))


def drifts(champion: Champion, seed: int) -> Table:
    """Answers until a change is shown, without labels."""
    draw = np.random.default_rng(seed)
    half = len(champion.test.texts) // 2
    table = Table(
        "Drift of real texts: answers until it is shown, without labels",
        f"Median / 90% quantile over {DRIFTING} streams of {LONGEST:,} answers; half of the test rows are the reference, and the "
        "other half is drawn from with replacement. “–”: not within the stream.",
        ("change from the first answer on", "answers until shown", "streams in which it was shown", "95% interval"),
    )
    negative = champion.test.labels == 0

    def mixed(other: Scored, share: float) -> Callable[[Scored], Scored]:
        def make(usual: Scored) -> Scored:
            replaced = draw.random(LONGEST) < share
            both = _drawn(usual, draw) + _drawn(other, draw)
            return both.take(np.where(replaced, LONGEST + np.arange(LONGEST), np.arange(LONGEST)))

        return make

    def skewed(share: float) -> Callable[[Scored], Scored]:
        def make(usual: Scored) -> Scored:
            is_negative = usual.labels == 0
            weights = np.where(is_negative, share / is_negative.sum(), (1 - share) / (~is_negative).sum())
            return usual.take(draw.choice(len(weights), LONGEST, p=weights))

        return make

    changes = {
        **{f"{share:.0%} Rotten Tomatoes sentences": mixed(champion.sentences, share) for share in (0.1, 0.2, 0.5, 1.0)},
        "5% Chinese reviews": mixed(champion.chinese, 0.05),
        **{f"{share:.0%} negative reviews (before: {negative.mean():.0%})": skewed(share) for share in (0.6, 0.8)},
    }
    for name, make in changes.items():
        found = []
        for _ in range(DRIFTING):
            order = draw.permutation(len(champion.test.texts))
            monitor = champion.monitor(champion.test.take(order[:half]))
            monitor.add(make(champion.test.take(order[half:])).answers)
            rows = [(bets.crossed_at(monitor.thresholds[name]), STARTS.get(name, 0)) for name, bets in monitor.drift.items()]
            found.append(min((float(row + start) for row, start in rows if row is not None), default=np.inf))
        table.rows.append((name, delay(np.array(found)), *rate(np.isfinite(found))))
    return table


def losses(champion: Champion, seed: int) -> Table:
    """Labels until a loss is shown that the texts do not show."""
    draw = np.random.default_rng(seed)
    half = len(champion.test.texts) // 2
    table = Table(
        "Loss of accuracy: labels until it is shown",
        f"As above; every answer gets its label. The promised accuracy is that of the reference, {MARGIN:.0%} less are accepted.",
        ("change", "accuracy then", "labels until shown", "streams in which it was shown", "95% interval"),
    )
    for name, share in (("10% of the labels are turned around (or mean the opposite now)", 0.1), ("20%", 0.2), ("30%", 0.3)):
        found, accuracy = [], []
        for _ in range(DRIFTING):
            order = draw.permutation(len(champion.test.texts))
            monitor = champion.monitor(champion.test.take(order[:half]))
            rows = _drawn(champion.test.take(order[half:]), draw)
            turned = draw.random(LONGEST) < share
            rows = replace(rows, labels=np.where(turned, 1 - rows.labels, rows.labels))
            _feed(monitor, rows)
            row = monitor.loss.crossed_at(monitor.loss_threshold)
            found.append(np.inf if row is None else float(row))
            accuracy.append(rows.correct.mean())
        table.rows.append((name, f"{np.mean(accuracy):.1%}", delay(np.array(found)), *rate(np.isfinite(found))))
    return table


def estimates(champion: Champion, seed: int) -> Table:
    """Accuracy estimated without labels beside the true one."""
    draw, letters = np.random.default_rng(seed), random.Random(seed)
    half = len(champion.test.texts) // 2
    order = draw.permutation(len(champion.test.texts))
    reference, usual = champion.test.take(order[:half]), champion.test.take(order[half:])
    levels = confidence_levels(reference.answers.probability, COARSE)
    right, wrong = (np.bincount(levels[mask], minlength=COARSE) for mask in (reference.correct, ~reference.correct))

    def again(change: Callable[[str], str]) -> Scored:
        labels = [champion.package.classes[label] for label in usual.labels]
        return scored(champion.package, [change(text) or text for text in usual.texts], labels)

    def typos(text: str) -> str:
        return "".join(letters.choice("abcdefghijklmnopqrstuvwxyz") if letters.random() < 0.05 else one for one in text)

    negative, lengths = usual.labels == 0, usual.answers.characters
    samples = {
        "none": usual,
        "Rotten Tomatoes sentences": champion.sentences,
        "half of them": usual.take(draw.permutation(len(usual.texts))[:600]) + champion.sentences.take(np.arange(600)),
        "the shortest third": usual.take(np.flatnonzero(lengths <= np.quantile(lengths, 1 / 3))),
        "the longest third": usual.take(np.flatnonzero(lengths >= np.quantile(lengths, 2 / 3))),
        "80% negative": usual.take(_of_classes(negative, 0.8, draw)),
        "80% positive": usual.take(_of_classes(~negative, 0.8, draw)),
        "cut after 300 characters": again(lambda text: text[:300]),
        "cut after 100 characters": again(lambda text: text[:100]),
        "every twentieth letter is another": again(typos),
        "the second half of each text": again(lambda text: text[len(text) // 2 :]),
    }
    table = Table(
        "Accuracy estimated without labels",
        f"Reference: {half:,} test rows. The estimate is from confidence alone; 95% interval.",
        ("change", "texts", "estimated", "true", "error, points"),
    )
    errors = []
    for name, found in samples.items():
        rows = np.bincount(confidence_levels(found.answers.probability, COARSE), minlength=COARSE)
        estimate = estimate_accuracy(level_probabilities(), right, wrong, rows, seed=seed)
        true = found.correct.mean()
        errors.append(abs(estimate.value - true))
        interval = f"{estimate.value:.1%} ({estimate.low:.1%} to {estimate.high:.1%})"
        table.rows.append((name, f"{len(found.texts):,}", interval, f"{true:.1%}", f"{100 * (estimate.value - true):+.1f}"))
    table.rows.append(("mean absolute error of the changes", "", "", "", f"{100 * np.mean(errors[1:]):.1f}"))
    return table


def _of_classes(mask: np.ndarray, share: float, draw: np.random.Generator) -> np.ndarray:
    """Rows of which this share is in the mask."""
    inside, outside = draw.permutation(np.flatnonzero(mask)), draw.permutation(np.flatnonzero(~mask))
    return np.concatenate([inside, outside[: round(len(inside) * (1 - share) / share)]])


def _drawn(rows: Scored, draw: np.random.Generator) -> Scored:
    return rows.take(draw.integers(0, len(rows.texts), LONGEST))
