"""Whether labelled answers stand for all: complaints that come back are wrong more often than answers are."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import chi2_contingency, norm

from headway.monitoring.answers import COARSE, Counts, confidence_levels
from headway.monitoring.monitor import Monitor

#: Labelled answers that differ from the others at this level are a biased sample, if there are so many of both.
LEVEL, MIN_LABELLED, MIN_OTHERS = 0.001, 10, 50
#: With fewer labels, complaints cannot be distinguished from a random sample; with this many, one time in twenty they cannot.
MIN_FOR_ALARM = 30
#: Bins of confidence by which labelled answers are weighted.
BINS = 5


def bias(monitor: Monitor) -> str:
    """How labelled answers differ from those without a label; "" if that is not shown. One look, not anytime-valid.

    Only days with a label are compared: after a change of the texts, new labels differ from answers before it in any case.
    """
    labelled, everything = monitor.labelled.total(), monitor.days.total(list(monitor.labelled.days))
    if labelled.rows < MIN_LABELLED or everything.rows - labelled.rows < MIN_OTHERS:
        return ""
    found = []
    if rank_test(labelled.confidence, np.maximum(0, everything.confidence - labelled.confidence)) < LEVEL:
        found.append("confidence")
    if _differ(labelled.classes, np.maximum(0, everything.classes - labelled.classes)):
        found.append("predicted class")
    return f"labelled answers are not a random sample: they differ from the others in {' and '.join(found)}" if found else ""


def too_few(monitor: Monitor) -> str:
    """Why so few labels prove nothing about the answers without one; "" if there are enough, or all answers have one."""
    labelled = monitor.loss.rows
    others = monitor.answers - labelled
    return (
        f"{labelled} labels are too few to be sure that they are a random sample"
        if labelled < MIN_FOR_ALARM and others >= MIN_OTHERS
        else ""
    )


def rank_test(first: np.ndarray, second: np.ndarray) -> float:
    """p-value of the Wilcoxon rank-sum test of two samples, given as counts by level; by its normal approximation with ties.

    It needs few labels: wrong answers are less sure than others, so that thirty complaints nearly always differ.
    """
    ties = first + second
    rows, rows_first = int(ties.sum()), int(first.sum())
    ranks = np.cumsum(ties) - (ties - 1) / 2
    variance = rows + 1 - float((ties.astype(float) ** 3 - ties).sum()) / (rows * (rows - 1))
    variance *= rows_first * (rows - rows_first) / 12
    if variance <= 0:  # all of one level
        return 1.0
    return float(2 * norm.sf(abs(float(first @ ranks) - rows_first * (rows + 1) / 2) / math.sqrt(variance)))


def _differ(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two rows of counts have different shares (chi-squared test); rare columns are merged."""
    table = np.stack([first, second])
    common = table.sum(axis=0) * table.sum(axis=1).min() / table.sum() >= 5
    merged = np.column_stack([table[:, common], table[:, ~common].sum(axis=1)])
    merged = merged[:, merged.sum(axis=0) > 0]
    if merged.shape[1] < 2:
        return False
    return bool(chi2_contingency(merged, correction=False).pvalue < LEVEL)


def reweighted(monitor: Monitor, total: Counts) -> float | None:
    """Accuracy with the labelled answers of each bin of confidence weighted as all answers are; None if a bin has no label."""
    right, wrong = (_bins(counts, monitor) for counts in monitor.right_by_level)
    weights = _bins(total.confidence, monitor)
    used = weights > 0
    if (right + wrong)[used].min() == 0:
        return None
    return float((right[used] / (right + wrong)[used]) @ weights[used] / weights[used].sum())


def _bins(levels: np.ndarray, monitor: Monitor) -> np.ndarray:
    """Answers by bin of confidence, each of about equally many test rows, int, (bins,)."""
    reference = np.bincount(confidence_levels(monitor.reference.answers.probability, COARSE), minlength=COARSE)
    position = (np.cumsum(reference) - reference / 2) / max(1, reference.sum())
    bin_of = np.minimum((position * BINS).astype(int), BINS - 1)
    return np.bincount(bin_of, weights=levels, minlength=BINS).astype(np.int64)
