"""What of the prediction log goes: the days that are older than ``serving.log.keep_days``, of the answers and of the labels."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import partial

from headway.cleanup.group import Group
from headway.errors import HeadwayError
from headway.layout import Layout
from headway.params import LogParams
from headway.serving.log.kept_labels import LABELS, QUARANTINE
from headway.serving.log.store import PartStore, located


def plan(params: LogParams, layout: Layout, today: date | None = None) -> list[Group]:
    """Parts of the log that stay or go; none without a log. A log that cannot be listed stays, and the reason says why.

    Args:
        today: in UTC; by default that of the clock.
    """
    if not params.folder:
        return []
    first = (today or datetime.now(UTC).date()) - timedelta(days=params.keep_days) if params.keep_days else date.min
    try:
        log = PartStore.open(located(params, layout.root).folder)
        labels = log.below(LABELS)
        return [
            *_groups("logged answers", [log], first, params.keep_days),
            *_groups("labels of answers", [labels, labels.below(QUARANTINE)], first, params.keep_days),
        ]
    except HeadwayError as error:
        return [Group("prediction log", 1, 0, str(error))]


def _groups(what: str, stores: list[PartStore], first: date, keep_days: int) -> list[Group]:
    """The parts from a first day on, which stay, and those before it, which go; only groups that have parts."""
    days = [(store, day) for store in stores for day in store.days()]
    stay = [part for store, day in days if day >= first for part in store.removable(day)]
    old = [(store, day) for store, day in days if day < first]
    go = [part for store, day in old for part in store.removable(day)]
    steps = tuple(partial(store.remove, day) for store, day in old)
    kept = f"of the last {keep_days:,} days (serving.log.keep_days)" if keep_days else "serving.log.keep_days is 0"
    groups = [
        Group(what, len(stay), sum(part.size for part in stay), kept),
        Group(what, len(go), sum(part.size for part in go), f"older than {keep_days:,} days", steps),
    ]
    return [group for group in groups if group.count]
