"""Whether to retrain now: the reasons, and whether a run would change anything."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from headway.monitoring.record import ALARM, MonitoringRecord
from headway.params import RetrainParams
from headway.promotion.decision import Decision
from headway.serving.log.kept_labels import LABELS
from headway.serving.log.store import PartStore, UnreadablePart


def reasons_to_retrain(
    params: RetrainParams, decisions: Sequence[Decision], record: MonitoringRecord | None, labels: int
) -> list[str]:
    """Why a retraining is due, one line each; none if it is not.

    Args:
        params: the section ``retrain``.
        decisions: the history.
        record: what monitoring has found; None if there is nothing to monitor.
        labels: that have arrived since the last decision.
    """
    reasons = []
    if not decisions:
        reasons.append("there is no model yet")
    if params.on_alarm and record is not None and record.status == ALARM:
        reasons.append(f"monitoring raised an alarm: {record.reasons[0]}")
    if params.new_labels and labels >= params.new_labels:
        reasons.append(f"{labels:,} labels arrived since the last decision, at least {params.new_labels:,} are a reason")
    return reasons


def labels_since(log: PartStore, since: datetime | None) -> int:
    """The number of labels that have arrived since a time, by default of all.

    Raises:
        HeadwayError: the log's folder cannot be listed or read.
    """
    store = log.below(LABELS)
    total = 0
    for part in store.parts(since and since.date()):
        try:
            received = store.read(part, ["received"])["received"].to_pylist()
        except (UnreadablePart, KeyError):
            continue  # `headway label` reports it
        total += sum(since is None or (one is not None and one >= since) for one in received)
    return total
