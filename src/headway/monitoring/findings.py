"""What a monitor's numbers mean: the status with its reasons, and the whole record.

A change of the texts alone is a warning. An alarm needs a loss of accuracy that is either shown by labels, or estimated without
them once a change has been shown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from headway.monitoring.accuracy_estimate import estimate_accuracy, recalibrate
from headway.monitoring.answers import COARSE, Counts, confidence_levels, level_probabilities
from headway.monitoring.capital import Capital as Bets
from headway.monitoring.changes import TextChanges, number_changes
from headway.monitoring.intervals import accuracy_interval
from headway.monitoring.label_bias import bias, reweighted, too_few
from headway.monitoring.label_shift import class_shares
from headway.monitoring.monitor import Monitor
from headway.monitoring.record import (
    ALARM,
    OK,
    WARNING,
    Capital,
    ChangeRecord,
    ClassLoss,
    Day,
    Estimate,
    GrownRecord,
    GuardRecord,
    MonitoringRecord,
    Status,
)
from headway.monitoring.wording import STARTS

#: Confidence of intervals that describe.
ALPHA = 0.05


@dataclass(frozen=True)
class Watched:
    """What the record says of its circumstances; see :class:`MonitoringRecord`."""

    model: str
    version: str
    decision: str
    since: str
    source: str
    promised: float | None
    former: str | None
    unreadable: Sequence[str]


def record_of(monitor: Monitor, watched: Watched, recent_rows: int, texts: TextChanges | None) -> MonitoringRecord:
    """The record of what has been seen so far.

    Args:
        recent_rows: answers, at least, of the days that stand for the present.
        texts: what recent texts show, None if they are not kept.
    """
    reference, terms = monitor.reference, monitor.terms
    before = Counts.of(reference.answers, len(reference.classes))
    recent = monitor.days.recent(recent_rows)
    now, total = monitor.days.total(recent), monitor.days.total()
    right, wrong = _by_level(monitor)
    labelled = int(monitor.right_by_level[0].sum()), int(monitor.right_by_level[1].sum())
    biased = bias(monitor)
    drift = tuple(
        _capital(name, capital, monitor.thresholds[name], monitor.crossed_days.get(name))
        for name, capital in monitor.drift.items()
        if capital.rows or name not in STARTS  # not yet those whose classifier has not been trained
    )
    loss = _capital("accuracy", monitor.loss, monitor.loss_threshold, monitor.crossed_days.get("accuracy"))
    by_class = tuple(_class_loss(monitor, name) for name in monitor.by_class)
    estimated = None
    if now.rows:
        found = estimate_accuracy(level_probabilities(), right, wrong, now.confidence, seed=0, alpha=ALPHA)
        estimated = Estimate(value=found.value, low=found.low, high=found.high, rows=now.rows)
    doubt = biased or too_few(monitor)
    guard = _guard(monitor, watched.former, doubt)
    status, reasons = _status(monitor, drift, loss, by_class, estimated, doubt, guard)
    label_shift, label_shift_caveat = _label_shift(monitor, now)
    days = sorted(monitor.days.days)
    return MonitoringRecord(
        status=status,
        reasons=tuple(reasons),
        model=watched.model,
        version=watched.version,
        decision=watched.decision,
        since=watched.since,
        source=watched.source,
        confidence=terms.confidence,
        margin=terms.margin,
        answers=total.rows,
        unanswered=total.unanswered,
        first_day=days[0] if days else "",
        last_day=days[-1] if days else "",
        reference_rows=len(reference.answers),
        recent_days=tuple(recent),
        recent_answers=now.rows,
        drift=drift,
        changes=tuple(ChangeRecord(**asdict(one)) for one in number_changes(before, now, reference.classes)),
        scripts=tuple(ChangeRecord(**asdict(one)) for one in texts.scripts) if texts else (),
        ngrams=tuple(GrownRecord(**asdict(one)) for one in texts.ngrams) if texts else (),
        examples=tuple(texts.examples) if texts else (),
        texts_compared=texts.rows if texts else 0,
        promised=watched.promised,
        reference=_interval(int(reference.correct.sum()), int((~reference.correct).sum())),
        estimated=estimated,
        realised=_interval(*labelled) if sum(labelled) else None,
        labels_biased=biased,
        reweighted=reweighted(monitor, total) if biased else None,
        loss=loss,
        by_class=by_class,
        label_shift=label_shift,
        label_shift_caveat=label_shift_caveat,
        guard=guard,
        days=_days(monitor, right, wrong),
        unreadable=tuple(watched.unreadable),
    )


def _status(
    monitor: Monitor,
    drift: Sequence[Capital],
    loss: Capital,
    by_class: Sequence[ClassLoss],
    estimated: Estimate | None,
    doubt: str,
    guard: GuardRecord | None,
) -> tuple[Status, list[str]]:
    """The status, and one line for each reason."""
    alarms, warnings = [], []
    terms = monitor.terms
    least = f"{100 * terms.least:.1f}%"
    if loss.crossed:
        by = f"shown by {loss.crossed_row:,} labels{_on(loss)}"
        shown = f"the accuracy of the labelled answers is below {least}, {by}"
        if doubt:
            warnings.append(f"{shown}; but {doubt}, so that this may not hold for all answers")
        else:
            alarms.append(shown)
    for lost in by_class:
        if lost.capital.crossed:
            line = (
                f"fewer of the answers {lost.name!r} are right than accepted, shown by {lost.capital.crossed_row:,} of them"
            )
            (warnings if doubt else alarms).append(line)
    moved = [one for one in drift if one.crossed]
    for one in sorted(moved, key=lambda one: one.crossed_row or 0):
        warnings.append(f"{one.name}: other than on the test rows, shown after {one.crossed_row:,} answers{_on(one)}")
    if moved and estimated is not None and estimated.high < terms.least:
        alarms.append(f"estimated accuracy {estimated}, below {least}, if only the texts changed and not what labels mean")
    if guard is not None and guard.crossed_row is not None:
        by = f"shown by {guard.crossed_row:,} labelled texts that both answered"
        (alarms if guard.is_shown else warnings).append(
            f"version {guard.former}, the former champion, is more accurate, {by}"
        )
    if alarms:
        return ALARM, [*alarms, *warnings]
    return (WARNING, warnings) if warnings else (OK, [])


def _on(capital: Capital) -> str:
    return f" ({capital.crossed_day})" if capital.crossed_day else ""


def _capital(name: str, bets: Bets, threshold: float, day: str | None) -> Capital:
    start, crossed = STARTS.get(name, 0), bets.crossed_at(threshold)
    return Capital(
        name=name,
        log10=math.log10(bets.value),
        highest=math.log10(bets.maximum),
        threshold=math.log10(threshold),
        crossed_row=None if crossed is None else start + crossed,
        crossed_day=day,
        path=tuple((start + row, round(level, 4)) for row, level in bets.trajectory),
    )


def _interval(right: int, wrong: int) -> Estimate:
    low, high = accuracy_interval(right, wrong, ALPHA)
    return Estimate(value=right / (right + wrong), low=low, high=high, rows=right + wrong)


def _by_level(monitor: Monitor) -> tuple[np.ndarray, np.ndarray]:
    """Reference rows that are right and wrong, by coarse level of confidence."""
    levels = confidence_levels(monitor.reference.answers.probability, COARSE)
    correct = monitor.reference.correct
    return np.bincount(levels[correct], minlength=COARSE), np.bincount(levels[~correct], minlength=COARSE)


def _share_right(monitor: Monitor, index: int) -> float | None:
    """Share of right answers among those that name a class on the test rows; None if none does."""
    mine = monitor.reference.answers.predicted == index
    return float(monitor.reference.correct[mine].mean()) if mine.any() else None


def _class_loss(monitor: Monitor, name: str) -> ClassLoss:
    index = list(monitor.reference.classes).index(name)
    capital = monitor.by_class[name]
    counts = monitor.labelled.total().classes
    return ClassLoss(
        name=name,
        promised=_share_right(monitor, index),
        accepted=capital.least,
        labelled=int(counts[index]),
        capital=_capital(name, capital, monitor.class_threshold, monitor.crossed_days.get(f"accuracy of {name}")),
    )


def _label_shift(monitor: Monitor, now: Counts) -> tuple[dict[str, Estimate], str]:
    """Estimated shares of the true labels now, none without answers; and what they are not corrected for."""
    if not now.rows:
        return {}, ""
    classes, reference = monitor.reference.classes, monitor.reference
    known = reference.labels >= 0
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(confusion, (reference.labels[known], reference.answers.predicted[known]), 1)
    found = class_shares(confusion, now.classes, seed=0, alpha=ALPHA)
    estimates = {
        name: Estimate(value=float(value), low=float(low), high=float(high), rows=now.rows)
        for name, value, low, high in zip(classes, found.shares, found.low, found.high, strict=True)
    }
    return estimates, found.caveat


def _guard(monitor: Monitor, former: str | None, doubt: str) -> GuardRecord | None:
    if former is None or not monitor.guard.rows:
        return None
    found = monitor.guard.comparison(ALPHA)
    return GuardRecord(
        former=former,
        rows=found.rows,
        only_champion=found.only_champion,
        only_former=found.only_former,
        difference=found.difference,
        low=found.low,
        high=found.high,
        log10=found.capital_log10,
        highest=found.maximum_log10,
        threshold=math.log10(monitor.guard_threshold),
        crossed_row=monitor.guard.crossed_at(monitor.guard_threshold),
        doubt=doubt,
    )


def _days(monitor: Monitor, right: np.ndarray, wrong: np.ndarray) -> tuple[Day, ...]:
    probabilities = recalibrate(level_probabilities(), right, wrong).probabilities(level_probabilities())
    return tuple(
        Day(
            day=day,
            rows=counts.rows,
            estimated=float(counts.confidence @ probabilities / counts.rows) if counts.rows else None,
            right=counts.right,
            wrong=counts.wrong,
        )
        for day, counts in sorted(monitor.days.days.items())
    )
